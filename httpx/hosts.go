package httpx

import (
	"net/http"

	"github.com/sidctx/openssl"
)

// RequireHost returns a handler that passes requests to next if their host is served by the
// policy of their connection, and answers others with 421 Misdirected Request. A client that
// was accepted for one host must not reach another one by its Host header or :authority.
// That is checked on resumed connections, too. Names that lead to one Ctx are one host:
// HTTP/2 clients may share a connection among them.
//
// hosts must be the router of the listener's Ctx, and the server must have been passed to
// [ConfigureServer]; requests over other connections get 421: where every request does, one
// of the two is not so. If next is nil, [http.DefaultServeMux] is used.
func RequireHost(hosts *openssl.Hosts, next http.Handler) http.Handler {
	if next == nil {
		next = http.DefaultServeMux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hosts == nil || !hosts.Serves(FromRequest(r), r.Host) {
			http.Error(w, "this connection was made for another host: ask again on one of its own", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

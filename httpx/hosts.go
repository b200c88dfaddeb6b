package httpx

import (
	"net/http"

	"github.com/sidctx/openssl"
)

// RequireHost answers requests for hosts that the policy of their connection
// serves, by next, and all others with 421 Misdirected Request: a client that was
// let in under one name has shown nothing to the host of another one, whatever its
// Host header or :authority says. That holds for resumed connections as for fresh
// ones. Names that lead to one Ctx are one host: HTTP/2 may share a connection
// among them.
//
// hosts must be what the listener's Ctx routes by, and the server must have been
// given to [ConfigureServer]; requests that came over no connection of this
// library get 421, too. A nil next is [http.DefaultServeMux].
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

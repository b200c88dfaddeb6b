// Package openssl is TLS by the system's libssl, for Go programs that need
// exact OpenSSL semantics, built around the session id context: the name that a
// server gives to the circle within which its sessions may be resumed.
//
// # What it is for
//
// Resumption skips the certificates. A server with more than one tenant, virtual
// host or rule about client certificates must therefore say which sessions may
// be resumed where, else a session that one of them has granted opens another
// one. [Ctx.SetSessionIDContext] says so for all connections of a [Ctx],
// [Conn.SetSessionIDContext] and [ClientHello.SetSessionIDContext] for a single
// one. They are SSL_CTX_set_session_id_context and SSL_set_session_id_context,
// called for real; what these answer becomes a Go error that holds OpenSSL's
// whole error queue.
//
// Around them stands what a program needs to use them. [NewServerCtx] and
// [NewClientCtx] make a [Ctx], the recipe for connections. [Listen], [Dial] and
// [Dialer] give a [Conn], which is a [net.Conn]. [Session] is what a client keeps
// and offers again. [SSL] is the machine beneath, for transports that are no
// [net.Conn]. Digests, ciphers and keys are out of scope: crypto/* serves those.
//
// # Which tenant
//
// A server learns from the ClientHello which virtual host is meant, and the
// function of [Ctx.SetClientHelloFunc] chooses there. It is the only point in
// time: when OpenSSL calls its servername callback, it may have decided about
// resumption already, within the wrong context. So there is none here. [Hosts]
// is a function for it that is ready and strict.
//
// [Ctx.DeriveSessionIDContext] makes a context of everything that a session must
// not cross. [Ctx.Revoke] ends the sessions of such a context.
//
// # What is remembered
//
// A server keeps its sessions in libssl's cache or gives them to the client in
// tickets, whose keys it makes and turns by itself. Servers that share sessions
// are given a [SessionStore] or keys of one secret, [Ctx.SetFleetTicketKeys]. A
// client may keep sessions in a [ClientSessionCache].
// [ConnectionState].Resumption says what became of one.
//
// # Safe defaults
//
//   - A client verifies the server's chain and name, against the system's roots
//     unless it is told whom to trust.
//   - TLS 1.2 is the floor, or what openssl.cnf says if that is higher.
//   - Renegotiation is off and stays off.
//   - A server that asks for client certificates and may resume sessions, but was
//     given no session id context, is refused before its first connection. An empty
//     one must be said: SetSessionIDContext(nil).
//   - Where client certificates are asked for, a resumed session is held against
//     what OpenSSL does not look at again: [Ctx.SetResumptionChecks],
//     [Ctx.SetMaxAuthAge].
//   - A [Ctx] is frozen from its first connection on; a later setter is [ErrCtxInUse].
//     A setter that fails leaves the old value in force, or a Ctx that makes no
//     connections.
//   - A private key, a certificate or anything else in PEM that is encrypted is
//     refused; nobody is asked for a password on the terminal.
//   - A verify mode that asks for no certificate, although it says what happens
//     without one, is refused: [Ctx.SetVerify].
//
// # Who closes what
//
// Whoever makes or receives a [Ctx], an [SSL], a [Conn] or a [Session] closes it;
// Close is harmless twice, and use after Close is an error. Parents may be closed
// first: a connection goes on without its Ctx, and a Session without its
// connection. A Conn owns its wire. [Conn.Close] says close_notify, without which
// OpenSSL spoils the session on both ends. What nobody closes is freed with the
// garbage, some time.
//
// # Goroutines
//
// All methods of a Ctx, a Conn and a Session may be called from any goroutine; a
// Conn's Read and Write may run at once. An SSL is for one goroutine at a time. No
// goroutine is started for a connection (a [SessionStore] is called on some), and
// none is tied to a thread. C never waits, never calls Go and never sees the
// network: a blocked connection costs a goroutine, no thread.
//
// # Errors
//
// What libssl refuses is an [*Error]. [errors.Is] compares with the sentinels by
// reason code, as texts change between versions. A peer's alert unwraps to
// [crypto/tls.AlertError], a refused certificate to [*VerifyError]; a goodbye is
// [io.EOF], a wire that was cut [io.ErrUnexpectedEOF], a closed connection
// [net.ErrClosed].
//
// # Supported
//
// OpenSSL 1.1.1 to 4.0 with its headers (Debian and Ubuntu: libssl-dev),
// pkg-config and a C compiler; Go 1.26 or later; TLS 1.2 and 1.3. Not LibreSSL,
// not BoringSSL. Not offered: renegotiation, DTLS, early data, external PSKs.
package openssl

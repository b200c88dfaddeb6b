// Package openssl binds the system's OpenSSL for TLS servers and clients, with full
// control of the session id context: the value that OpenSSL compares before it
// resumes a session.
//
// # What it is for
//
// A resumed session skips the certificates. A server with more than one tenant,
// virtual host or policy for client certificates must therefore control which sessions
// may be resumed where; otherwise a session that one of them has granted gets a client
// past the checks of another. [Ctx.SetSessionIDContext] sets the session id context of
// all connections of a [Ctx], [Conn.SetSessionIDContext] and
// [ClientHello.SetSessionIDContext] that of a single connection. They call
// SSL_CTX_set_session_id_context and SSL_set_session_id_context. A failure is returned
// as an error that holds OpenSSL's whole error queue.
//
// [NewServerCtx] and [NewClientCtx] make a [Ctx], the configuration of connections.
// [Listen], [Dial] and [Dialer] make a [Conn], which is a [net.Conn]. [Session] is what a
// client keeps and offers again. [SSL] is a connection over memory, for transports that
// are not a [net.Conn]. Digests, ciphers and keys are out of scope; crypto/* has them.
//
// # Virtual hosts
//
// A server learns from the ClientHello which virtual host a client requests, and the
// function of [Ctx.SetClientHelloFunc] chooses its Ctx there. OpenSSL's servername
// callback is called too late: OpenSSL may have decided about resumption by then, under
// the wrong context. This package does not offer it. [Hosts] is a ready-made router that
// refuses unknown names.
//
// [Ctx.DeriveSessionIDContext] sets the context to a hash of everything that a session
// must not cross. [Ctx.Revoke] ends the sessions of such a context.
//
// # Where sessions are kept
//
// A server keeps sessions in libssl's cache, or sends them to the client in tickets, whose
// keys it makes and rotates by itself. Servers that share sessions use a [SessionStore],
// or ticket keys derived from one secret with [Ctx.SetFleetTicketKeys]. A client can
// keep sessions in a [ClientSessionCache]. [ConnectionState].Resumption tells whether a
// session was resumed, and why not.
//
// # Defaults
//
//   - A client verifies the server's chain and name, against the system's roots unless
//     other CAs are set.
//   - The minimum version is TLS 1.2, or the one in openssl.cnf if that is higher.
//   - Renegotiation is disabled and cannot be enabled.
//   - A server that requests client certificates and may resume sessions is refused
//     before its first connection if it has no session id context. To run without one,
//     call SetSessionIDContext(nil).
//   - Where client certificates are requested, a resumed session is checked for what
//     OpenSSL does not check again: see [Ctx.SetResumptionChecks] and
//     [Ctx.SetMaxAuthAge].
//   - A [Ctx] is frozen by its first connection and by [Listen]; later setters return
//     [ErrCtxInUse]. A setter that fails leaves the previous value in force, or a Ctx that
//     makes no connections.
//   - A private key, a certificate or anything else in PEM that is encrypted is
//     refused; no password is asked for on the terminal.
//   - A verify mode that asks for no certificate, although it speaks of one, is
//     refused: [Ctx.SetVerify].
//
// # Closing
//
// The caller must close every [Ctx], [SSL], [Conn] and [Session] that it creates or
// receives. Close may be called more than once; other calls return an error after it.
// Objects may be closed in any order: a connection continues to work without its Ctx, and a
// Session without its connection. A Conn owns the net.Conn below it. [Conn.Close]
// sends close_notify; without that OpenSSL marks the session as not resumable, on both
// ends. Objects that are not closed are freed by the garbage collector eventually.
//
// # Goroutines
//
// The methods of Ctx, Conn and Session may be called from any goroutine; Read and Write of
// a Conn may run at the same time. An SSL must be used by one goroutine at a time. No
// goroutine is started for a connection (a [SessionStore] is called on goroutines of its
// own), and none is locked to a thread. C code never blocks, never calls Go and does no
// input or output: a blocked connection costs a goroutine and no thread.
//
// # Errors
//
// An error of libssl is an [*Error]. [errors.Is] compares it with the sentinels by reason
// code, because texts differ between versions. It unwraps to the peer's alert, a
// [crypto/tls.AlertError], or to a [*VerifyError] if a certificate was not accepted. A
// Read returns [io.EOF] after the peer's close_notify and [io.ErrUnexpectedEOF] if the
// connection ends without one. Calls on a closed object return an error that wraps
// [net.ErrClosed].
//
// # Requirements
//
// OpenSSL 1.1.1 to 4.0 with its headers (Debian and Ubuntu: libssl-dev), pkg-config and a C
// compiler; Go 1.26 or later; TLS 1.2 and 1.3. LibreSSL and BoringSSL are not supported.
// Renegotiation, DTLS and early data are not offered.
package openssl

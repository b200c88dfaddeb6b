//go:build cgo

package openssl

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strings"

	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/wire"
)

// What an SSL does for its own methods, and for Conn, the caches and the store,
// which read none of its fields. A method whose name ends in Locked wants s.h.Mu
// held; the others take it.

// phase is how far a connection has come.
type phase int8

const (
	phaseNew       phase = iota // nothing was sent, no ClientHello was received
	phaseAsked                  // a server: libssl is suspended in the ClientHello
	phaseHelloDone              // the ClientHello was sent, or let through: what it decides is settled
	phaseDone                   // the handshake is done
	phaseRefused                // it was, and the connection is refused: nothing more is sent
)

// updateLocked updates s from the result of a libssl call.
func (s *SSL) updateLocked(r libssl.Result) libssl.Result {
	s.in.take(r.Used)
	s.out.w += r.Out
	if s.out.empty() && s.out.b != nil {
		s.out.release()
	}
	s.spilled = r.Spilled
	s.noteOutputLocked()
	s.ticketsHeld = r.TicketsHeld
	s.hasPlaintext = r.Pending
	if r.Hellos > s.hellos {
		s.hellos, s.decidedIn = r.Hellos, s.sidCtx
		s.phase = max(s.phase, phaseHelloDone)
	}
	s.gotTicket = r.GotTicket
	s.newSession = s.newSession || r.NewSession
	if r.KeyLog {
		lines, _ := s.h.P.KeyLog() // without memory for them they are lost
		s.keyLog = append(s.keyLog, lines...)
	}
	if r.OfferInvalid && s.offerInvalid != nil {
		s.offerInvalid.Store(true)
	}
	s.wantsInput = r.Want == libssl.WantInput
	switch r.Want {
	case libssl.EOF:
		s.readErr = io.ErrUnexpectedEOF
	case libssl.CloseNotify:
		s.readErr = io.EOF
	case libssl.Failed:
		s.fatal = s.ctx.explainRoots(asError(r.Fail))
		s.readErr = s.fatal
	}
	return r
}

// noteOutputLocked keeps hasOutput up to date.
func (s *SSL) noteOutputLocked() {
	if some := s.unsentLocked() > 0; some != s.hasOutput.Load() {
		s.hasOutput.Store(some)
	}
}

// unsentLocked is how many bytes wait to be drained.
func (s *SSL) unsentLocked() int { return s.out.w - s.out.r + s.spilled }

// unsent is the same.
func (s *SSL) unsent() int {
	if s.lock() != nil {
		return 0
	}
	defer s.unlock()
	return s.unsentLocked()
}

// needsInputLocked reports whether a call that reads could only ask for input again.
func (s *SSL) needsInputLocked() bool { return s.wantsInput && s.in.empty() && !s.eof }

// hasBegun reports whether a handshake has come so far that it cannot begin again.
func (s *SSL) hasBegun() bool {
	if s.lock() != nil {
		return true
	}
	defer s.unlock()
	return !s.client || s.phase != phaseNew || s.fatal != nil
}

// tooLateLocked reports whether the context and the Ctx are settled.
func (s *SSL) tooLateLocked() bool { return s.phase >= phaseHelloDone }

func mismatch(own, session []byte) error {
	return explain(fmt.Sprintf("a session made within context %q cannot be offered within %q", session, own),
		ErrSessionContextMismatch)
}

// ---- the handshake ----

// handshakeLocked is a step of the handshake. It takes a slot for libssl's part unless the
// caller has one.
func (s *SSL) handshakeLocked(hasSlot bool) (Want, error) {
	switch {
	case s.fatal != nil:
		return WantNothing, again(s.fatal)
	case s.phase >= phaseDone:
		return WantNothing, nil
	case s.readErr != nil:
		return WantNothing, again(s.readErr)
	case s.client && s.phase == phaseNew:
		if err := s.checkServerNameLocked(); err != nil {
			return WantNothing, err
		}
	case s.needsInputLocked():
		return WantInput, nil
	}
	if err := s.applyRevocationLocked(); err != nil {
		return WantNothing, err
	}
	own := s.slotsLocked()
	if s.phase == phaseAsked {
		s.phase, s.hello, s.helloErr = phaseNew, nil, nil
	}
	room := s.out.room(largeBuffer)
	if !hasSlot {
		own.take()
	}
	r := s.h.P.Handshake(s.in.bytes(), s.eof, s.verifyConnectionLocked() != nil, room)
	if !hasSlot {
		own.putBack()
	}
	s.updateLocked(r)
	switch r.Want {
	case libssl.WantInput:
		s.resuming = r.Resuming
		if s.resuming && r.Refusal != libssl.Accepted {
			return WantNothing, s.finishHandshakeLocked(r)
		}
		return WantInput, nil
	case libssl.WantClientHello:
		s.phase = phaseAsked
		return WantClientHello, nil
	case libssl.Done:
		return WantNothing, s.finishHandshakeLocked(r)
	}
	return WantNothing, again(s.readErr)
}

// applyRevocationLocked applies a Revoke that came after s was made, so that a client
// which keeps connections waiting does not outlast it. That is done before each step of
// the handshake: a HelloRetryRequest brings another ClientHello, and a decision on it.
func (s *SSL) applyRevocationLocked() error {
	if s.client || s.ownSIDCtx || s.phase >= phaseDone {
		return nil
	}
	present := s.ctx.presentSIDContext()
	if present == s.sidCtx {
		return nil
	}
	if err := setSSLSIDContext(s.h.P, present.bytes()); err != nil {
		return err
	}
	s.sidCtx = present
	return nil
}

// finishHandshakeLocked records what a handshake has come to, and refuses a
// connection that libssl has accepted and this package does not.
func (s *SSL) finishHandshakeLocked(r libssl.Result) error {
	s.newSession = s.client && s.h.P.Version() < tls.VersionTLS13 // later ones come as tickets; what was resumed is used up
	resumption := Resumption(r.Resumption)
	if s.offered != nil && resumption == ResumptionNotOffered {
		resumption = ResumptionOther
	}
	s.endedLocked(resumption)
	if r.Refusal == libssl.NameNotVerified && !r.HasPeer {
		s.refuseLocked(errAnonymous, alertBadCertificate)
	} else if r.Refusal == libssl.NameNotVerified {
		s.refuseLocked(errNameNotVerified, alertBadCertificate)
	} else if why := refusalText[r.Refusal]; why != "" {
		s.first.refused.Add(1)
		s.refuseLocked(fmt.Errorf("%w: %s", ErrResumptionRefused, why), alertBadCertificate)
	} else if err := s.checkPeerLocked(r.HasPeer); err != nil {
		s.refuseLocked(err, alertOf(err))
	} else {
		return s.refuseRevokedLocked()
	}
	return again(s.fatal)
}

// endedLocked notes that the handshake has ended, and counts what became of an offer.
func (s *SSL) endedLocked(r Resumption) {
	s.phase, s.resumption = phaseDone, r
	s.first.resumptions[r].Add(1)
}

// checkServerNameLocked returns an error if a client must not send its first byte.
func (s *SSL) checkServerNameLocked() error {
	if s.offered != nil && *s.offered != s.sidCtx {
		return mismatch(s.sidCtx.bytes(), s.offered.bytes())
	}
	if s.nameErr != nil {
		return explain("the server name could not be set: call SetServerName again", s.nameErr)
	}
	if s.name != "" {
		return nil
	}
	return s.ctx.use(func(p libssl.CTX) error {
		if VerifyMode(p.Settings().Verify)&VerifyPeer != 0 && s.ctx.verify&(VerifyDefer|VerifyAnyName) == 0 {
			return errors.New("openssl: no server name to verify: call SetServerName, or SetVerify on the Ctx " +
				"(with VerifyPeer|VerifyAnyName the chain alone is verified, with VerifyNone nothing)")
		}
		return nil
	})
}

// recoverToError turns a panic of a caller's function into an error, of one line with
// the stack in it.
func recoverToError(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			stack := strings.Split(strings.TrimSpace(string(debug.Stack())), "\n")
			err = fmt.Errorf("openssl: the function of %s panicked: %v: %s", what, r, strings.Join(stack, " | "))
		}
	}()
	return f()
}

// ticketsRemain reports whether what a finished handshake leaves to be sent is
// tickets alone, which are no part of it.
func (s *SSL) ticketsRemain() bool {
	if s.client || s.lock() != nil {
		return false
	}
	defer s.unlock()
	return s.h.P.Version() >= tls.VersionTLS13
}

// asksHello reports whether there is a ClientHello function.
func (s *SSL) asksHello() bool { return s.first.hello != nil }

// askHello calls the ClientHello function with no lock held.
func (s *SSL) askHello(ctx context.Context, hello *ClientHello) (next *Ctx, err error) {
	err = recoverToError("SetClientHelloFunc", func() (err error) {
		next, err = s.first.hello(ctx, hello)
		return err
	})
	return next, err
}

// helloAnswer is what a ClientHello led to: a policy and its context, without the
// generation of a derived one.
type helloAnswer struct{ policy, sidCtx string }

// sameHelloAnswer compares the answer to the ClientHello that follows a
// HelloRetryRequest with the first: a client decides whether there is one, so it
// must decide nothing. Revoke and a renewed Ctx of equal policy may come in between.
func (s *SSL) sameHelloAnswer() error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	answer := s.ctx.helloAnswer()
	if s.ownSIDCtx {
		answer.sidCtx = string(s.sidCtx.bytes())
	}
	if s.helloAnswer == nil {
		s.helloAnswer = &answer
	}
	if *s.helloAnswer != answer {
		return fmt.Errorf("openssl: the ClientHello after a HelloRetryRequest selects another Ctx or context than the first: %w", alertIllegalParameter)
	}
	return nil
}

// serverNameUnused has the name in the ClientHello not be acknowledged: it has chosen nothing.
func (s *SSL) serverNameUnused() {
	if s.lock() == nil {
		s.h.P.ServerNameUnused()
		s.unlock()
	}
}

// currentCtx is the Ctx in force, nil if s is closed.
func (s *SSL) currentCtx() *Ctx {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	return s.ctx
}

// ---- reading and writing ----

func (s *SSL) readLocked(p []byte) (int, Want, error) {
	switch {
	case s.readErr != nil:
		return 0, WantNothing, again(s.readErr)
	case len(p) == 0:
		return 0, WantNothing, nil
	case s.in.empty() && !s.eof && !s.hasPlaintext:
		return 0, WantInput, nil
	}
	r := s.updateLocked(s.h.P.Read(p, s.in.bytes(), s.eof))
	if r.N > 0 {
		return r.N, WantNothing, nil // a failure behind it waits in readErr
	}
	if r.Want == libssl.WantInput {
		return 0, WantInput, nil
	}
	return 0, WantNothing, again(s.readErr)
}

// encryptLocked is one call of SSL_write_ex, for at most maxPlaintext bytes.
func (s *SSL) encryptLocked(p []byte) (int, error) {
	switch {
	case s.fatal != nil:
		return 0, again(s.fatal)
	case s.closeNotifySent:
		return 0, errShutdown
	}
	p = p[:min(len(p), maxPlaintext)]
	room := s.out.room(largeBuffer)
	r := s.updateLocked(s.h.P.Write(p, room))
	if r.Fail != nil {
		return r.N, again(s.fatal)
	}
	return r.N, nil
}

func (s *SSL) shutdownLocked() (Want, error) {
	if s.fatal != nil {
		return WantNothing, again(s.fatal)
	}
	var in []byte
	if s.closeNotifySent { // now the peer's is read for
		if s.readErr != nil {
			return WantNothing, nil
		}
		if s.needsInputLocked() {
			return WantInput, nil
		}
		in = s.in.bytes()
	}
	room := s.out.room(smallBuffer)
	r := s.updateLocked(s.h.P.Shutdown(in, s.eof, room))
	if r.Fail != nil {
		return WantNothing, again(s.fatal)
	}
	s.closeNotifySent = true
	if r.Want == libssl.WantInput {
		return WantInput, nil
	}
	return WantNothing, nil
}

// feedLocked takes a buffer over.
func (s *SSL) feedLocked(got buffer, eof bool) {
	if !got.empty() {
		s.in = got
	}
	s.eof = s.eof || eof
}

// feed is the same; it reports whether s is still open.
func (s *SSL) feed(got buffer, eof bool) bool {
	if s.lock() != nil {
		got.release()
		return false
	}
	defer s.unlock()
	s.feedLocked(got, eof)
	return true
}

// connRead is what a Read of a Conn has come to.
type connRead struct {
	n          int
	want       Want
	err        error
	needsRead  bool // the next one needs ciphertext
	newSession bool // a session has come for the session cache
	unsent     int  // bytes wait to be drained
}

// readForConn is feed and Read: one lock, one call into C.
func (s *SSL) readForConn(p []byte, got buffer, eof bool) (r connRead) {
	if s.lock() != nil {
		got.release()
		r.err = net.ErrClosed
		return r
	}
	defer s.unlock()
	s.feedLocked(got, eof)
	r.n, r.want, r.err = s.readLocked(p)
	if r.n > 0 {
		s.gotPlaintext = true
	} else if r.err != nil {
		r.err = s.refusedLateLocked(r.err)
	}
	r.needsRead = s.in.empty() && !s.hasPlaintext && !s.eof && s.readErr == nil
	r.newSession = s.newSession && s.ctx.sessions != nil
	r.unsent = s.unsentLocked()
	return r
}

// refusedLateLocked explains an alert that a TLS 1.3 client meets at its first Read:
// the server looks at the client's certificate only when the client's handshake
// is over.
func (s *SSL) refusedLateLocked(err error) error {
	var alert tls.AlertError
	if !s.client || s.gotPlaintext || !errors.As(err, &alert) {
		return err
	}
	switch alert {
	case alertHandshakeFailure, alertBadCertificate, alertUnsupportedCertificate, alertCertificateRevoked,
		alertCertificateExpired, alertCertificateUnknown, alertUnknownCA, alertAccessDenied, alertCertificateRequired:
		return explain("the server has refused the client's certificate, "+
			"which a TLS 1.3 client hears only after its handshake", err)
	}
	return err
}

// encryptForConn is encryptLocked, and takes what it made: one lock, one call into C.
func (s *SSL) encryptForConn(p []byte, made *buffer) (int, error) {
	if s.lock() != nil {
		return 0, net.ErrClosed
	}
	defer s.unlock()
	n, err := s.encryptLocked(p)
	s.moveOutputLocked(made)
	return n, err
}

// takeOutput moves ciphertext that is to be sent into b, which is empty.
func (s *SSL) takeOutput(b *buffer) bool {
	if !s.hasOutput.Load() || s.lock() != nil {
		return false
	}
	defer s.unlock()
	return s.moveOutputLocked(b)
}

func (s *SSL) moveOutputLocked(b *buffer) bool {
	switch {
	case !s.out.empty():
		*b, s.out = s.out, buffer{}
	case s.spilled > 0:
		*b = newBuffer(true)
		b.w = s.h.P.Drain(b.b)
		s.spilled -= b.w
	}
	s.noteOutputLocked()
	return !b.empty()
}

// ---- the end ----

// sendCloseNotify makes a close_notify, once.
func (s *SSL) sendCloseNotify() error {
	if s.lock() != nil {
		return net.ErrClosed
	}
	defer s.unlock()
	if s.closeNotifySent {
		return nil
	}
	_, err := s.shutdownLocked()
	return err
}

func (s *SSL) closeLocked() {
	if !s.h.ClosedLocked() && s.offerInvalid != nil && s.h.P.End() {
		s.offerInvalid.Store(true)
	}
	s.h.CloseLocked()
	s.in.release()
	s.out.release()
	s.spilled = 0
	s.noteOutputLocked()
}

// ---- a client's session cache ----

// sessionCache is where a client's connection looks for a session and keeps one:
// the cache, nil without one, and the key.
func (s *SSL) sessionCache(peer net.Addr) (cache ClientSessionCache, key string) {
	if s.lock() != nil {
		return nil, ""
	}
	defer s.unlock()
	if s.ctx.sessions == nil || s.name == "" && peer == nil { // no telling servers apart
		return nil, ""
	}
	return s.ctx.sessions, s.cacheKeyLocked(peer)
}

// cacheKeyLocked tells a client's connections apart from those to another server, or
// with another configuration or context.
func (s *SSL) cacheKeyLocked(peer net.Addr) string {
	var host, port string
	if peer != nil { // a wire may not know it
		var err error
		if host, port, err = net.SplitHostPort(peer.String()); err != nil {
			host = peer.String()
		}
	}
	if s.name != "" {
		host = lowerASCII(s.name)
	}
	var who wire.Writer
	who.Bytes(s.ctx.fingerprint[:])
	who.Bytes(s.sidCtx.bytes())
	if s.psks != nil {
		who.Set(s.psks.records())
	}
	sum := sha256.Sum256(who.B)
	return net.JoinHostPort(host, port) + " " + hex.EncodeToString(sum[:])
}

// offerCached offers a session of the cache, unless the connection is to another
// server since it was looked up, or a server could not be verified by it any more.
func (s *SSL) offerCached(peer net.Addr, key string, sess *Session) {
	if s.lock() != nil {
		return
	}
	defer s.unlock()
	if s.offered != nil || s.cacheKeyLocked(peer) != key {
		return
	}
	may := false
	sess.use(func(p libssl.Session) error {
		may = s.h.P.MayOffer(p)
		return nil
	})
	if may && s.setSessionLocked(sess) == nil {
		s.offeredCached = true
	}
}

// mayOffer reports whether a client has a cache and can still offer a session of it.
func (s *SSL) mayOffer() bool {
	if s.lock() != nil {
		return false
	}
	defer s.unlock()
	return s.ctx.sessions != nil && s.offered == nil && s.phase == phaseNew
}

func (s *SSL) hasOffered() bool {
	if s.lock() != nil {
		return false
	}
	defer s.unlock()
	return s.offered != nil
}

// takeSessions takes the sessions that have come to a client and are to be put into the
// cache, the oldest first.
func (s *SSL) takeSessions() (fresh []*Session) {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	if !s.newSession || s.ctx.sessions == nil {
		return nil
	}
	s.newSession = false
	if s.h.P.Version() < tls.VersionTLS13 {
		if p := s.h.P.Session(); p != (libssl.Session{}) {
			fresh = append(fresh, newSession(p, s.first.library))
		}
		return fresh
	}
	for p := s.h.P.Ticket(); p != (libssl.Session{}); p = s.h.P.Ticket() {
		fresh = append(fresh, newSession(p, s.first.library))
	}
	return fresh
}

// ---- a server's session store ----

// store is the listener's, nil without one.
func (s *SSL) store() *storeClient { return s.first.store }

// answerStored is AnswerSession for a session that must have a certain id.
func (s *SSL) answerStored(der, id []byte) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	return s.answerSessionLocked(der, id)
}

func (s *SSL) answerSessionLocked(der, id []byte) error {
	if s.phase != phaseAsked {
		return errNotAsked
	}
	outcome, fail := s.h.P.Answer(der, id)
	switch outcome {
	case libssl.AnswerOtherID:
		return errAnswerOtherID
	case libssl.AnswerBadTime:
		return errAnswerBadTime
	case libssl.AnswerTaken:
		s.stored = s.stored || id != nil
	}
	return asError(fail)
}

// takeNewSessions takes the sessions that were made for the store.
func (s *SSL) takeNewSessions() []libssl.NewSession {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	made, _ := s.h.P.NewSessions() // without memory for them they are not kept
	s.stored = s.stored || len(made) > 0
	return made
}

// forgetStoredLocked deletes the session that this connection has invalidated,
// before it is freed. One that never was in the store, of a handshake that failed,
// is not worth a call.
func (s *SSL) forgetStoredLocked() {
	if !s.stored {
		return
	}
	if id := s.h.P.InvalidatedID(); len(id) > 0 {
		s.first.store.later(storeCall{id: storeID(s.sidCtx.bytes(), id)})
	}
}

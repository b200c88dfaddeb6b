//go:build cgo

package openssl

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// How a connection that libssl has accepted is refused after all.

// verifyConnectionLocked returns what decides about a connection: the function of the Ctx
// that it was made from, and after a switch that of the Ctx in force, too.
func (s *SSL) verifyConnectionLocked() func(ConnectionState) error {
	first, own := s.first.verifyConnection, s.ctx.verifyConnection
	if s.first == s.ctx || first == nil || own == nil {
		if first == nil {
			return own
		}
		return first
	}
	return func(state ConnectionState) error {
		if err := first(state); err != nil {
			return err
		}
		return own(state)
	}
}

// runVerifyConnection calls f, with no lock held, and refuses the connection if it
// returns an error.
func (s *SSL) runVerifyConnection(f func(ConnectionState) error, state ConnectionState) error {
	alert := alertBadCertificate
	err := recoverToError("SetVerifyConnection", func() error {
		err := f(state)
		alert = alertOf(err) // here: err's methods are the caller's, too
		return err
	})
	if lockErr := s.lock(); lockErr != nil {
		return lockErr
	}
	defer s.unlock()
	s.verified = true
	if err != nil {
		if s.phase < phaseDone {
			s.endedLocked(ResumptionResumed)
		}
		s.refuseLocked(err, alert)
		return err
	}
	if err := s.refuseRevokedLocked(); err != nil { // while f ran
		return err
	}
	return s.issueTicketsLocked()
}

// issueTicketsLocked makes the tickets of a connection that could have been refused.
func (s *SSL) issueTicketsLocked() error {
	if !s.ticketsHeld || s.phase != phaseDone {
		return nil
	}
	s.ticketsHeld = false
	room := s.out.room(largeBuffer)
	s.updateLocked(s.h.P.IssueTickets(room))
	return again(s.fatal)
}

// revokedLocked reports whether s has resumed a session of a context that is no longer
// the present one of its Ctx.
func (s *SSL) revokedLocked() bool {
	return !s.client && !s.ownSIDCtx && s.resumption == ResumptionResumed && s.decidedIn != s.ctx.presentSIDContext()
}

// refuseRevokedLocked refuses a connection that a Revoke has overtaken.
func (s *SSL) refuseRevokedLocked() error {
	if !s.revokedLocked() {
		return nil
	}
	s.first.refused.Add(1)
	s.refuseLocked(fmt.Errorf("%w: its session was made before a Revoke of its context", ErrResumptionRefused), alertBadCertificate)
	return s.fatal
}

// alertOf is the alert that a refusal wraps, or bad_certificate.
func alertOf(err error) tls.AlertError {
	alert := alertBadCertificate
	errors.As(err, &alert)
	return alert
}

// refuseLocked ends a connection that libssl has accepted with an alert. What was made
// for the peer before is not sent, and the session is forgotten.
func (s *SSL) refuseLocked(err error, alert tls.AlertError) {
	s.h.P.InvalidateSession()
	s.fatal, s.readErr, s.phase = err, err, phaseRefused
	if s.state != nil {
		s.state.HandshakeComplete = false
	}
	s.out.release()
	s.spilled = 0
	room := s.out.room(smallBuffer)
	s.out.w += s.h.P.EndWithAlert(uint8(alert), room)
	s.noteOutputLocked()
}

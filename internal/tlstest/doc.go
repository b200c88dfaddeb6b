// Package tlstest is the vocabulary of this module's tests: certificates, pairs of
// ends, wires in memory, one way to connect that reports what became of the session,
// one reader and editor of sessions in DER, and the check that no test leaves an
// object of C's behind.
package tlstest

// Package oldpeer holds tests alone. Those that talk to the old package are behind the
// build tag oldopenssl: it compiles with OpenSSL 1.1.1 and nothing later.
package oldpeer

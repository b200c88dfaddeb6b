// Package oldpeer holds tests alone, behind the build tag oldopenssl: the old
// package compiles with OpenSSL 1.1.1 and nothing later.
package oldpeer

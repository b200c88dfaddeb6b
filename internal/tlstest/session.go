//go:build cgo

package tlstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/sidctx/openssl"
)

// ---- sessions in DER ----

// Elements of an SSL_SESSION, by the tags of OpenSSL's ssl_asn1.c.
const (
	FieldTime     = 1
	FieldTimeout  = 2
	FieldPeer     = 3 // the peer's certificate
	FieldContext  = 4
	FieldLifetime = 9 // the server's promise, which a TLS 1.3 client holds to
	FieldTicket   = 10
	FieldData     = 18 // the application data of a ticket
)

// SessionFields takes a session apart, each element whole.
func SessionFields(t testing.TB, der []byte) (fields []asn1.RawValue) {
	t.Helper()
	var all asn1.RawValue
	_, err := asn1.Unmarshal(der, &all)
	must(t, err)
	for rest := all.Bytes; len(rest) > 0; {
		var f asn1.RawValue
		rest, err = asn1.Unmarshal(rest, &f)
		must(t, err)
		fields = append(fields, f)
	}
	return fields
}

// EditSession replaces one field's content, or with nil takes the field out; it
// must be there.
func EditSession(t testing.TB, der []byte, tag int, content []byte) []byte {
	t.Helper()
	var body []byte
	done := false
	for _, f := range SessionFields(t, der) {
		if f.Class == asn1.ClassContextSpecific && f.Tag == tag {
			f.FullBytes, f.Bytes, done = nil, content, true
			if content == nil {
				continue
			}
		}
		b, err := asn1.Marshal(f)
		must(t, err)
		body = append(body, b...)
	}
	if !done {
		t.Fatalf("the session has no field %d", tag)
	}
	b, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: body})
	must(t, err)
	return b
}

// Octets is b as an OCTET STRING in DER.
func Octets(t testing.TB, b []byte) []byte {
	t.Helper()
	der, err := asn1.Marshal(b)
	must(t, err)
	return der
}

// Integer is n as an INTEGER in DER.
func Integer(t testing.TB, n int64) []byte {
	t.Helper()
	der, err := asn1.Marshal(big.NewInt(n))
	must(t, err)
	return der
}

// TicketIn is the ticket in a client's session, nil without one.
func TicketIn(t testing.TB, der []byte) (ticket []byte) {
	t.Helper()
	for _, f := range SessionFields(t, der) {
		if f.Class == asn1.ClassContextSpecific && f.Tag == FieldTicket {
			_, err := asn1.Unmarshal(f.Bytes, &ticket)
			must(t, err)
		}
	}
	return ticket
}

// TicketOf is the ticket that a session came with, nil without one.
func TicketOf(t testing.TB, sess *openssl.Session) []byte {
	t.Helper()
	return TicketIn(t, SessionDER(t, sess))
}

// SessionDER is a session in DER.
func SessionDER(t testing.TB, sess *openssl.Session) []byte {
	t.Helper()
	der, err := sess.MarshalBinary()
	must(t, err)
	return der
}

// ParseSession is a session by its DER, closed with the test.
func ParseSession(t testing.TB, der []byte) *openssl.Session {
	t.Helper()
	sess, err := openssl.ParseSession(der)
	must(t, err)
	t.Cleanup(func() { sess.Close() })
	return sess
}

// WithField is a copy of a session with another number in one of its fields.
func WithField(t testing.TB, sess *openssl.Session, tag int, value int64) *openssl.Session {
	t.Helper()
	return ParseSession(t, EditSession(t, SessionDER(t, sess), tag, Integer(t, value)))
}

// WithTicket is a client's session, in DER, with another ticket in it.
func WithTicket(t testing.TB, der, ticket []byte) []byte {
	t.Helper()
	return EditSession(t, der, FieldTicket, Octets(t, ticket))
}

// WithContext is a session, in DER, moved to a session id context: a client's session
// has none.
func WithContext(t testing.TB, der, sidCtx []byte) []byte {
	t.Helper()
	sess, err := openssl.ParseSession(der)
	must(t, err)
	defer sess.Close()
	must(t, sess.SetIDContext(sidCtx))
	return SessionDER(t, sess)
}

// InsertField puts one more field into a session, in DER, behind those of smaller tags.
func InsertField(t testing.TB, der []byte, tag int, content []byte) []byte {
	t.Helper()
	field, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: content})
	must(t, err)
	var before, after []byte
	for _, f := range SessionFields(t, der) {
		if f.Class == asn1.ClassContextSpecific && f.Tag > tag {
			after = append(after, f.FullBytes...)
		} else {
			before = append(before, f.FullBytes...)
		}
	}
	b, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(append(before, field...), after...)})
	must(t, err)
	return b
}

// ForgeTicket seals a server's session, in DER, as libssl does.
func ForgeTicket(t testing.TB, key openssl.TicketKey, der []byte) []byte {
	t.Helper()
	pad := aes.BlockSize - len(der)%aes.BlockSize
	der = append(bytes.Clone(der), bytes.Repeat([]byte{byte(pad)}, pad)...)
	block, err := aes.NewCipher(key.AES[:])
	must(t, err)
	iv := make([]byte, aes.BlockSize)
	ticket := append(bytes.Clone(key.Name[:]), iv...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(der, der)
	ticket = append(ticket, der...)
	mac := hmac.New(sha256.New, key.HMAC[:])
	mac.Write(ticket)
	return mac.Sum(ticket)
}

//go:build cgo

package openssl

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sidctx/openssl/internal/libssl"
)

// SetVerify sets whether peers are asked for a certificate, and what happens if they
// present none or one that does not verify. A server that requests certificates and may
// resume sessions needs a session id context, see [Ctx.SetSessionIDContext]. Modes that
// have no effect because no certificate is requested are refused: VerifyFailIfNoPeerCert
// or VerifyClientOnce without VerifyPeer or VerifyDefer, and VerifyAnyName without either.
// On failure the previous mode remains in force.
//
// It is SSL_CTX_set_verify.
func (c *Ctx) SetVerify(mode VerifyMode) error {
	const known = VerifyPeer | VerifyFailIfNoPeerCert | VerifyClientOnce | VerifyDefer | VerifyAnyName
	if mode&^known != 0 {
		return fmt.Errorf("openssl: SSL_CTX_set_verify: %#x is no verify mode", int(mode))
	}
	if fault := mode.fault(); fault != "" {
		return errors.New("openssl: SSL_CTX_set_verify: " + fault)
	}
	return c.change(func(p libssl.CTX) error {
		bits := mode &^ (VerifyDefer | VerifyAnyName)
		if mode&VerifyDefer != 0 {
			bits |= VerifyPeer // to be sent a certificate at all
		}
		p.SetVerify(int(bits), mode&VerifyDefer != 0, mode&VerifyAnyName != 0)
		c.verify = mode
		return nil
	})
}

// fault describes why a mode that speaks of certificates requests none. It is empty for
// other modes.
func (m VerifyMode) fault() string {
	switch {
	case m&libssl.SSL_VERIFY_POST_HANDSHAKE != 0:
		return "SSL_VERIFY_POST_HANDSHAKE requests no certificate during the handshake, and this package requests none after it: use VerifyPeer"
	case m&(VerifyPeer|VerifyDefer) != 0:
		return ""
	case m&VerifyFailIfNoPeerCert != 0:
		return "VerifyFailIfNoPeerCert requests no certificate without VerifyPeer: give VerifyPeer|VerifyFailIfNoPeerCert"
	case m&VerifyClientOnce != 0:
		return "VerifyClientOnce requests no certificate without VerifyPeer: give VerifyPeer|VerifyClientOnce"
	case m&VerifyAnyName != 0:
		return "VerifyAnyName verifies no chain without VerifyPeer: give VerifyPeer|VerifyAnyName"
	}
	return ""
}

// verifyFault is fault for the mode that libssl has, which does not know VerifyDefer and
// VerifyAnyName.
func (c *Ctx) verifyFault(mode VerifyMode) string {
	if c.verify&VerifyDefer != 0 && mode&VerifyPeer == 0 {
		return "VerifyDefer requests no certificate without VerifyPeer"
	}
	return (mode | c.verify&VerifyAnyName).fault()
}

// SetVerifyFlags sets how chains are verified, in place of the flags in force before, and
// of what other setters turn on, whether they are called before it or after: without it
// [Ctx.SetVerifyCAs], [Ctx.AddVerifyCAs] and [Ctx.SetClientCAs] turn on VerifyPartialChain, until a command of
// [Ctx.Conf] replaces the trusted CAs. One thing is added: once [Ctx.SetCRLs] was called,
// lists are looked at for the whole chain, or for the leaf alone if f has VerifyCRLCheck
// without VerifyCRLCheckAll. VerifyCRLCheck without any list refuses every peer. On failure
// the previous flags remain in force.
//
// It is X509_VERIFY_PARAM_set_flags.
func (c *Ctx) SetVerifyFlags(f VerifyFlags) error {
	return c.change(func(p libssl.CTX) error {
		if f&^knownVerifyFlags != 0 {
			return fmt.Errorf("openssl: X509_VERIFY_PARAM_set_flags: %#x is no combination of VerifyFlags", uint32(f))
		}
		if f&VerifyCRLCheckAll != 0 {
			f |= VerifyCRLCheck // without it libcrypto looks at none
		}
		c.verifyFlags, c.verifyFlagsSet = f, true
		return c.applyVerifyFlags("SetVerifyFlags", p)
	})
}

// applyVerifyFlags sets, for a setter, what those of flags, CAs and lists come to together.
func (c *Ctx) applyVerifyFlags(setter string, p libssl.CTX) error {
	f := c.verifyFlags
	if !c.verifyFlagsSet && c.trustExact {
		f = VerifyPartialChain
	}
	if c.crls != nil && f&VerifyCRLCheck == 0 {
		f |= VerifyCRLCheck | VerifyCRLCheckAll
	}
	return c.took(setter, p.SetVerifyFlags(uint32(f)))
}

// SetHostFlags sets how a client looks for the server's name in its certificate, in place
// of the default HostNoPartialWildcards|HostNeverCheckSubject: the common name is taken for
// a host name only without HostNeverCheckSubject. A server verifies no name. On failure the
// previous flags remain in force.
//
// It is X509_VERIFY_PARAM_set_hostflags.
func (c *Ctx) SetHostFlags(f HostFlags) error {
	return c.change(func(p libssl.CTX) error {
		if f&^knownHostFlags != 0 {
			return fmt.Errorf("openssl: X509_VERIFY_PARAM_set_hostflags: %#x is no combination of HostFlags", uint32(f))
		}
		p.SetHostFlags(uint32(f))
		return nil
	})
}

// SetOpaqueCertificates sets what becomes of a connection whose peer has a certificate that
// libssl accepts and crypto/x509 cannot read, for example with a negative serial number. By
// default, and with false, the handshake fails with the alert unsupported_certificate, as
// with crypto/tls, unless the verify mode is VerifyDefer. With true it succeeds;
// ConnectionState has no PeerCertificates then, and the certificates in
// PeerCertificatesDER. CAs that cannot be read fail no handshake. On failure nothing has
// changed.
func (c *Ctx) SetOpaqueCertificates(on bool) error {
	return c.change(func(libssl.CTX) error {
		c.opaque = on
		return nil
	})
}

// SetVerifyDepth limits the number of intermediate certificates in a peer's chain.
// OpenSSL's default is 100. On failure the previous limit remains in force.
//
// It is SSL_CTX_set_verify_depth.
func (c *Ctx) SetVerifyDepth(depth int) error {
	if depth < 0 || depth > maxVerifyDepth {
		return fmt.Errorf("openssl: SSL_CTX_set_verify_depth: a depth of %d is not between 0 and %d", depth, maxVerifyDepth)
	}
	return c.change(func(p libssl.CTX) error {
		p.SetVerifyDepth(depth)
		return nil
	})
}

const maxVerifyDepth = 1 << 15 // far beyond any chain, and an int everywhere

// SetVerifyCAs trusts the certificates in pem, and no others. They replace the system's
// roots and whatever another setter or a command of [Ctx.Conf] has added. Each is trusted
// for itself: a CA below a root that is not in pem, and then nothing else below that root,
// see [Ctx.SetVerifyFlags]. Blocks of the types CERTIFICATE and TRUSTED CERTIFICATE are
// read; encrypted ones are refused. On failure nothing has changed.
//
// It is SSL_CTX_set_cert_store.
func (c *Ctx) SetVerifyCAs(pem []byte) error { return c.setTrust("SetVerifyCAs", pem, false) }

// SetClientCAs trusts the certificates in pem, and no others, to issue client
// certificates, and sends their names in the CertificateRequest. They replace the CAs
// that were trusted, and the names that were sent, before. It reads pem and trusts the CAs
// as SetVerifyCAs does. More names than fit into a message, 63 KiB of them, are refused;
// SetVerifyCAs trusts CAs without sending their names. On failure nothing has changed.
//
// It is SSL_CTX_set_cert_store and SSL_CTX_set_client_CA_list.
func (c *Ctx) SetClientCAs(pem []byte) error { return c.setTrust("SetClientCAs", pem, true) }

func (c *Ctx) setTrust(setter string, pem []byte, names bool) error {
	return c.change(func(p libssl.CTX) error {
		r := p.SetTrust(pem, names, c.crls)
		err := c.took(setter, r)
		switch {
		case r.Names > 0:
			return errors.New("openssl: SSL_CTX_set_client_CA_list: " + tooManyNames(r.Names))
		case r.Encrypted:
			return explain("a CA certificate is encrypted, give it decrypted", err)
		case err != nil:
			return explain("CA certificates", err)
		}
		c.trustSet, c.trustExact, c.confTrust, c.confStore, c.folders = true, true, false, false, nil
		return c.applyVerifyFlags(setter, p)
	})
}

// AddVerifyCAs trusts the certificates in pem beside those that are trusted: of a client the
// system's roots, unless another setter or a command of [Ctx.Conf] has replaced them. It
// reads pem as SetVerifyCAs does, and like that trusts each certificate for itself, see
// [Ctx.SetVerifyFlags]. A call of SetVerifyCAs or SetClientCAs after it replaces them. On
// failure nothing has changed, unless memory ran out; then the Ctx makes no connections any
// more.
//
// It is X509_STORE_add_cert.
func (c *Ctx) AddVerifyCAs(pem []byte) error {
	return c.change(func(p libssl.CTX) error {
		r := p.AddTrust(pem)
		switch err := c.took("AddVerifyCAs", r); {
		case r.Encrypted:
			return explain("a CA certificate is encrypted, give it decrypted", err)
		case err != nil:
			return explain("CA certificates", err)
		}
		c.trustExact, c.addsTrust = true, true
		return c.applyVerifyFlags("AddVerifyCAs", p)
	})
}

// SetMaxCertList limits the size in bytes of the certificate chain that a peer may send:
// a larger one fails the handshake before it is parsed. n is from 1 to 16777215. OpenSSL's
// default is 102400. On failure the previous limit remains in force.
//
// It is SSL_CTX_set_max_cert_list.
func (c *Ctx) SetMaxCertList(n int) error {
	const most = 1<<24 - 1 // a handshake message has no more
	if n < 1 || n > most {
		return fmt.Errorf("openssl: SSL_CTX_set_max_cert_list: %d bytes are not between 1 and %d", n, most)
	}
	return c.change(func(p libssl.CTX) error {
		p.SetMaxCertList(n)
		return nil
	})
}

// tooManyNames tells the way out of more names of CAs than can be sent.
func tooManyNames(size int) string {
	return fmt.Sprintf("the names of the CAs take %d bytes, and a CertificateRequest has room for %d: "+
		"trust the CAs with SetVerifyCAs, which sends no names", size, libssl.MaxCANames)
}

// SetCRLs adds certificate revocation lists in PEM, and requires every certificate of a
// peer's chain to be checked against one: a certificate is rejected if its issuer has no
// list here, or an expired one. A CA that is trusted itself, without the root above it, ends
// the chain: it is rejected only if a list names it. With [Ctx.SetVerifyFlags] the leaf
// alone can be checked. A newer list of an issuer replaces an older one. The lists stay in
// force if another setter changes the trusted CAs. Encrypted blocks are refused. On failure
// nothing has changed, unless memory ran out; then the Ctx makes no connections any more.
//
// It is X509_STORE_add_crl with X509_V_FLAG_CRL_CHECK_ALL.
func (c *Ctx) SetCRLs(pem []byte) error {
	return c.change(func(p libssl.CTX) error {
		r := p.SetCRLs(pem)
		if err := c.took("SetCRLs", r); err != nil {
			if r.Encrypted {
				return explain("a revocation list is encrypted, give it decrypted", err)
			}
			return explain("revocation lists", err)
		}
		c.crls = append(append(c.crls, pem...), '\n')
		return c.applyVerifyFlags("SetCRLs", p)
	})
}

// LoadVerifyLocations adds trusted CAs: the certificates of a PEM file, of a folder with
// names made by c_rehash, or of both. Either name may be empty. A client Ctx no longer
// trusts the system's roots after that. A CA needs the root above it, see
// [Ctx.SetVerifyFlags], unless SetVerifyCAs, AddVerifyCAs or SetClientCAs was called before. A file with encrypted blocks is refused, and so is
// a folder that holds such a file now. On failure nothing has changed, unless memory ran
// out; then the Ctx makes no connections any more.
//
// It is SSL_CTX_load_verify_locations.
func (c *Ctx) LoadVerifyLocations(file, dir string) error {
	const op = "openssl: SSL_CTX_load_verify_locations"
	switch {
	case file == "" && dir == "":
		return errors.New(op + ": neither a file nor a folder is named")
	case strings.IndexByte(file+dir, 0) >= 0:
		return errors.New(op + ": a path with a NUL byte")
	case dir != "":
		// libssl looks into the folder only when it verifies.
		if info, err := os.Stat(dir); err != nil {
			return fmt.Errorf(op+": %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf(op+": %s is not a folder", dir)
		}
	}
	err := decryptedFile(file)
	if err == nil {
		err = decryptedDir(dir)
	}
	if err != nil {
		return explain("SSL_CTX_load_verify_locations", err)
	}
	return c.change(func(p libssl.CTX) error {
		if err := c.took("LoadVerifyLocations", p.LoadVerify(file, dir)); err != nil {
			return explain("CA certificates of "+strings.TrimSpace(file+" "+dir), err)
		}
		c.trustSet = true
		if dir != "" {
			c.folders = append(c.folders, folderDigest(dir))
		}
		return nil
	})
}

//go:build cgo

package openssl

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/wire"
)

// Conf runs a configuration command, for settings that have no method here. cmd is a name
// as in openssl.cnf ("SignatureAlgorithms") or, with a dash, as on the command line
// ("-sigalgs"). A command that is refused changes nothing, because it is tried on a copy
// first. If memory runs out after that, or if a file that the command names changes, the
// Ctx makes no connections any more.
//
// VerifyCAFile, VerifyCAPath and VerifyCAStore set the trusted CAs. The first of them
// replaces the CAs that were trusted before, as in OpenSSL; later ones, and
// [Ctx.LoadVerifyLocations], add to them. [Ctx.SetVerifyCAs] and [Ctx.SetClientCAs] replace
// them all. ClientCAFile and its relatives replace the names that SetClientCAs sends.
//
// A file that a command names must be a regular file. Its certificates, parameters and
// private key must not be encrypted: no password is ever asked for. That is also required of
// each file that is in a folder now. VerifyMode refuses what [Ctx.SetVerify] refuses.
//
// It is SSL_CONF_cmd.
func (c *Ctx) Conf(cmd, value string) error {
	if cmd == "" || strings.IndexByte(cmd+value, 0) >= 0 {
		return fmt.Errorf("openssl: SSL_CONF_cmd: %q is no command", cmd)
	}
	return c.change(func(p libssl.CTX) error {
		refused := func(err error) error {
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q does not take %q", cmd, value), err)
		}
		kind, fail := libssl.ConfTypeOf(c.server, cmd)
		err := asError(fail)
		if err == nil {
			err = decryptedValue(kind, value)
		}
		if err != nil {
			return refused(err)
		}
		trusts, store := isConf(cmd, verifyCACommands), isConf(cmd, verifyStoreCommands)
		another := store && c.confTrust && c.confStore
		tried := p.TryConf(c.server, cmd, value, another, c.extended)
		switch {
		case tried.Result == libssl.ConfUnknownCommand:
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q is unknown, or not for this role", cmd), asError(tried.Fail))
		case tried.Result == libssl.ConfNeedsValue || tried.Fail != nil && value == "":
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q needs a value", cmd), asError(tried.Fail))
		case tried.Encrypted:
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q does not take %q: it is encrypted, give it decrypted", cmd, value), asError(tried.Fail))
		case !tried.Loads:
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q does not take %q: libssl looks into one store only, "+
				"and what this one holds cannot be loaded now", cmd, value), asError(tried.Fail))
		case tried.Fail != nil:
			return refused(asError(tried.Fail))
		case tried.Names > 0:
			return refused(errors.New(tooManyNames(tried.Names)))
		case tried.Verify != p.Settings().Verify && c.verifyFault(VerifyMode(tried.Verify)) != "":
			return refused(errors.New(c.verifyFault(VerifyMode(tried.Verify))))
		}
		called := fmt.Sprintf("Conf(%q)", cmd)
		var did libssl.Changed
		if trusts {
			did = p.ConfTrust(c.server, cmd, value, !c.confTrust, another, c.crls)
		} else {
			did = p.Conf(c.server, cmd, value)
		}
		if err := c.took(called, did); err != nil {
			return refused(err)
		}
		if trusts {
			if !c.confTrust {
				c.folders, c.trustExact = nil, false
				if err := c.applyVerifyFlags(called, p); err != nil {
					return refused(err)
				}
			}
			c.trustSet, c.confTrust, c.confStore = true, true, c.confStore || store
		}
		if isConf(cmd, listenOnlyCommands) {
			c.listenOnly = append(c.listenOnly, called)
		}
		if isConf(cmd, []string{"ServerInfoFile"}) {
			c.extended = append(c.extended, libssl.ServerInfo(value)...)
		}
		name := cmd
		if cmd[0] != '-' {
			name = strings.ToLower(cmd)
		}
		c.confs = append(c.confs, []byte(name), confDigest(kind, cmd, value))
		return nil
	})
}

// verifyCACommands say whom to trust, verifyStoreCommands by the name of a store.
var (
	verifyCACommands = []string{
		"VerifyCAFile", "VerifyCAPath", "VerifyCAStore",
		"-verifyCAfile", "-verifyCApath", "-verifyCAstore",
	}
	verifyStoreCommands = []string{"VerifyCAStore", "-verifyCAstore"}
)

// listenOnlyCommands set what a switch to another Ctx leaves behind: SSL_new
// copies it, SSL_set_SSL_CTX does not.
var listenOnlyCommands = []string{
	"Groups", "Curves", "ECDHParameters", "NumTickets", "RecordPadding",
	"-groups", "-curves", "-named_curve", "-num_tickets", "-record_padding",
}

// isConf reports whether a command that libssl knows is one of a list. Names of
// openssl.cnf have no case, those of the command line have.
func isConf(cmd string, list []string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		return cmd == name || cmd[0] != '-' && strings.EqualFold(cmd, name)
	})
}

// ownCommands name the certificate of a Ctx, which is represented by its names and issuer,
// and its key.
var ownCommands = []string{"Certificate", "PrivateKey", "-cert", "-key"}

// confDigest is what stands for the value of a command in a policy: of the files that it
// names what they hold. A policy that knew their names would not see them change, and
// would tell machines apart that have them elsewhere.
func confDigest(kind libssl.ConfType, cmd, value string) []byte {
	var paths []string
	switch {
	case isConf(cmd, ownCommands):
		return nil
	case kind == libssl.ConfFile:
		paths = []string{value}
	case kind == libssl.ConfDir:
		paths = append(filepath.SplitList(value), value)
	case kind == libssl.ConfStore:
		paths = storePaths(value)
	}
	var held wire.Writer
	for _, path := range slices.Compact(paths) {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			held.Bytes(folderDigest(path))
		} else if content, err := os.ReadFile(path); err == nil {
			held.Bytes(content)
		}
	}
	if held.B == nil { // it names no file, a token for instance
		return []byte(value)
	}
	sum := sha256.Sum256(held.B)
	return sum[:]
}

// folderDigest is a hash of what the files of a folder hold. What cannot be read libssl
// cannot read either.
func folderDigest(dir string) []byte {
	entries, _ := os.ReadDir(dir)
	var files [][]byte
	for _, entry := range entries {
		if content, err := os.ReadFile(filepath.Join(dir, entry.Name())); err == nil {
			sum := sha256.Sum256(content)
			files = append(files, sum[:])
		}
	}
	var d wire.Writer
	d.Set(files)
	sum := sha256.Sum256(d.B)
	return sum[:]
}

// decryptedValue refuses the value of a command if libssl would need a password
// for a file that it names.
func decryptedValue(kind libssl.ConfType, value string) error {
	switch kind {
	case libssl.ConfFile:
		return decryptedFile(value)
	case libssl.ConfDir:
		// libssl takes it for one folder or for a list of them.
		for _, dir := range append(filepath.SplitList(value), value) {
			if err := decryptedDir(dir); err != nil {
				return err
			}
		}
	case libssl.ConfStore:
		for _, path := range storePaths(value) {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				if err := decryptedDir(path); err != nil {
					return err
				}
			} else if err := decryptedFile(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// storePaths is the files that the name of a store may stand for: it is a path or
// a URI.
func storePaths(uri string) []string {
	paths := []string{uri}
	if len(uri) > 5 && strings.EqualFold(uri[:5], "file:") {
		path := uri[5:]
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			path = rest[max(strings.IndexByte(rest, '/'), 0):] // after the host
		}
		paths = append(paths, path)
	}
	return paths
}

// decryptedFile refuses a file with an encrypted block other than a private key.
// libssl reads certificates with callbacks of its own, which ask on the terminal
// in some places. For what is not a file libssl returns the error.
func decryptedFile(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("openssl: %s is not a regular file: it is read more than once", path)
	}
	block, fail := libssl.EncryptedBlock(path)
	err = asError(fail)
	if err == nil && block != "" {
		err = fmt.Errorf("openssl: the %s in %s is encrypted, give it decrypted", block, path)
	}
	return err
}

// decryptedDir is decryptedFile for each file of a folder.
func decryptedDir(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // libssl returns the error
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err != nil || info.Mode()&fs.ModeType != 0 {
			continue
		}
		if err := decryptedFile(path); err != nil {
			return err
		}
	}
	return nil
}

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
)

// Conf runs one command: all that has no setter here. cmd is a name of
// openssl.cnf's ("SignatureAlgorithms") or, with a dash, of the command line's
// ("-sigalgs"). A refused command changes nothing: it is tried on a copy first. If
// the memory for it runs out after that, or a file that it names changes, the Ctx
// makes no connections any more.
//
// VerifyCAFile, VerifyCAPath and VerifyCAStore have the CAs that they name
// trusted. The first of them takes the place of what was trusted before, as in
// OpenSSL; those that follow, and [Ctx.LoadVerifyLocations], add to it.
// [Ctx.SetVerifyCAs] and [Ctx.SetClientCAs] take its place in turn. ClientCAFile
// and its like take the place of the names that SetClientCAs sends.
//
// A file that a command names is a regular one, and its certificates and
// parameters are not encrypted, nor is a private key; nobody is asked for a
// password. The same holds for each file that is in a folder now. VerifyMode
// refuses what [Ctx.SetVerify] refuses.
//
// It is SSL_CONF_cmd.
func (c *Ctx) Conf(cmd, value string) error {
	if cmd == "" || strings.IndexByte(cmd+value, 0) >= 0 {
		return fmt.Errorf("openssl: SSL_CONF_cmd: %q is no command", cmd)
	}
	return c.change(func(p ctxPtr) error {
		refused := func(err error) error {
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q does not take %q", cmd, value), err)
		}
		kind, err := confTypeOf(c.server, cmd)
		if err == nil {
			err = decryptedValue(kind, value)
		}
		if err != nil {
			return refused(err)
		}
		trusts, store := isConf(cmd, verifyCACommands), isConf(cmd, verifyStoreCommands)
		another := store && c.confTrust && c.confStore
		tried := p.tryConf(c.server, cmd, value, another, c.extended)
		switch {
		case tried.answer == confUnknown:
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q is unknown, or not for this role", cmd), tried.err)
		case tried.answer == confNoValue || tried.err != nil && value == "":
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q needs a value", cmd), tried.err)
		case tried.encrypted:
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q does not take %q: it is encrypted, give it decrypted", cmd, value), tried.err)
		case !tried.loads:
			return explain(fmt.Sprintf("SSL_CONF_cmd: %q does not take %q: libssl looks into one store only, "+
				"and what this one holds cannot be loaded now", cmd, value), tried.err)
		case tried.err != nil:
			return refused(tried.err)
		case tried.verify != p.facts().verify && c.verifyFault(tried.verify) != "":
			return refused(errors.New(c.verifyFault(tried.verify)))
		}
		called := fmt.Sprintf("Conf(%q)", cmd)
		var did changed
		if trusts {
			did = p.confTrust(c.server, cmd, value, !c.confTrust, another, c.crls)
		} else {
			did = p.conf(c.server, cmd, value)
		}
		if err := c.took(called, did); err != nil {
			return refused(err)
		}
		if trusts {
			if !c.confTrust {
				c.locations = nil
			}
			c.trustSet, c.confTrust, c.confStore = true, true, c.confStore || store
		}
		if isConf(cmd, listenOnlyCommands) {
			c.listenOnly = append(c.listenOnly, called)
		}
		if isConf(cmd, []string{"ServerInfoFile"}) {
			c.extended = append(c.extended, serverInfo(value)...)
		}
		c.fingerprint.add("conf", cmd, value)
		c.confs = append(c.confs, cmd, value, confContent(cmd, value))
		return nil
	})
}

// SSL_CONF_cmd's answers; its manual knows them as numbers only.
const (
	confUnknown = -2
	confNoValue = -3
)

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

// isConf says whether a command that libssl knows is one of a list. Names of
// openssl.cnf have no case, those of the command line have.
func isConf(cmd string, list []string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		return cmd == name || cmd[0] != '-' && strings.EqualFold(cmd, name)
	})
}

// confContent is a hash of the file that a command has read, certificates of CAs
// for one: a policy that knew its name only would not see it change.
func confContent(cmd, value string) string {
	cmd = strings.ToLower(cmd)
	paths := []string{value}
	switch {
	case strings.HasSuffix(cmd, "castore"):
		paths = storePaths(value)
	case !strings.HasSuffix(cmd, "file"):
		return ""
	}
	for _, path := range paths {
		if content, err := os.ReadFile(path); err == nil {
			sum := sha256.Sum256(content)
			return string(sum[:])
		}
	}
	return ""
}

// decryptedValue refuses the value of a command if libssl would need a password
// for a file that it names.
func decryptedValue(kind confType, value string) error {
	switch kind {
	case confFile:
		return decryptedFile(value)
	case confDir:
		// libssl takes it for one folder or for a list of them.
		for _, dir := range append(filepath.SplitList(value), value) {
			if err := decryptedDir(dir); err != nil {
				return err
			}
		}
	case confStore:
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
// in some places. What is no file is not its concern: libssl says what is wrong.
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
	block, err := encryptedBlock(path)
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
		return nil // libssl says what is wrong
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

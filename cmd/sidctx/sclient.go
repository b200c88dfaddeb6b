package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// sClient is the system's "openssl s_client": a client that was not written here.
type sClient struct {
	args    []string
	session string // the file that -sess_out writes and -sess_in reads
	visits  int
}

var errNoOpenssl = errors.New("the openssl command is not on PATH, and it is one of the two clients " +
	"(Debian and Ubuntu: apt-get install openssl, or make deps)")

// opensslVersion is what the openssl command calls itself.
func opensslVersion(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("openssl"); err != nil {
		return "", errNoOpenssl
	}
	said, err := exec.CommandContext(ctx, "openssl", "version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("openssl version: %w: %s", err, lastLines(said))
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(said)), " (")
	return name, nil
}

func newSClient(certs *pki, version uint16) *sClient {
	flag := "-tls1_3"
	if version == tls.VersionTLS12 {
		flag = "-tls1_2"
	}
	return &sClient{
		session: filepath.Join(certs.dir, "s_client.session"),
		args: []string{
			"s_client", flag,
			"-CAfile", certs.certFile("ca"), "-verify_return_error",
			"-cert", certs.certFile(clientName), "-key", certs.keyFile(clientName),
		},
	}
}

func (s *sClient) close() { os.Remove(s.session) }

// visit keeps s_client's input open until the server's greeting has come out:
// s_client ends with its input, and in TLS 1.3 the tickets come behind the
// handshake.
func (s *sClient) visit(ctx context.Context, addr, name string) (v visit, err error) {
	args := append(s.args[:len(s.args):len(s.args)], "-connect", addr, "-servername", name, "-verify_hostname", name)
	if s.visits > 0 {
		args = append(args, "-sess_in", s.session)
	} else {
		args = append(args, "-sess_out", s.session)
	}
	s.visits++

	cmd := exec.CommandContext(ctx, "openssl", args...)
	cmd.WaitDelay = time.Second
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		return v, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return v, err
	}
	if err := cmd.Start(); err != nil {
		return v, err
	}
	var said bytes.Buffer
	var greeted bool
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		// s_client buffers what it says itself but not what the server says, so
		// that the greeting may stand within a line.
		if strings.Contains(line, greeting+name) {
			greeted = true
			in.Close()
		}
		if err != nil {
			break // it has ended
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil || !greeted {
		if err == nil {
			err = errors.New("it ended before the server's greeting")
		}
		return v, fmt.Errorf("openssl s_client: %w: %s", err, lastLines(complaints.Bytes()))
	}
	if v.resumed, err = sClientResumed(said.Bytes()); err != nil {
		return v, err
	}
	file, err := os.ReadFile(s.session)
	if err != nil {
		return v, fmt.Errorf("openssl s_client has written no session: %w", err)
	}
	block, _ := pem.Decode(file)
	if block == nil {
		return v, errors.New("openssl s_client has written a session that is not in PEM")
	}
	v.session = block.Bytes
	return v, nil
}

// handshakeLine is what s_client prints of a handshake, in every version since
// 1.1.1. After one that failed the protocol is (NONE).
var handshakeLine = regexp.MustCompile(`(?m)^(New|Reused), TLSv1\.[23], Cipher is `)

func sClientResumed(said []byte) (bool, error) {
	all := handshakeLine.FindAllSubmatch(said, -1)
	if len(all) != 1 {
		return false, fmt.Errorf("openssl s_client says %d times whether it has resumed, not once", len(all))
	}
	return string(all[0][1]) == "Reused", nil
}

// lastLines is the end of a program's complaints, on one line.
func lastLines(b []byte) string {
	lines := strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	engine "github.com/sidctx/openssl/probe"
)

// peer is a program that was not written here. Debian keeps servers in sbin,
// which is not on everybody's PATH.
func peer(t *testing.T, name string) (path string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it starts " + name)
	}
	for _, file := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	if os.Getenv("REQUIRE_PEERS") == "1" {
		t.Fatalf("%s is missing and REQUIRE_PEERS is set", name)
	}
	t.Skipf("%s is not on PATH: it is the peer of this test (Debian and Ubuntu: make deps)", name)
	return ""
}

// peerCerts is what a peer serves with: ca, a.test, b.test and client.
func peerCerts(t *testing.T) *pki {
	t.Helper()
	certs, err := newPKI(t.TempDir())
	if err != nil {
		t.Fatalf("newPKI: %v", err)
	}
	for _, name := range []string{"a.test", "b.test", "client"} {
		if err := certs.leaf(name); err != nil {
			t.Fatalf("leaf: %v", err)
		}
	}
	return certs
}

// end has a process that the test has started stop by itself, for it may have
// children, and kills it if it does not.
func end(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	kill.Stop()
}

// startNginx serves a.test and b.test, which requires client certificates, as
// Debian configures nginx: with tickets, and with a cache that both share. It
// inherits a socket that listens already.
func startNginx(t *testing.T, certs *pki) (addr string) {
	t.Helper()
	nginx := peer(t, "nginx")
	if help, err := exec.Command(nginx, "-h").CombinedOutput(); err != nil || !strings.Contains(string(help), "-e filename") {
		t.Skipf("this nginx is older than 1.19.5 and logs where it was built to, in /var: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatalf("File: %v", err)
	}
	defer socket.Close()
	addr = l.Addr().String()

	var conf strings.Builder
	fmt.Fprintln(&conf, "daemon off;\nworker_processes 1;\nerror_log stderr;\npid nginx.pid;\nevents {}\nhttp {\n\taccess_log off;")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "\t%s_temp_path %s;\n", kind, kind)
	}
	fmt.Fprintln(&conf, "\tssl_protocols TLSv1.2 TLSv1.3;\n\tssl_session_cache shared:test:1m;")
	for _, name := range []string{"a.test", "b.test"} {
		fmt.Fprintf(&conf, "\tserver {\n\t\tlisten %s ssl;\n\t\tserver_name %s;\n", addr, name)
		fmt.Fprintf(&conf, "\t\tssl_certificate %s;\n\t\tssl_certificate_key %s;\n", certs.certFile(name), certs.keyFile(name))
		if name == "b.test" {
			fmt.Fprintf(&conf, "\t\tssl_client_certificate %s;\n\t\tssl_verify_client on;\n", certs.certFile("ca"))
		}
		fmt.Fprintln(&conf, "\t\treturn 204;\n\t}")
	}
	fmt.Fprintln(&conf, "}")
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatalf("WriteFile: %v", err)
	}
	cmd := exec.Command(nginx, "-p", dir, "-c", file, "-e", "stderr")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "NGINX=3;")
	start(t, cmd)
	return addr
}

// start starts a server that ends with the test, and logs what it has said if
// the test fails.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		end(cmd)
		said.Close()
		if b, err := os.ReadFile(said.Name()); t.Failed() {
			t.Logf("%s has said: %s %v", cmd.Path, b, err)
		}
	})
}

const apacheModules = "/usr/lib/apache2/modules"

// startApache serves the same by Apache. It can inherit no socket, so that
// another process may take its port before it does: then it gets another one.
func startApache(t *testing.T, certs *pki) (addr string) {
	t.Helper()
	apache := peer(t, "apache2")
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("Listen: %v", err)
		}
		addr = l.Addr().String()
		l.Close()

		dir := t.TempDir()
		var conf strings.Builder
		for _, module := range []string{"mpm_event", "authz_core", "socache_shmcb", "ssl"} {
			fmt.Fprintf(&conf, "LoadModule %s_module %s/mod_%s.so\n", module, apacheModules, module)
		}
		fmt.Fprintf(&conf, "ServerRoot %s\nPidFile apache2.pid\nMutex file:%s\nErrorLog /dev/stderr\nServerName a.test\n", dir, dir)
		fmt.Fprintln(&conf, "User nobody\nGroup nogroup\nStartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8")
		fmt.Fprintf(&conf, "SSLSessionCache shmcb:%s/cache(512000)\nSSLProtocol -all +TLSv1.2 +TLSv1.3\nListen %s\n", dir, addr)
		for _, name := range []string{"a.test", "b.test"} {
			fmt.Fprintf(&conf, "<VirtualHost %s>\nServerName %s\nSSLEngine on\n", addr, name)
			fmt.Fprintf(&conf, "SSLCertificateFile %s\nSSLCertificateKeyFile %s\n", certs.certFile(name), certs.keyFile(name))
			if name == "b.test" {
				fmt.Fprintf(&conf, "SSLCACertificateFile %s\nSSLVerifyClient require\n", certs.certFile("ca"))
			}
			fmt.Fprintln(&conf, "</VirtualHost>")
		}
		file := filepath.Join(dir, "apache2.conf")
		if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
			t.Fatalf("WriteFile: %v", err)
		}
		cmd := exec.Command(apache, "-d", dir, "-f", file, "-DFOREGROUND")
		said, err := cmd.StderrPipe()
		if err != nil {
			t.Fatalf("StderrPipe: %v", err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatalf("Start: %v", err)
		}
		var heard strings.Builder
		lines := bufio.NewReader(said)
		for ready := false; !ready; {
			line, err := lines.ReadString('\n')
			heard.WriteString(line)
			if err != nil {
				break // it has ended
			}
			ready = strings.Contains(line, "resuming normal operations")
			if ready {
				go io.Copy(io.Discard, lines)
				t.Cleanup(func() { end(cmd) })
				return addr
			}
		}
		end(cmd)
		if !strings.Contains(heard.String(), "Address already in use") {
			t.Fatalf("%s has ended: %s", apache, heard.String())
		}
	}
	t.Fatal("no port stayed free for apache2")
	return ""
}

// Debian's nginx and Apache: probe runs to its end, finds that both resume at
// home, and that no session of the other host enters the one that requires
// certificates. What nginx resumes elsewhere is reported as what it is.
func TestProbePeers(t *testing.T) {
	for _, tt := range []struct {
		name, program string
		start         func(*testing.T, *pki) string
		// crossings is what is found in versions that say so of themselves, from one
		// name to another, and in how many ways of resuming.
		version   string
		crossings map[string]int
	}{
		// This nginx chooses the host in the servername callback. It refuses what has
		// crossed into a host that verifies, with an alert in TLS 1.3, with 421 in TLS
		// 1.2, and lets the other direction be. What was made under no name of a host
		// it resumes there, and its HTTP answers 400: no certificate.
		{"nginx", "nginx", startNginx, "nginx/1.22.", map[string]int{
			"b.test -> a.test": 3, "b.test -> ": 3, "b.test -> nobody.b.test": 3,
			" -> b.test": 3, "nobody.invalid -> b.test": 2,
		}},
		// Apache gives each host a session id context, in time.
		{"Apache", "apache2", startApache, "(Debian)", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			version, err := exec.Command(peer(t, tt.program), "-v").CombinedOutput()
			if err != nil {
				t.Fatalf("CombinedOutput: %v", err)
			}
			certs := peerCerts(t)
			addr := tt.start(t, certs)
			args := []string{"probe", addr, "-host", "a.test", "-host", "b.test",
				"-cert", "b.test=" + certs.certFile("client") + "," + certs.keyFile("client")}
			out, errOut, err := sidctx(t, append(args, "-json")...)

			var report engine.Report
			if err := json.Unmarshal([]byte(out), &report); err != nil || !report.Resumes || errOut != "" {
				t.Fatalf("%v\n%s%s", err, out, errOut)
			}
			if (err != nil) != (len(report.Crossings()) > 0) {
				t.Errorf("%d crossings: %v", len(report.Crossings()), err)
			}
			t.Logf("%s: %d of %d offers crossed", tt.name, len(report.Crossings()), len(report.Rows))
			known := strings.Contains(string(version), tt.version)
			offers := map[string]int{} // by way and home; not all versions give TLS 1.2 tickets at all hosts
			found := map[string]int{}
			for _, row := range report.Rows {
				offers[row.Version+" "+row.Mechanism+" "+row.From]++
				if row.Crossing {
					found[row.From+" -> "+row.To]++
				}
				if row.To == "b.test" && row.Kind == "other" && (row.Crossing || row.Outcome == "resumed") ||
					row.Kind == "same" && row.Outcome != "resumed" {
					t.Error(row)
				}
			}
			for _, way := range []string{"TLS 1.2 ticket", "TLS 1.2 id", "TLS 1.3 psk"} {
				for _, home := range []string{"a.test", "b.test"} {
					n := offers[way+" "+home]
					if n != 5 && !(n == 0 && way == "TLS 1.2 ticket" && !known) {
						t.Errorf("%s: %d offers of sessions of %s", way, n, home)
					}
				}
			}
			if !known {
				t.Logf("not held against what is known of another version: %s", version)
			} else if !maps.Equal(found, tt.crossings) {
				t.Errorf("crossings: %v, not %v", found, tt.crossings)
			}
			if t.Failed() {
				t.Logf("%s%s", version, out)
			}
		})
	}
}

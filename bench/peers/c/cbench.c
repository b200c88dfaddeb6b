/*
 * The plain C peer, and the fixed far end of every TCP case.
 *
 *   cbench worker KIND VERSION MODE SIZE CERT   serves one case
 *   cbench client                               is driven by the bench over stdin
 *
 * A worker says "ready PORT", then answers each line "run N" with
 * "ok CPU_NS WALL_NS OPS BYTES". Ciphers and groups come from OPENSSL_CONF, which
 * all peers share. Only functions that 1.1.1 has are called.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <openssl/err.h>
#include <openssl/ssl.h>

static void die(const char *format, ...) {
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	ERR_print_errors_fp(stderr);
	exit(1);
}

#define CHECK(what) \
	do { \
		if (!(what)) \
			die("cbench.c:%d: %s", __LINE__, #what); \
	} while (0)

/* ---- measuring ---- */

typedef struct {
	long long cpu, wall;
} stamp;

static stamp now(void) {
	struct rusage u;
	struct timespec t;
	stamp s;

	getrusage(RUSAGE_SELF, &u);
	clock_gettime(CLOCK_MONOTONIC, &t);
	s.cpu = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000LL + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000LL;
	s.wall = t.tv_sec * 1000000000LL + t.tv_nsec;
	return s;
}

static void report(stamp from, stamp to, long ops, long long bytes) {
	printf("ok %lld %lld %ld %lld\n", to.cpu - from.cpu, to.wall - from.wall, ops, bytes);
	fflush(stdout);
}

static long long resident(void) {
	long long size = 0, pages = 0;
	FILE *f;

#ifdef __GLIBC__
	malloc_trim(0);
#endif
	CHECK((f = fopen("/proc/self/statm", "r")) != NULL);
	CHECK(fscanf(f, "%lld %lld", &size, &pages) == 2);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

/* ---- contexts ---- */

static int version_of(const char *name) {
	return strcmp(name, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

static SSL_CTX *new_ctx(int server, int version) {
	SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	CHECK(c);
	CHECK(SSL_CTX_set_min_proto_version(c, version) == 1);
	CHECK(SSL_CTX_set_max_proto_version(c, version) == 1);
	return c;
}

static SSL_CTX *new_server(const char *version, const char *mode, const char *cert) {
	SSL_CTX *c = new_ctx(1, version_of(version));
	char path[4096];

	snprintf(path, sizeof path, "%s.pem", cert);
	CHECK(SSL_CTX_use_certificate_chain_file(c, path) == 1);
	snprintf(path, sizeof path, "%s.key", cert);
	CHECK(SSL_CTX_use_PrivateKey_file(c, path, SSL_FILETYPE_PEM) == 1);
	CHECK(SSL_CTX_set_session_id_context(c, (const unsigned char *)"bench", 5) == 1);
	if (strcmp(mode, "sid") == 0)
		SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
	if (strcmp(mode, "idle") == 0 || strcmp(mode, "blocked") == 0)
		SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	return c;
}

static void check_cipher(const SSL *s) {
	const char *name = SSL_get_cipher_name(s);

	if (!strstr(name, "AES128-GCM") && !strstr(name, "AES_128_GCM"))
		die("cbench: negotiated %s, the bench compares AES-128-GCM", name);
}

/* ---- in memory ---- */

static void pair(SSL_CTX *cc, SSL_CTX *sc, SSL **c, SSL **s) {
	BIO *near, *far;

	CHECK((*c = SSL_new(cc)) && (*s = SSL_new(sc)));
	CHECK(BIO_new_bio_pair(&near, 0, &far, 0) == 1);
	SSL_set_bio(*c, near, near);
	SSL_set_bio(*s, far, far);
	SSL_set_connect_state(*c);
	SSL_set_accept_state(*s);
}

static void step(SSL *s, int *done) {
	int r, e;

	if (*done)
		return;
	r = SSL_do_handshake(s);
	if (r == 1) {
		*done = 1;
		return;
	}
	e = SSL_get_error(s, r);
	if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
		die("cbench: handshake: SSL error %d", e);
}

/* shake runs the handshake; a TLS 1.3 client reads its tickets. */
static void shake(SSL *c, SSL *s) {
	int c_done = 0, s_done = 0, i;
	char b;

	for (i = 0; i < 20 && !(c_done && s_done); i++) {
		step(c, &c_done);
		step(s, &s_done);
	}
	CHECK(c_done && s_done);
	if (SSL_version(c) == TLS1_3_VERSION) {
		int r = SSL_read(c, &b, 1);
		CHECK(r <= 0 && SSL_get_error(c, r) == SSL_ERROR_WANT_READ);
	}
}

static void bye(SSL *c, SSL *s) {
	SSL_shutdown(c);
	SSL_shutdown(s);
	SSL_free(c);
	SSL_free(s);
}

static void read_full(SSL *s, char *p, int n) {
	int got = 0;

	while (got < n) {
		int r = SSL_read(s, p + got, n - got);
		if (r <= 0)
			die("cbench: SSL_read: SSL error %d", SSL_get_error(s, r));
		got += r;
	}
}

static void write_full(SSL *s, const char *p, int n) {
	int r = SSL_write(s, p, n);

	if (r != n)
		die("cbench: SSL_write: SSL error %d", SSL_get_error(s, r));
}

static void mem(SSL *c, SSL *s, char *p, int size, long n) {
	long i;

	for (i = 0; i < n; i++) {
		write_full(s, p, size);
		read_full(c, p, size);
	}
}

/* handshakes makes n connections; session is NULL for full ones. */
static void handshakes(SSL_CTX *cc, SSL_CTX *sc, SSL_SESSION **session, int resume, long n) {
	long i;

	for (i = 0; i < n; i++) {
		int first = resume && !*session;
		SSL *c, *s;

		pair(cc, sc, &c, &s);
		if (resume && *session)
			CHECK(SSL_set_session(c, *session) == 1);
		shake(c, s);
		if (i == 0 || i == n - 1) {
			check_cipher(c);
			CHECK(SSL_session_reused(c) == (resume && !first));
		}
		/* TLS 1.3 tickets are used once; a TLS 1.2 session is kept. */
		if (SSL_version(c) == TLS1_3_VERSION || first) {
			SSL_SESSION *got = SSL_get1_session(c);
			CHECK(got && SSL_SESSION_is_resumable(got));
			if (resume) {
				SSL_SESSION_free(*session);
				*session = got;
			} else {
				SSL_SESSION_free(got);
			}
		}
		bye(c, s);
	}
}

/* both_ends is a handshake and one byte, the client's ends closing when it has read it. */
static void both_ends(SSL_CTX *cc, SSL_CTX *sc, long n) {
	long i;
	char b = 'x';

	for (i = 0; i < n; i++) {
		int c_done = 0, s_done = 0, k;
		SSL *c, *s;

		pair(cc, sc, &c, &s);
		for (k = 0; k < 20 && !(c_done && s_done); k++) {
			step(c, &c_done);
			step(s, &s_done);
		}
		CHECK(c_done && s_done);
		write_full(s, &b, 1);
		read_full(c, &b, 1);
		bye(c, s);
	}
}

/* set_sid calls the context's setter, as the shim of a binding does: call, drain the queue. */
static void set_sid(SSL_CTX *c, unsigned int len, long n) {
	static const unsigned char sid[33];
	long i;

	for (i = 0; i < n; i++) {
		int ok = SSL_CTX_set_session_id_context(c, sid, len);
		unsigned long e, last = 0;
		if (!ok)
			while ((e = ERR_get_error()) != 0)
				last = e;
		CHECK(ok == (len <= 32) && (ok || last != 0));
	}
}

/* split is both_ends in several threads, which share the contexts. */
typedef struct {
	SSL_CTX *cc, *sc;
	long n;
} share;

static void *one_share(void *arg) {
	share *s = arg;

	both_ends(s->cc, s->sc, s->n);
	return NULL;
}

static void split(SSL_CTX *cc, SSL_CTX *sc, int threads, long n) {
	share s = {cc, sc, (n + threads - 1) / threads};
	pthread_t *all = calloc((size_t)threads, sizeof *all);
	int i;

	CHECK(all);
	for (i = 0; i < threads; i++)
		CHECK(pthread_create(&all[i], NULL, one_share, &s) == 0);
	for (i = 0; i < threads; i++)
		pthread_join(all[i], NULL);
	free(all);
}

/* ---- over TCP ---- */

static int listen_any(int *port) {
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in a = {0};
	socklen_t len = sizeof a;

	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 4096) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static int accept_one(int l) {
	int fd, one = 1;

	do
		fd = accept(l, NULL, NULL);
	while (fd < 0 && errno == EINTR);
	CHECK(fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static int call(int port) {
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in a = {0};

	CHECK(fd >= 0);
	a.sin_family = AF_INET;
	a.sin_port = htons((uint16_t)port);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static SSL *on_fd(SSL_CTX *c, int fd, int server) {
	SSL *s = SSL_new(c);
	int r;

	CHECK(s && SSL_set_fd(s, fd) == 1);
	r = server ? SSL_accept(s) : SSL_connect(s);
	if (r != 1)
		die("cbench: handshake on a socket: SSL error %d", SSL_get_error(s, r));
	return s;
}

static void hang_up(SSL *s) {
	int fd = SSL_get_fd(s);

	SSL_shutdown(s);
	SSL_free(s);
	close(fd);
}

static void run_tcp(SSL_CTX *sc, int l, const char *mode, char *p, int size, long n) {
	SSL *s = on_fd(sc, accept_one(l), 1);
	stamp from, to;
	long i;

	check_cipher(s);
	if (strcmp(mode, "send") == 0) {
		read_full(s, p, 1);
		from = now();
		for (i = 0; i < n; i++)
			write_full(s, p, size);
		read_full(s, p, 1);
	} else {
		long long left = (long long)n * size;
		from = now();
		write_full(s, p, 1);
		while (left > 0) {
			int r = SSL_read(s, p, size);
			if (r <= 0)
				die("cbench: SSL_read: SSL error %d", SSL_get_error(s, r));
			left -= r;
		}
	}
	to = now();
	report(from, to, n, 0);
	hang_up(s);
}

static void run_accept(SSL_CTX *sc, int l, long n) {
	stamp from = now();
	long i;

	for (i = 0; i < n; i++) {
		SSL *s = on_fd(sc, accept_one(l), 1);
		write_full(s, "x", 1);
		hang_up(s);
	}
	report(from, now(), n, 0);
}

static void run_idle(SSL_CTX *sc, int l, long n) {
	SSL **held = calloc((size_t)n, sizeof *held);
	stamp from = now();
	long long before;
	long i;
	char b;

	CHECK(held);
	memset(held, 1, (size_t)n * sizeof *held);
	before = resident();
	for (i = 0; i < n; i++) {
		held[i] = on_fd(sc, accept_one(l), 1);
		read_full(held[i], &b, 1);
		write_full(held[i], &b, 1);
	}
	report(from, now(), n, resident() - before);
	for (i = 0; i < n; i++)
		hang_up(held[i]);
	free(held);
}

/* ---- who we are ---- */

static void *rest(void *unused) {
	for (;;)
		pause();
	return unused;
}

static int worker(char **argv) {
	const char *kind = argv[0], *version = argv[1], *mode = argv[2], *cert = argv[4];
	int size = atoi(argv[3]), l = -1, port = 0;
	SSL_CTX *cc = new_ctx(0, version_of(version)), *sc = new_server(version, mode, cert);
	SSL_SESSION *session = NULL;
	char line[256], *p = calloc(1, 1 << 20);
	SSL *c = NULL, *s = NULL;
	long n;

	CHECK(p && size <= 1 << 20);
	if (strcmp(kind, "mem") == 0) {
		pair(cc, sc, &c, &s);
		shake(c, s);
		check_cipher(c);
	}
	if (strcmp(kind, "tcp") == 0 || strcmp(kind, "accept") == 0 || strcmp(kind, "storm") == 0 || strcmp(kind, "idle") == 0)
		l = listen_any(&port);
	if (getenv("BENCH_IDLE_THREAD")) {
		pthread_t t;
		CHECK(pthread_create(&t, NULL, rest, NULL) == 0);
	}
	printf("ready %d\n", port);
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		stamp from = now();

		if (sscanf(line, "run %ld", &n) != 1 || n < 1)
			die("cbench: not a command: %s", line);
		if (strcmp(kind, "tcp") == 0)
			run_tcp(sc, l, mode, p, size, n);
		else if (strcmp(kind, "accept") == 0 || strcmp(kind, "storm") == 0)
			run_accept(sc, l, n);
		else if (strcmp(kind, "idle") == 0)
			run_idle(sc, l, n);
		else {
			if (strcmp(kind, "mem") == 0)
				mem(c, s, p, size, n);
			else if (strcmp(kind, "hs") == 0)
				handshakes(cc, sc, &session, strcmp(mode, "full") != 0, n);
			else if (strcmp(kind, "ends") == 0)
				both_ends(cc, sc, n);
			else if (strcmp(kind, "setsid") == 0)
				set_sid(sc, (unsigned int)size, n);
			else if (strcmp(kind, "split") == 0)
				split(cc, sc, size, n);
			else
				die("cbench: no case %s", kind);
			report(from, now(), n, 0);
		}
	}
	return 0;
}

static void until_end(SSL *s) {
	char b[4096];

	while (SSL_read(s, b, sizeof b) > 0)
		;
	hang_up(s);
}

/* storm makes n connections at once: all have asked before one is answered. */
static void storm(SSL_CTX *cc, int port, long n) {
	SSL **all = calloc((size_t)n, sizeof *all);
	long i, left = n;
	char b;

	CHECK(all);
	for (i = 0; i < n; i++) {
		int fd = call(port);

		CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
		CHECK((all[i] = SSL_new(cc)) && SSL_set_fd(all[i], fd) == 1);
		SSL_set_connect_state(all[i]);
	}
	while (left > 0)
		for (i = 0; i < n; i++) {
			int r, e;

			if (!all[i])
				continue;
			if ((r = SSL_read(all[i], &b, 1)) <= 0) {
				e = SSL_get_error(all[i], r);
				if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
					die("cbench: in a storm: SSL error %d", e);
				continue;
			}
			hang_up(all[i]);
			all[i] = NULL;
			left--;
		}
	free(all);
}

static int client(void) {
	SSL_CTX *cc = new_ctx(0, TLS1_3_VERSION);
	char line[256], verb[32], *p = calloc(1, 1 << 20);
	SSL **held = NULL;
	long n_held = 0, n, i;
	int port, size;

	CHECK(p);
	printf("ready 0\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%31s %d %d %ld", verb, &port, &size, &n) != 4 || size > 1 << 20)
			die("cbench: not a command: %s", line);
		if (strcmp(verb, "send") == 0) { /* the server sends */
			long long left = (long long)n * size;
			SSL *s = on_fd(cc, call(port), 0);

			write_full(s, "x", 1);
			while (left > 0) {
				int r = SSL_read(s, p, 1 << 16);
				if (r <= 0)
					die("cbench: SSL_read: SSL error %d", SSL_get_error(s, r));
				left -= r;
			}
			write_full(s, "x", 1);
			until_end(s);
		} else if (strcmp(verb, "recv") == 0) {
			SSL *s = on_fd(cc, call(port), 0);

			read_full(s, p, 1);
			for (i = 0; i < n; i++)
				write_full(s, p, size);
			until_end(s);
		} else if (strcmp(verb, "full") == 0) {
			for (i = 0; i < n; i++) {
				SSL *s = on_fd(cc, call(port), 0);

				if (i == 0)
					check_cipher(s);
				read_full(s, p, 1);
				until_end(s);
			}
		} else if (strcmp(verb, "storm") == 0) {
			storm(cc, port, n);
		} else if (strcmp(verb, "hold") == 0) {
			CHECK((held = calloc((size_t)n, sizeof *held)) != NULL);
			for (n_held = 0; n_held < n; n_held++) {
				held[n_held] = on_fd(cc, call(port), 0);
				write_full(held[n_held], "x", 1);
				read_full(held[n_held], p, 1);
			}
		} else if (strcmp(verb, "release") == 0) {
			for (i = 0; i < n_held; i++)
				hang_up(held[i]);
			free(held);
			held = NULL;
			n_held = 0;
		} else {
			die("cbench: no command %s", verb);
		}
		printf("ok 0 0 0 0\n");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv) {
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (argc == 7 && strcmp(argv[1], "worker") == 0)
		return worker(argv + 2);
	if (argc == 2 && strcmp(argv[1], "client") == 0)
		return client();
	fprintf(stderr, "usage: cbench worker KIND VERSION MODE SIZE CERT | cbench client\n");
	return 2;
}

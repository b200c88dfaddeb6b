/*
 * A multi-threaded driver over this package's C, for the sanitizers of C: Go's
 * race detector does not see memory of C, and a Go test reaches only those
 * interleavings that the scheduler happens to give it.
 *
 *	driver [-s seconds] [-n handshakes] [-t threads] mode...
 *
 * A mode is one or more runs. In a run a number of threads make connections to
 * one server SSL_CTX, both ends of each in memory, while one more thread does
 * what a program does at the same time: it flushes the cache, rotates ticket keys,
 * reads the counters. A run ends after -s seconds or -n handshakes, whichever
 * comes first, and is reported in one line. The exit status is 1 if a handshake
 * failed, or if a run has resumed nothing, or removed nothing from the cache,
 * where that is what it is to test.
 *
 * See sanitize.sh for how it is compiled and called.
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"

/* ---- runs ---- */

typedef struct run run;

/* A worker is one thread that makes connections. */
typedef struct {
	const run *run;
	int index;
	SSL_SESSION *own;
	pthread_t thread;
} worker;

struct run {
	const char *mode, *about;
	settings server;
	void (*connect)(worker *w); /* the connections of one round */
	void (*maintain)(void);     /* what the maintenance thread repeats; NULL for nothing */
	int must_resume;            /* so many of 100 handshakes, at least */
	int must_remove;            /* sessions must have left the cache before their time */
};

static SSL_CTX *server, *host;               /* of this run; host has the same settings */
static SSL_CTX *no_cert, *no_cert_no_ticket; /* clients without a certificate */
static SSL_CTX *with_cert, *cert_no_ticket;  /* with one */
static SSL_CTX *expired_cert;                /* with one that has expired, without tickets */
static SSL_SESSION *shared;                  /* the session that all threads offer */
static SSL_SESSION *last;                    /* the last one in a mix, of any thread */
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static double seconds = 5;
static long limit; /* of handshakes in a run, 0 for none */
static int threads = 8;

static double run_ends;
static atomic_long handshakes, resumed, failed;
static atomic_int working;

static double now(void) {
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int goes_on(void) {
	return now() < run_ends && (!limit || atomic_load(&handshakes) < limit);
}

/* How a connection is closed. */
enum {
	CLOSED,  /* by close_notify on both sides */
	DROPPED, /* without, but marked as if */
	BROKEN,  /* without: libssl then removes the session from the cache */
	REFUSED  /* the server refuses the client, and removes its session */
};

/* connect_pair makes one connection and counts it. It returns the client's session,
 * which the caller frees, or NULL. */
static SSL_SESSION *connect_pair(SSL_CTX *client, SSL_SESSION *offered, int suspends, int closing) {
	SSL_SESSION *got = NULL;
	endpoint c, s;
	int i;

	new_endpoint(&c, client, 0, 0);
	new_endpoint(&s, server, 1, suspends);
	offer_session(&c, offered);
	for (i = 0; i < 4 && !(c.done && s.done) && !c.failed && !s.failed; i++) {
		if (!c.done)
			do_handshake(&c, &s, NULL);
		if (!s.done)
			do_handshake(&s, &c, host);
	}
	if (!c.failed && !s.failed && c.done && s.done) {
		send_byte(&s, &c);
		send_byte(&c, &s);
	}
	atomic_fetch_add(&handshakes, 1);
	if (c.done && s.done && was_resumed(&s))
		atomic_fetch_add(&resumed, 1);
	if (c.failed || s.failed || !c.done || !s.done)
		atomic_fetch_add(&failed, 1);
	else
		got = session_of(&c);
	switch (closing) {
	case CLOSED:
		close_notify(&c, &s);
		close_notify(&s, &c);
		break;
	case DROPPED:
		mark_closed(&c);
		mark_closed(&s);
		break;
	case REFUSED:
		invalidate_session(&s);
	}
	free_endpoint(&c);
	free_endpoint(&s);
	return got;
}

/* connect_and_close makes a connection and frees its session. */
static void connect_and_close(SSL_CTX *client, SSL_SESSION *offered) {
	free_session(connect_pair(client, offered, 0, DROPPED));
}

/* Clients offer a session that is in the server's cache, by its id, and an empty
 * session_ticket extension. Each thread has a copy of its own; on the server all of
 * them are one SSL_SESSION. */
static void connect_empty_ticket(worker *w) {
	if (!w->own)
		w->own = copy_session(shared);
	connect_and_close(no_cert, w->own);
}

/* New sessions enter the cache all the time. */
static void connect_new(worker *w) {
	(void)w;
	connect_and_close(no_cert_no_ticket, NULL);
}

/* flush_all takes every session out of the cache, whenever it ends. */
static void flush_all(void) {
	flush(server, (int64_t)time(NULL) + 2 * 86400);
	usleep(200);
}

/* A quarter of the clients have an expired certificate: their sessions have expired
 * when they are made, and are the first to be evicted. The others fill the cache, and
 * one of them resumes. */
static void connect_full_cache(worker *w) {
	SSL_SESSION *s;

	switch (w->index % 4) {
	case 0:
		connect_and_close(expired_cert, NULL);
		break;
	case 1:
		if ((s = connect_pair(cert_no_ticket, NULL, 0, DROPPED)) != NULL && w->index == 1)
			connect_and_close(cert_no_ticket, s);
		free_session(s);
		break;
	default:
		connect_and_close(no_cert_no_ticket, NULL);
	}
}

/* Connections of many threads offer one and the same SSL_SESSION. */
static void connect_shared(worker *w) {
	connect_and_close(w->index % 2 || !w->run->server.stateful ? with_cert : cert_no_ticket, shared);
	read_session(shared);
	if (w->index == 0)
		free_session(copy_session(shared));
}

/* replace_last replaces the session that the threads of a mix offer. It returns the
 * old one, which the caller frees. */
static SSL_SESSION *replace_last(SSL_SESSION *s) {
	SSL_SESSION *old;

	pthread_mutex_lock(&last_lock);
	old = last;
	last = s;
	pthread_mutex_unlock(&last_lock);
	return old;
}

/* get_last returns the session that the threads of a mix offer, which the caller
 * frees, or NULL. */
static SSL_SESSION *get_last(void) {
	SSL_SESSION *s;

	pthread_mutex_lock(&last_lock);
	s = last ? share_session(last) : NULL;
	pthread_mutex_unlock(&last_lock);
	return s;
}

/* Clients that do and do not know tickets connect to servers that do and do not
 * suspend the ClientHello. They offer what they or another thread were given last,
 * and close the connection in one of four ways. */
static void connect_mix(worker *w) {
	SSL_CTX *client = w->index % 2 ? with_cert : cert_no_ticket;
	int suspends = w->index / 2 % 2;
	SSL_SESSION *s;

	free_session(replace_last(connect_pair(client, NULL, suspends, CLOSED)));
	s = get_last();
	free_session(connect_pair(client, s, suspends, w->index % 4));
	free_session(s);
}

/* maintain makes the calls that a program makes on a server that is in use, and
 * configures another one. */
static void maintain(void) {
	static const settings any = {.version = TLS1_3_VERSION, .caps = 1};
	static int n;

	free_ctx(new_server(&ca, &server_id, &any));
	refused_setter(no_cert);
	rotate_keys(server);
	flush(server, (int64_t)time(NULL) + (++n % 10 ? 0 : 2 * 86400)); /* what has ended, or everything */
	read_cache(server);
	usleep(20000);
}

static const run runs[] = {
	{"empty-ticket",
     "TLS 1.2",
     {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400},
     connect_empty_ticket,
     NULL,
     90,
     0},
	{"flush", "TLS 1.2", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 60}, connect_new, flush_all, 0, 1},
	{"flush",
     "TLS 1.3",
     {.version = TLS1_3_VERSION, .stateful = 1, .caps = 1, .max_age = 60},
     connect_new,
     flush_all,
     0,
     1},
	{"full-cache",
     "TLS 1.2",
     {.version = TLS1_2_VERSION, .caps = 1, .defer = 1, .cache_size = 10},
     connect_full_cache,
     NULL,
     0,
     1},
	{"full-cache",
     "TLS 1.3",
     {.version = TLS1_3_VERSION, .stateful = 1, .caps = 1, .defer = 1, .cache_size = 10},
     connect_full_cache,
     NULL,
     0,
     1},
	{"shared",
     "TLS 1.2 tickets",
     {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400},
     connect_shared,
     NULL,
     90,
     0},
	{"shared",
     "TLS 1.2 cache",
     {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
     connect_shared,
     NULL,
     90,
     0},
	{"shared",
     "TLS 1.3 tickets",
     {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400},
     connect_shared,
     NULL,
     90,
     0},
	{"shared",
     "TLS 1.3 cache",
     {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
     connect_shared,
     NULL,
     90,
     0},
	{"mix",
     "TLS 1.2 tickets, caps",
     {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400},
     connect_mix,
     maintain,
     20,
     0},
	{"mix",
     "TLS 1.2 cache, caps",
     {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
     connect_mix,
     maintain,
     20,
     0},
	{"mix",
     "TLS 1.3 tickets, caps",
     {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400},
     connect_mix,
     maintain,
     20,
     0},
	{"mix",
     "TLS 1.3 cache, caps",
     {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
     connect_mix,
     maintain,
     20,
     0},
	{"mix", "TLS 1.2 tickets", {.version = TLS1_2_VERSION}, connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.2 cache", {.version = TLS1_2_VERSION, .stateful = 1}, connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.3 tickets", {.version = TLS1_3_VERSION}, connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.3 cache", {.version = TLS1_3_VERSION, .stateful = 1}, connect_mix, maintain, 20, 0},
};

static void *work(void *arg) {
	worker *w = arg;

	do
		w->run->connect(w);
	while (goes_on());
	free_session(w->own);
	atomic_fetch_sub(&working, 1);
	return NULL;
}

static void *run_maintenance(void *arg) {
	const run *r = arg;

	while (atomic_load(&working) > 0)
		r->maintain();
	return NULL;
}

/* complain prints why a run has failed, and returns 1. */
static int complain(const run *r, const char *why) {
	printf("FAIL %s, %s: %s\n", r->mode, r->about, why);
	return 1;
}

/* execute does one run, and returns 1 if it has failed, else 0. */
static int execute(const run *r) {
	pthread_t maintenance;
	cache_state cache;
	worker *w = calloc((size_t)threads, sizeof *w);
	int i, bad = 0;

	if (!w)
		fatal("calloc");
	server = new_server(&ca, &server_id, &r->server);
	host = new_server(&ca, &server_id, &r->server);
	new_keys();
	shared = NULL;
	if (r->connect == connect_empty_ticket)
		shared = connect_pair(no_cert_no_ticket, NULL, 0, DROPPED);
	if (r->connect == connect_shared)
		shared = connect_pair(with_cert, NULL, 0, DROPPED);
	if (!shared && (r->connect == connect_empty_ticket || r->connect == connect_shared))
		fatal("there is no session to offer");
	atomic_store(&handshakes, 0);
	atomic_store(&resumed, 0);
	atomic_store(&failed, 0);
	atomic_store(&working, threads);
	run_ends = now() + seconds;
	for (i = 0; i < threads; i++) {
		w[i].run = r;
		w[i].index = i;
		if (pthread_create(&w[i].thread, NULL, work, &w[i]) != 0)
			fatal("pthread_create");
	}
	if (r->maintain && pthread_create(&maintenance, NULL, run_maintenance, (void *)r) != 0)
		fatal("pthread_create");
	for (i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	if (r->maintain)
		pthread_join(maintenance, NULL);
	free(w);
	cache = read_cache(server);
	printf("%s, %s: %ld handshakes, %ld resumed, %ld failed, %ld in the cache, %ld evicted\n", r->mode, r->about,
	       handshakes, resumed, failed, cache.sessions, cache.evicted);
	if (failed)
		bad = complain(r, "a handshake failed");
	if (resumed * 100 < handshakes * r->must_resume)
		bad = complain(r, "too little was resumed");
	if (r->must_remove && cache.removed <= 0)
		bad = complain(r, "no session was taken out of the cache");
	if (r->server.cache_size && cache.evicted <= 0)
		bad = complain(r, "the cache was never full");
	fflush(stdout);
	free_session(shared);
	free_session(replace_last(NULL));
	free_ctx(server);
	free_ctx(host);
	return bad;
}

static void usage(void) {
	size_t i;

	fputs("usage: driver [-s seconds] [-n handshakes] [-t threads] mode...\nmodes:", stderr);
	for (i = 0; i < sizeof runs / sizeof *runs; i++)
		if (i == 0 || strcmp(runs[i].mode, runs[i - 1].mode) != 0)
			fprintf(stderr, " %s", runs[i].mode);
	fputs("\n", stderr);
	exit(2);
}

int main(int argc, char **argv) {
	int bad = 0, some, o;
	size_t i;

	while ((o = getopt(argc, argv, "s:n:t:")) != -1) {
		if (o == 's')
			seconds = atof(optarg);
		else if (o == 'n')
			limit = atol(optarg);
		else if (o == 't')
			threads = atoi(optarg);
		else
			usage();
	}
	if (optind == argc || seconds <= 0 || limit < 0 || threads < 1)
		usage();
	issue_all();
	no_cert = new_client(&ca, NULL, 1);
	no_cert_no_ticket = new_client(&ca, NULL, 0);
	with_cert = new_client(&ca, &client_id, 1);
	cert_no_ticket = new_client(&ca, &client_id, 0);
	expired_cert = new_client(&ca, &expired_id, 0);
	for (; optind < argc; optind++) {
		for (some = 0, i = 0; i < sizeof runs / sizeof *runs; i++) {
			if (strcmp(runs[i].mode, argv[optind]) != 0)
				continue;
			some = 1;
			alarm((unsigned)seconds + 120); /* threads that wait for each other end the process */
			bad |= execute(&runs[i]);
		}
		if (!some)
			usage();
	}
	free_ctx(no_cert);
	free_ctx(no_cert_no_ticket);
	free_ctx(with_cert);
	free_ctx(cert_no_ticket);
	free_ctx(expired_cert);
	free_identities();
	return bad;
}

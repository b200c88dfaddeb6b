/* Whether libssl holds the lock of its cache while it calls remove_session_cb:
 * another thread tries to add a session meanwhile. */
#include "pair.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

static SSL_SESSION *probe;
static int armed, held; /* held: -1 for did not run */

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int added, blocked;
static pthread_t prober;
static __thread int probing; /* in the other thread */

static void tell(int *what) {
	pthread_mutex_lock(&mu);
	*what = 1;
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&mu);
}

/* pthread_rwlock_wrlock is what libcrypto calls instead of the C library's: it tells that
 * another thread holds the lock, where the other one would only be late. */
int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
	int r = pthread_rwlock_trywrlock(lock);

	if (r == EBUSY && probing)
		tell(&blocked);
	for (; r == EBUSY; r = pthread_rwlock_trywrlock(lock))
		sched_yield();
	return r;
}

static void *add(void *c) {
	probing = 1;
	SSL_CTX_add_session(c, probe);
	tell(&added);
	return NULL;
}

/* await waits for cond. On macOS a library calls the C library's function, whatever the
 * program defines: there a thread that is late by 300 ms counts as blocked. */
static void await(void) {
#ifdef __APPLE__
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 300 * 1000 * 1000;
	if (until.tv_nsec >= 1000 * 1000 * 1000) {
		until.tv_sec++;
		until.tv_nsec -= 1000 * 1000 * 1000;
	}
	if (pthread_cond_timedwait(&cond, &mu, &until) != 0)
		blocked = 1;
#else
	pthread_cond_wait(&cond, &mu);
#endif
}

static void on_remove(SSL_CTX *c, SSL_SESSION *s) {
	(void)s;
	if (!armed)
		return;
	armed = 0;
	added = blocked = 0;
	MUST(pthread_create(&prober, NULL, add, c) == 0);
	pthread_mutex_lock(&mu);
	while (!added && !blocked)
		await();
	held = !added;
	pthread_mutex_unlock(&mu);
}

static void arm(void) {
	armed = 1;
	held = -1;
}

static void report(const char *key) {
	say(key, "%s", held < 0 ? "did not run" : held ? "held" : "free");
	if (held >= 0)
		pthread_join(prober, NULL);
	armed = 0;
}

int main(void) {
	int i;

	for (i = 0; i < 2; i++) {
		const char *at = path(protocol(versions[i]), "stateful", NULL);
		SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A"), *elsewhere = server(versions[i], "A");
		SSL_SESSION *session;
		pair p;

		SSL_CTX_set_num_tickets(s, 1);
		SSL_CTX_set_num_tickets(elsewhere, 1);
		remember(elsewhere, "stateful"); /* for the probe's session id; it must not be in a cache already */
		SSL_CTX_set_session_cache_mode(elsewhere, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
		p = meet(c, elsewhere, NULL);
		MUST(shake(&p));
		probe = SSL_get1_session(p.s);
		part(&p);

		remember(s, "stateful");
		SSL_CTX_sess_set_remove_cb(s, on_remove);

		p = meet(c, s, NULL);
		MUST(shake(&p));
		session = SSL_get1_session(p.s);
		part(&p);
		arm();
		MUST(SSL_CTX_remove_session(s, session) == 1);
		report(path(at, "SSL_CTX_remove_session", NULL));
		SSL_SESSION_free(session);

		p = meet(c, s, NULL);
		MUST(shake(&p));
		arm();
		SSL_free(p.s);
		report(path(at, "SSL_free", NULL));
		SSL_free(p.c);

		SSL_SESSION_free(visit(c, s, NULL, NULL, 0));
		arm();
		SSL_CTX_flush_sessions(s, 0);
		report(path(at, "SSL_CTX_flush_sessions", NULL));

		SSL_CTX_sess_set_cache_size(s, 2);
		SSL_SESSION_free(visit(c, s, NULL, NULL, 0));
		SSL_SESSION_free(visit(c, s, NULL, NULL, 0));
		arm();
		SSL_SESSION_free(visit(c, s, NULL, NULL, 0));
		report(path(at, "a full cache", NULL));

		SSL_SESSION_free(probe);
		SSL_CTX_free(c);
		SSL_CTX_free(s);
		SSL_CTX_free(elsewhere);
	}
	return 0;
}

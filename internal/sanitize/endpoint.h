/* What the driver uses of the package: no other file of it calls the package's C. */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include "certificates.h"

#include "session.h"

/* settings is how the server of a run is configured. */
typedef struct {
	int version;     /* TLS1_2_VERSION or TLS1_3_VERSION, and no other */
	int stateful;    /* SSL_OP_NO_TICKET: sessions are kept in libssl's cache alone */
	int caps;        /* sessions end with the client's certificate, at the latest */
	int64_t max_age; /* and so many seconds after the handshake; 0 for no bound */
	int defer;       /* client certificates that do not verify are accepted */
	long cache_size; /* 0 for libssl's default */
} settings;

/* endpoint is one end of a connection. */
typedef struct {
	osl_ssl *t;
	unsigned char out[16384]; /* ciphertext for the other endpoint */
	size_t out_n;
	int done, failed, refused;
} endpoint;

/* cache_state is what the counters of an SSL_CTX say of its cache. */
typedef struct {
	long sessions, evicted;
	long removed; /* by a flush, by an eviction, or one by one */
} cache_state;

SSL_CTX *new_server(const identity *ca, const identity *id, const settings *s);
SSL_CTX *new_client(const identity *ca, const identity *id, int tickets);
void free_ctx(SSL_CTX *c);
void new_endpoint(endpoint *e, SSL_CTX *c, int server, int suspends);
void offer_session(endpoint *client, SSL_SESSION *s);
void do_handshake(endpoint *e, endpoint *peer, SSL_CTX *host);
void send_byte(endpoint *from, endpoint *to);
void close_notify(endpoint *e, endpoint *peer);
void mark_closed(endpoint *e);
void invalidate_session(endpoint *e);
void free_endpoint(endpoint *e);
int was_resumed(endpoint *server);
SSL_SESSION *session_of(endpoint *client);
SSL_SESSION *share_session(SSL_SESSION *s);
void free_session(SSL_SESSION *s);
SSL_SESSION *copy_session(SSL_SESSION *s);
void read_session(SSL_SESSION *s);
void flush(SSL_CTX *server, int64_t at);
cache_state read_cache(SSL_CTX *c);
void new_keys(void);
void rotate_keys(SSL_CTX *server);
void refused_setter(SSL_CTX *c);

#endif

/* The certificates of the driver's servers and clients. */
#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <stddef.h>

/* identity is a certificate and its key in PEM. */
typedef struct {
	unsigned char *cert, *key;
	size_t cert_n, key_n;
} identity;

extern identity ca, server_id, client_id, expired_id;

void issue_all(void);
void free_identities(void);

/* fatal ends the process; it is the driver's. */
_Noreturn void fatal(const char *what);

#endif

/*
 * How a connection that libssl has accepted is refused after all: with an alert, for
 * which libssl has no call, and before it has made tickets.
 */
#ifndef OSL_REFUSAL_H
#define OSL_REFUSAL_H

#include "ssl.h"

/* The extension that osl_alert_cb is asked for and never adds: one for private use. */
#define OSL_ALERT_EXTENSION 0xff5d

void osl_hold_tickets(osl_ssl *t);
osl_call_result osl_issue_tickets(osl_ssl *t, unsigned char *out, size_t out_cap);
int osl_alert_cb(SSL *ssl, unsigned int type, unsigned int context, const unsigned char **out, size_t *out_n, X509 *x,
                 size_t chain, int *alert, void *arg);
size_t osl_end_with_alert(osl_ssl *t, int alert, unsigned char *out, size_t out_cap);

#endif

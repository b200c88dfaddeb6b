/* The libssl that is linked. */
#ifndef OSL_VERSION_H
#define OSL_VERSION_H

#include "error.h"

osl_bytes osl_providers(void);
int osl_fips(void);

#endif

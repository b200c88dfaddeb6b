#ifndef OSL_ALLOC_H
#define OSL_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Allocations that fail on demand, with -tags malloc. */
int osl_malloc_installed(void);
int64_t osl_malloc_live(void);
int osl_malloc_exempt(const char *file, const char *function);
void osl_malloc_arm(uint64_t nth, int onward, int loud);
int osl_malloc_pause(void);
void osl_malloc_resume(int armed);
uint64_t osl_malloc_disarm(void);
const uint64_t *osl_malloc_stacks(size_t *n);
void osl_malloc_where(char *text, size_t size);

/* What this package's C calls for calloc and realloc. */
void *osl_malloc_calloc(size_t n, size_t size);
void *osl_malloc_realloc(void *p, size_t n);

#endif

/*
 * Allocations that fail on demand, for internal/malloc: nothing without -tags malloc.
 *
 * libcrypto and libssl allocate through CRYPTO_set_mem_functions; alloc_cgo.go
 * renames calloc and realloc in this package's own C. Only the thread that asked
 * for failures gets them.
 */
#ifdef OSL_MALLOC
#define _GNU_SOURCE /* dladdr1 */
#undef calloc
#undef realloc

#include "alloc.h"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

enum {
	/* Memory that was not written to yet, and that may not be used any more: a use
	 * of either is found out. */
	FRESH = 0xa5,
	FREED = 0xdb,

	/* What tells two call stacks apart. In between libcrypto's decoders recurse. */
	INNER_FRAMES = 5,
	OUTER_FRAMES = 3
};

/* A call stack, as far as it is C: the unwinder cannot follow Go's. */
typedef struct {
	int n;
	uintptr_t frames[64];
} stack;

static __thread struct {
	int armed, onward, loud;
	uint64_t nth; /* the allocation that fails, 0 for none */
	uint64_t asked, failed;
	const char *file; /* of OpenSSL's source: where the first one failed */
	int line;
	stack first;
} now;

/* The call stack of each allocation since osl_malloc_arm(0, ...), as a hash. One
 * thread does that at a time. */
static uint64_t *stacks;
static size_t stacks_n, stacks_cap;

/* Functions in which the allocations of a file do not fail. */
static struct {
	const char *file;
	uintptr_t start, end;
} exempt[16];
static int exempt_n;

static int64_t live; /* blocks of libcrypto and libssl, of all threads */
static int installed;

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *arg) {
	stack *s = arg;

	if (s->n == sizeof s->frames / sizeof s->frames[0])
		return _URC_END_OF_STACK;
	s->frames[s->n++] = (uintptr_t)_Unwind_GetIP(context);
	return _URC_NO_REASON;
}

static void note_stack(stack *s) {
	s->n = 0;
	_Unwind_Backtrace(note_frame, s);
}

static void count_stack(void) {
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	stack s;
	int i;

	note_stack(&s);
	for (i = 0; i < s.n; i++)
		if (i < INNER_FRAMES || i >= s.n - OUTER_FRAMES)
			hash = (hash ^ s.frames[i]) * 1099511628211u;
	if (stacks_n == stacks_cap) {
		stacks_cap = 2 * stacks_cap + 1024;
		if (!(stacks = realloc(stacks, stacks_cap * sizeof *stacks)))
			abort();
	}
	stacks[stacks_n++] = hash;
}

static int is_exempt(const stack *s, const char *file) {
	int i, k;

	for (i = 0; i < exempt_n; i++) {
		size_t n = strlen(exempt[i].file);

		if (!file || strlen(file) < n || strcmp(file + strlen(file) - n, exempt[i].file) != 0)
			continue;
		for (k = 0; k < s->n; k++)
			if (s->frames[k] >= exempt[i].start && s->frames[k] < exempt[i].end)
				return 1;
	}
	return 0;
}

static int fails(const char *file, int line) {
	char text[8192];
	stack s;

	if (!now.armed)
		return 0;
	now.asked++;
	if (now.nth == 0) {
		count_stack();
		return 0;
	}
	if (now.asked != now.nth && !(now.onward && now.asked > now.nth))
		return 0;
	note_stack(&s);
	if (is_exempt(&s, file))
		return 0;
	if (now.failed++ > 0)
		return 1;
	now.file = file;
	now.line = line;
	now.first = s;
	if (now.loud) {
		osl_malloc_where(text, sizeof text);
		dprintf(STDERR_FILENO, "%s\n", text);
	}
	return 1;
}

static void *crypto_malloc(size_t n, const char *file, int line) {
	void *p = fails(file, line) ? NULL : malloc(n);

	if (p) {
		__atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
		memset(p, FRESH, n);
	}
	return p;
}

static void crypto_free(void *p, const char *file, int line) {
	(void)file, (void)line;
	if (p) {
		__atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
		memset(p, FREED, malloc_usable_size(p));
	}
	free(p);
}

static void *crypto_realloc(void *p, size_t n, const char *file, int line) {
	if (!p)
		return crypto_malloc(n, file, line);
	if (n == 0) {
		crypto_free(p, file, line);
		return NULL;
	}
	return fails(file, line) ? NULL : realloc(p, n);
}

void *osl_malloc_calloc(size_t n, size_t size) {
	return fails(NULL, 0) ? NULL : calloc(n, size);
}

void *osl_malloc_realloc(void *p, size_t n) {
	return fails(NULL, 0) ? NULL : realloc(p, n);
}

/* libcrypto takes other functions only before its first allocation. */
__attribute__((constructor)) static void install(void) {
	installed = CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free);
}

int osl_malloc_installed(void) {
	return installed;
}

/* osl_malloc_live is how many blocks are held, without those that this thread's
 * error queue keeps of errors that have been taken out of it. */
int64_t osl_malloc_live(void) {
	ERR_clear_error();
	return __atomic_load_n(&live, __ATOMIC_RELAXED);
}

/* osl_malloc_exempt has the allocations of a source file, called by an exported
 * function, never fail. file is kept. It reports whether there is such a function. */
int osl_malloc_exempt(const char *file, const char *function) {
	void *p = dlsym(RTLD_DEFAULT, function);
	const ElfW(Sym) *symbol = NULL;
	Dl_info at;

	if (!p || exempt_n == sizeof exempt / sizeof exempt[0] || !dladdr1(p, &at, (void **)&symbol, RTLD_DL_SYMENT) ||
	    !symbol)
		return 0;
	exempt[exempt_n].file = file;
	exempt[exempt_n].start = (uintptr_t)p;
	exempt[exempt_n].end = (uintptr_t)p + symbol->st_size;
	exempt_n++;
	return 1;
}

/* osl_malloc_arm has the nth allocation of this thread fail, and those behind it
 * if onward; loud prints where. With nth 0 none fails and call stacks are noted. */
void osl_malloc_arm(uint64_t nth, int onward, int loud) {
	memset(&now, 0, sizeof now);
	now.nth = nth;
	now.onward = onward;
	now.loud = loud;
	now.armed = 1;
	if (nth == 0)
		stacks_n = 0;
}

/* osl_malloc_pause leaves out what is allocated until osl_malloc_resume. */
int osl_malloc_pause(void) {
	int armed = now.armed;

	now.armed = 0;
	return armed;
}

void osl_malloc_resume(int armed) {
	now.armed = armed;
}

uint64_t osl_malloc_disarm(void) {
	now.armed = 0;
	return now.failed;
}

const uint64_t *osl_malloc_stacks(size_t *n) {
	*n = stacks_n;
	return stacks;
}

/* osl_malloc_where writes on one line where the first failure was: OpenSSL's file
 * and line, then the frames in libcrypto and libssl, innermost first. Functions
 * that are not exported have only an offset. */
void osl_malloc_where(char *text, size_t size) {
	Dl_info self, at;
	size_t n;
	int i;

	if (!dladdr((void *)install, &self))
		abort();
	if (now.file)
		n = (size_t)snprintf(text, size, "%s:%d", now.file, now.line);
	else
		n = (size_t)snprintf(text, size, "calloc or realloc");
	for (i = 0; i < now.first.n && n < size; i++) {
		uintptr_t frame = now.first.frames[i];
		const char *object;

		if (!dladdr((void *)frame, &at) || at.dli_fbase == self.dli_fbase)
			continue;
		object = strrchr(at.dli_fname, '/');
		if (at.dli_sname)
			n += (size_t)snprintf(text + n, size - n, " < %s", at.dli_sname);
		else
			n += (size_t)snprintf(text + n, size - n, " < %s+%#zx", object ? object + 1 : at.dli_fname,
			                      (size_t)(frame - (uintptr_t)at.dli_fbase));
	}
}
#endif

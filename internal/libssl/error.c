#include "error.h"

/* Without memory for a copy a failure is still a failure. */
static osl_fail osl_fail_no_memory;

void osl_bytes_free(unsigned char *p, size_t n) {
	OPENSSL_clear_free(p, n);
}

static unsigned long osl_next_error(const char **file, int *line, const char **func, const char **data) {
	int flags = 0;
	unsigned long e;
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	e = ERR_get_error_all(file, line, func, data, &flags);
#else
	/* 1.1.1 packs the function into the code and has no ERR_get_error_all. */
	e = ERR_get_error_line_data(file, line, data, &flags);
	*func = e ? ERR_func_error_string(e) : NULL;
#endif
	if (!(flags & ERR_TXT_STRING))
		*data = NULL;
	return e;
}

static int osl_fail_put(osl_fail *f, const char *s) {
	size_t n = s ? strlen(s) + 1 : 1;

	if (f->cap - f->len < n) {
		size_t cap = 2 * (f->cap + n) + 256;
		char *text = realloc(f->text, cap);
		if (!text)
			return 0;
		f->text = text;
		f->cap = cap;
	}
	memcpy(f->text + f->len, s ? s : "", n);
	f->len += n;
	return 1;
}

void osl_fail_free(osl_fail *f) {
	if (f && f != &osl_fail_no_memory) {
		free(f->text);
		free(f);
	}
}

osl_fail *osl_take(int code) {
	osl_fail *f = calloc(1, sizeof *f);
	const char *file, *func, *data;
	unsigned long e;
	int line;

	if (!f) {
		ERR_clear_error();
		return &osl_fail_no_memory;
	}
	f->code = code;
	while ((e = osl_next_error(&file, &line, &func, &data)) != 0) {
		size_t len = f->len;

		if (f->n == OSL_QUEUE_SLOTS)
			continue;
		if (!osl_fail_put(f, func) || !osl_fail_put(f, file) || !osl_fail_put(f, data)) {
			f->len = len;
			continue;
		}
		f->codes[f->n] = e;
		f->lines[f->n] = line;
		f->n++;
	}
	osl_leave();
	return f;
}

const char *osl_code_library(unsigned long code) {
	return ERR_lib_error_string(code);
}

const char *osl_code_text(unsigned long code) {
	const char *reason = ERR_reason_error_string(code);
#ifdef ERR_SYSTEM_ERROR
	/* From 3.0 on an errno stands in the code and has no string of its own. */
	if (!reason && ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
#endif
	return reason;
}

/* ERR_GET_LIB and ERR_GET_REASON are macros in 1.1.1 and inline functions later. */
int osl_code_lib(unsigned long code) {
	return ERR_GET_LIB(code);
}

int osl_code_reason(unsigned long code) {
	return ERR_GET_REASON(code);
}

void osl_put_be(unsigned char **p, uint64_t v, int size) {
	while (size-- > 0)
		*(*p)++ = (unsigned char)(v >> (8 * size));
}

/* ---- the ClientHello ---- */

unsigned char *osl_put16(unsigned char *p, size_t v) {
	*p++ = (unsigned char)(v >> 8);
	*p++ = (unsigned char)v;
	return p;
}

unsigned char *osl_put(unsigned char *p, const unsigned char *from, size_t n) {
	p = osl_put16(p, n);
	if (n)
		memcpy(p, from, n);
	return p + n;
}

/* osl_first is what make has made when it was first called, for all callers; NULL
 * after a failure, which the next caller tries again. CRYPTO_THREAD_run_once would
 * keep a failure for the life of the process. Of two that are made at the same
 * time unmake gets one. */
void *osl_first(void **slot, void *(*make)(void), void (*unmake)(void *)) {
	void *first = __atomic_load_n(slot, __ATOMIC_ACQUIRE), *mine;

	if (first || !(mine = make()))
		return first;
	if (__atomic_compare_exchange_n(slot, &first, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return mine;
	unmake(mine);
	return first;
}

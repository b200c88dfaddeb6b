/*
 * Counts the calls that a handshake is made of, in a process that is started with this
 * library in LD_PRELOAD. The counters are in a file that ACCOUNT_FILE names and that
 * every process maps: whoever started it reads them while it runs. Their order is that
 * of the names in account.go.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { C_MALLOC, C_FREE, C_BYTES, C_CRYPTO_MALLOC, C_READ_LOCK, C_WRITE_LOCK, C_MUTEX, C_FETCH, C_DIGEST, C_CIPHER, C_RAND, C_COPIES, C_COPIED, C_N };

static uint64_t nowhere[C_N], *at = nowhere;

static void count(int what, uint64_t n) {
	__atomic_fetch_add(&at[what], n, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void begin(void) {
	const char *name = getenv("ACCOUNT_FILE");
	int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		at = p;
}

/* NEXT is the function that this one stands before. */
#define NEXT(result, name, ...) \
	static result (*next)(__VA_ARGS__); \
	if (!next) \
		next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* dlsym allocates: these are glibc's own names. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

void *malloc(size_t n) {
	count(C_MALLOC, 1);
	count(C_BYTES, n);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
	count(C_MALLOC, 1);
	count(C_BYTES, n * size);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
	count(C_MALLOC, 1);
	count(C_BYTES, n);
	return __libc_realloc(p, n);
}

void free(void *p) {
	if (p)
		count(C_FREE, 1);
	__libc_free(p);
}

void *CRYPTO_malloc(size_t n, const char *file, int line) {
	NEXT(void *, "CRYPTO_malloc", size_t, const char *, int);
	count(C_CRYPTO_MALLOC, 1);
	return next(n, file, line);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *l) {
	NEXT(int, "pthread_rwlock_rdlock", pthread_rwlock_t *);
	count(C_READ_LOCK, 1);
	return next(l);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *l) {
	NEXT(int, "pthread_rwlock_wrlock", pthread_rwlock_t *);
	count(C_WRITE_LOCK, 1);
	return next(l);
}

int pthread_mutex_lock(pthread_mutex_t *l) {
	NEXT(int, "pthread_mutex_lock", pthread_mutex_t *);
	count(C_MUTEX, 1);
	return next(l);
}

#define FETCH(name) \
	void *name(void *library, const char *algorithm, const char *properties) { \
		NEXT(void *, #name, void *, const char *, const char *); \
		count(C_FETCH, 1); \
		return next(library, algorithm, properties); \
	}
FETCH(EVP_MD_fetch)
FETCH(EVP_CIPHER_fetch)
FETCH(EVP_MAC_fetch)
FETCH(EVP_KDF_fetch)

int EVP_DigestInit_ex(void *c, const void *type, void *engine) {
	NEXT(int, "EVP_DigestInit_ex", void *, const void *, void *);
	count(C_DIGEST, 1);
	return next(c, type, engine);
}

int EVP_CipherInit_ex(void *c, const void *type, void *engine, const unsigned char *key, const unsigned char *iv, int enc) {
	NEXT(int, "EVP_CipherInit_ex", void *, const void *, void *, const unsigned char *, const unsigned char *, int);
	count(C_CIPHER, 1);
	return next(c, type, engine, key, iv, enc);
}

int RAND_bytes_ex(void *library, unsigned char *p, size_t n, unsigned int strength) {
	NEXT(int, "RAND_bytes_ex", void *, unsigned char *, size_t, unsigned int);
	count(C_RAND, 1);
	return next(library, p, n, strength);
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
	NEXT(void *, "memcpy", void *, const void *, size_t);
	count(C_COPIES, 1);
	count(C_COPIED, n);
	return next(to, from, n);
}

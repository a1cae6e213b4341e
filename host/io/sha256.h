// SHA-256, as lower-case hex text: what deployments' sockets are named by and files are compared by.
#pragma once

#include <stddef.h>

enum { SHA256_TEXT = 65 };  // 64 digits and the zero behind them

struct sha256;

struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *sha256, const void *bytes, size_t size);
/// Writes the digest of all that was added, and frees it.
void sha256_end(struct sha256 *sha256, char text[SHA256_TEXT]);

/// All of it at once.
void sha256_of(const void *bytes, size_t size, char text[SHA256_TEXT]);
/// Of what a file holds. Negative errno on failure.
int sha256_file(const char *path, char text[SHA256_TEXT]);

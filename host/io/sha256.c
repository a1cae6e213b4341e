#include "sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/memory.h"

struct sha256 {
  SHA2_CTX context;
};

struct sha256 *sha256_new(void) {
  struct sha256 *sha256 = xcalloc(1, sizeof *sha256);
  SHA256Init(&sha256->context);
  return sha256;
}

void sha256_add(struct sha256 *sha256, const void *bytes, size_t size) {
  SHA256Update(&sha256->context, bytes, size);
}

void sha256_end(struct sha256 *sha256, char text[SHA256_TEXT]) {
  SHA256End(&sha256->context, text);
  free(sha256);
}

void sha256_of(const void *bytes, size_t size, char text[SHA256_TEXT]) {
  struct sha256 *sha256 = sha256_new();
  sha256_add(sha256, bytes, size);
  sha256_end(sha256, text);
}

static int add_file(struct sha256 *sha256, int fd) {
  unsigned char bytes[16 * 1024];
  ssize_t size;
  while ((size = read(fd, bytes, sizeof bytes)) != 0) {
    if (size > 0)
      sha256_add(sha256, bytes, (size_t)size);
    else if (errno != EINTR)
      return -errno;
  }
  return 0;
}

int sha256_file(const char *path, char text[SHA256_TEXT]) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct sha256 *sha256 = sha256_new();
  int error = add_file(sha256, fd);
  close(fd);
  sha256_end(sha256, text);
  return error;
}

#define _GNU_SOURCE
#include "fork.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct fork_mark *fork_mark_new(void) {
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  struct fork_mark *mark =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mark == MAP_FAILED) return NULL;
  madvise(mark, size, MADV_WIPEONFORK);  // fails below Linux 4.14, which has no pidfd either
  mark->is_original = 1;
  return mark;
}

void fork_mark_free(struct fork_mark *mark) {
  if (mark) munmap(mark, (size_t)sysconf(_SC_PAGESIZE));
}

void fork_leave(int code) {
  fflush(NULL);
  _exit(code);
}

#define _GNU_SOURCE
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t kSize = sizeof(struct page);

// A worker that could shrink the file would end the router by SIGBUS.
static const int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

static struct page *map(int fd) {
  void *page = mmap(NULL, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return page == MAP_FAILED ? NULL : page;
}

struct page *page_create(int *fd) {
  *fd = memfd_create("farside", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (*fd < 0) return NULL;
  struct page *page = NULL;
  if (!ftruncate(*fd, (off_t)kSize) && fcntl(*fd, F_ADD_SEALS, kSeals) >= 0) page = map(*fd);
  if (page) return page;
  int error = errno;
  close(*fd);
  *fd = -1;
  errno = error;
  return NULL;
}

struct page *page_open(int fd) {
  struct page *page = map(fd);
  int error = errno;
  close(fd);
  errno = error;
  return page;
}

void page_close(struct page *page) {
  if (page) munmap(page, kSize);
}

static bool is_recalled(struct page *page, uint64_t sequence) {
  return atomic_load(&page->recalled) >= sequence;
}

// A single call that is withdrawn is always turned to: the router may look at `entering` only when
// the worker is at a later one, and then takes this one for entered.
enum page_claim page_claim(struct page *page, uint64_t sequence) {
  if (is_recalled(page, sequence)) return PAGE_TAKEN;
  atomic_store(&page->entering, sequence);
  bool is_withdrawn = atomic_load(&page->withdrawn[sequence % PAGE_WITHDRAWN]) == sequence;
  return is_withdrawn || is_recalled(page, sequence) ? PAGE_GIVE_BACK : PAGE_CLAIMED;
}

uint64_t page_recall(struct page *page, uint64_t sequence) {
  atomic_store(&page->recalled, sequence);
  return atomic_load(&page->entering);
}

bool page_withdraw(struct page *page, uint64_t sequence) {
  _Atomic uint64_t *place = &page->withdrawn[sequence % PAGE_WITHDRAWN];
  uint64_t before = atomic_load(place);
  if (before > atomic_load(&page->entering) && before > atomic_load(&page->recalled)) return false;
  atomic_store(place, sequence);
  return atomic_load(&page->entering) < sequence;
}

// ---- answers ----

void page_keep(struct page *page, size_t at, const void *bytes, size_t size) {
  if (atomic_load_explicit(&page->kept_size, memory_order_relaxed) != at) return;
  if (at + size > PAGE_KEPT) return;
  memcpy(page->kept + at, bytes, size);
  atomic_store_explicit(&page->kept_size, (uint32_t)(at + size), memory_order_release);
}

void page_written(struct page *page, size_t size) {
  uint64_t from = atomic_load_explicit(&page->kept_from, memory_order_relaxed);
  atomic_store_explicit(&page->kept_size, 0, memory_order_release);
  atomic_store_explicit(&page->kept_from, from + size, memory_order_release);
}

size_t page_rest(const struct page *page, uint64_t received, const unsigned char **bytes) {
  uint64_t from = atomic_load(&page->kept_from), size = atomic_load(&page->kept_size);
  if (size > PAGE_KEPT || received < from || received - from >= size) return 0;
  *bytes = page->kept + (received - from);
  return (size_t)(size - (received - from));
}

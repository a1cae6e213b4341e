#define _GNU_SOURCE
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "wait.h"

enum {
  DIGITS = 64,  // of a name
  PAUSE = 10,   // ms between two looks at a lock
};
static const uint64_t kPruning = 0;  // the lock of who removes files; those of files are above

// ---- files ----

// Whether nobody but this user can have written it.
static bool is_own(const struct stat *status) {
  return S_ISREG(status->st_mode) && status->st_uid == geteuid() && !(status->st_mode & 022);
}

int cache_open(const char *path, size_t *size) {
  // O_NONBLOCK: a fifo in its place is refused, not waited for.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return errno == ELOOP ? -EPERM : -errno;
  struct stat status;
  int error = fstat(fd, &status) ? -errno : is_own(&status) ? 0 : -EPERM;
  if (error) {
    close(fd);
    return error;
  }
  futimens(fd, NULL);
  *size = (size_t)status.st_size;
  return fd;
}

static int write_all(int fd, const char *bytes, size_t size) {
  while (size) {
    ssize_t written = write(fd, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return -errno;
    bytes += written;
    size -= (size_t)written;
  }
  return 0;
}

int cache_write(const char *path, const char *bytes, size_t size) {
  char temporary[PATH_MAX];
  int length = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  if (length < 0 || (size_t)length >= sizeof temporary) return -ENAMETOOLONG;
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = write_all(fd, bytes, size);
  if (close(fd) && !error) error = -errno;
  if (!error && rename(temporary, path)) error = -errno;
  if (error) unlink(temporary);
  return error;
}

// ---- locks ----

// A lock is one byte of a file that is never written: any number of them needs no other file, and
// none is left behind.
static int try_lock(int fd, uint64_t number) {
  struct flock range = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)number, .l_len = 1};
  if (!fcntl(fd, F_OFD_SETLK, &range)) return 0;
  return errno == EACCES || errno == EINTR ? -EAGAIN : -errno;
}

int cache_lock(const char *folder, uint64_t number, int64_t patience) {
  char path[PATH_MAX];
  int length = snprintf(path, sizeof path, "%s/lock", folder);
  if (length < 0 || (size_t)length >= sizeof path) return -ENAMETOOLONG;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0) return -errno;
  int64_t until = wait_now() + patience;
  int error;
  while ((error = try_lock(fd, number)) == -EAGAIN && wait_now() < until) poll(NULL, 0, PAUSE);
  if (!error) return fd;
  close(fd);
  return error;
}

void cache_unlock(int lock) {
  close(lock);
}

// ---- what is too much ----

struct file {
  char *name;
  uint64_t size;
  struct timespec used;
};

struct files {
  struct file *items;
  size_t count, capacity;
  uint64_t size;  // of all
};

static bool is_name(const char *name) {
  return strspn(name, "0123456789abcdef") == DIGITS && name[DIGITS] == '.';
}

static void list_file(struct files *files, int folder, const char *name) {
  struct stat status;
  if (!is_name(name) || fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW)) return;
  if (!S_ISREG(status.st_mode)) return;
  if (files->count == files->capacity) {
    files->capacity = files->capacity ? 2 * files->capacity : 64;
    files->items = xrealloc(files->items, files->capacity * sizeof *files->items);
  }
  uint64_t size = (uint64_t)status.st_size;
  char *copy = strdup(name);
  if (!copy) abort();
  files->items[files->count++] = (struct file){copy, size, status.st_mtim};
  files->size += size;
}

static int by_use(const void *left, const void *right) {
  const struct file *a = left, *b = right;
  if (a->used.tv_sec != b->used.tv_sec) return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
  if (a->used.tv_nsec != b->used.tv_nsec) return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
  return strcmp(a->name, b->name);
}

static int remove_oldest(struct files *files, int folder, uint64_t most) {
  int removed = 0;
  if (files->count) qsort(files->items, files->count, sizeof *files->items, by_use);
  for (size_t i = 0; i + 1 < files->count && files->size > most; i++) {
    if (unlinkat(folder, files->items[i].name, 0)) continue;
    files->size -= files->items[i].size;
    removed++;
  }
  return removed;
}

static int prune(const char *path, uint64_t most) {
  DIR *folder = opendir(path);
  if (!folder) return -errno;
  struct files files = {0};
  const struct dirent *entry;
  while ((entry = readdir(folder))) list_file(&files, dirfd(folder), entry->d_name);
  int removed = remove_oldest(&files, dirfd(folder), most);
  for (size_t i = 0; i < files.count; i++) free(files.items[i].name);
  free(files.items);
  closedir(folder);
  return removed;
}

int cache_prune(const char *folder, uint64_t most) {
  int lock = cache_lock(folder, kPruning, 0);
  if (lock == -EAGAIN) return 0;
  int removed = prune(folder, most);
  if (lock >= 0) cache_unlock(lock);
  return removed;
}

#define _GNU_SOURCE
#include "folder.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// An absolute path in the environment; NULL: there is none.
static const char *path_in(const char *variable) {
  const char *value = getenv(variable);
  return value && *value == '/' ? value : NULL;
}

static bool fits(int written, size_t size) {
  return written >= 0 && (size_t)written < size;
}

static int fail(int error, const char *path, char *why, size_t size) {
  snprintf(why, size, "the folder %s: %s", path, strerror(error));
  return -error;
}

// Makes a folder where there is none.
static int make(const char *path, char *why, size_t size) {
  if (!mkdir(path, 0700) || errno == EEXIST) return 0;
  return fail(errno, path, why, size);
}

// The same, and checks that it is this user's alone.
static int make_own(const char *path, char *why, size_t size) {
  int error = make(path, why, size);
  if (error) return error;
  struct stat status;
  if (lstat(path, &status)) return fail(errno, path, why, size);
  if (!S_ISDIR(status.st_mode)) return fail(ENOTDIR, path, why, size);
  if (status.st_uid == geteuid() && !(status.st_mode & 022)) return 0;
  snprintf(why, size,
           "the folder %s: expected to belong to user %u and to be writable to nobody else, got "
           "user %u and mode %04o",
           path, (unsigned)geteuid(), (unsigned)status.st_uid, (unsigned)status.st_mode & 07777);
  return -EPERM;
}

// Whether nobody but this user and root can put another folder in the place of one in it.
static int check_parent(const char *path, char *why, size_t size) {
  struct stat status;
  if (stat(path, &status)) return fail(errno, path, why, size);
  bool is_ours = status.st_uid == geteuid() || status.st_uid == 0;
  bool is_kept = !(status.st_mode & S_IWOTH) || (status.st_mode & S_ISVTX);
  if (is_ours && is_kept) return 0;
  snprintf(
      why, size,
      "the folder %s: expected to belong to user %u or root and not to be writable to all, got "
      "user %u and mode %04o",
      path, (unsigned)geteuid(), (unsigned)status.st_uid, (unsigned)status.st_mode & 07777);
  return -EPERM;
}

int folder_cache(char *path, size_t size, char *why, size_t why_size) {
  const char *cache = path_in("XDG_CACHE_HOME"), *home = path_in("HOME");
  if (!cache && !home) {
    snprintf(why, why_size, "neither XDG_CACHE_HOME nor HOME names a folder");
    return -ENOENT;
  }
  int length = cache ? snprintf(path, size, "%s", cache) : snprintf(path, size, "%s/.cache", home);
  if (!fits(length, size)) return fail(ENAMETOOLONG, cache ? cache : home, why, why_size);
  int error = make(path, why, why_size);
  if (!error) error = check_parent(path, why, why_size);
  static const char *const names[] = {"/farside", "/kernels"};
  for (size_t i = 0; !error && i < 2; i++) {
    length += snprintf(path + length, size - (size_t)length, "%s", names[i]);
    if (!fits(length, size)) return fail(ENAMETOOLONG, path, why, why_size);
    error = make_own(path, why, why_size);
  }
  return error;
}

int folder_temporary(char *path, size_t size, char *why, size_t why_size) {
  const char *parent = path_in("TMPDIR");
  if (!parent) parent = "/tmp";
  int length = snprintf(path, size, "%s/farside-XXXXXX", parent);
  if (!fits(length, size)) return fail(ENAMETOOLONG, parent, why, why_size);
  return mkdtemp(path) ? 0 : fail(errno, path, why, why_size);
}

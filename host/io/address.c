#define _GNU_SOURCE
#include "address.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/limits.h"
#include "sha256.h"

enum {
  DIGITS = 32,
  RUNTIME_SIZE = ADDRESS_SIZE - DIGITS - sizeof "/farside/.sock",  // longest, without its zero
};

static const char kSocket[] = ".sock", kEnding[] = ".ending.sock";

static int fail(int error, char *why, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static int fail(int error, char *why, size_t size, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, size, format, arguments);
  va_end(arguments);
  return error;
}

// ---- the folder ----

static int check_folder(int fd, const char *path, char *why, size_t size) {
  struct stat status;
  if (fstat(fd, &status))
    return fail(-errno, why, size, "the folder %s cannot be looked at: %s", path, strerror(errno));
  if (status.st_uid != geteuid())
    return fail(-EPERM, why, size,
                "the folder %s, in which sockets lie, belongs to user %u where %u is expected; set "
                "XDG_RUNTIME_DIR to a folder of your own",
                path, (unsigned)status.st_uid, (unsigned)geteuid());
  if ((status.st_mode & 07777) != 0700)
    return fail(-EPERM, why, size,
                "the folder %s, in which sockets lie, has mode %04o where 0700 is expected; try: "
                "chmod 700 %s",
                path, (unsigned)status.st_mode & 07777, path);
  return 0;
}

// Opens the folder `name` in `parent`; `path` is the whole of it.
static int open_folder(int parent, const char *name, const char *path, bool make, char *why,
                       size_t size) {
  if (make && mkdirat(parent, name, 0700) && errno != EEXIST)
    return fail(-errno, why, size, "the folder %s, in which sockets lie, cannot be made: %s", path,
                strerror(errno));
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && !make) return -ENOENT;
  if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
    return fail(-errno, why, size,
                "%s, in which sockets lie, is expected to be a folder and is a %s; remove it", path,
                errno == ELOOP ? "symbolic link" : "file or a symbolic link");
  if (fd < 0)
    return fail(-errno, why, size, "the folder %s, in which sockets lie, cannot be opened: %s",
                path, strerror(errno));
  int error = check_folder(fd, path, why, size);
  if (!error) return fd;
  close(fd);
  return error;
}

// The folder that holds ours: ${XDG_RUNTIME_DIR:-/tmp/farside-UID}. Only the second is ours to make.
static int open_base(bool make, char path[ADDRESS_SIZE], char *why, size_t size) {
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  if (!runtime || !*runtime) {
    snprintf(path, ADDRESS_SIZE, "/tmp/farside-%u", (unsigned)geteuid());
    return open_folder(AT_FDCWD, path, path, make, why, size);
  }
  if (*runtime != '/' || strlen(runtime) > RUNTIME_SIZE)
    return fail(-EINVAL, why, size,
                "XDG_RUNTIME_DIR is expected to be an absolute path of at most %d bytes, got '%s'",
                RUNTIME_SIZE, runtime);
  snprintf(path, ADDRESS_SIZE, "%s", runtime);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) return fd;
  if (errno == ENOENT && !make) return -ENOENT;
  return fail(-errno, why, size, "the folder %s, which XDG_RUNTIME_DIR names, cannot be opened: %s",
              path, strerror(errno));
}

// A descriptor of the folder.
static int open_own(bool make, char path[ADDRESS_SIZE], char *why, size_t size) {
  if (size) *why = 0;
  int base = open_base(make, path, why, size);
  if (base < 0) return base;
  size_t length = strlen(path);
  snprintf(path + length, ADDRESS_SIZE - length, "/farside");
  int fd = open_folder(base, "farside", path, make, why, size);
  close(base);
  return fd;
}

int address_folder(bool make, char path[ADDRESS_SIZE], char *why, size_t size) {
  int fd = open_own(make, path, why, size);
  if (fd < 0) return fd;
  close(fd);
  return 0;
}

// ---- sockets ----

static void add_text(struct sha256 *sha256, const char *text) {
  size_t size = strlen(text);
  unsigned char head[4];
  for (int i = 0; i < 4; i++) head[i] = (unsigned char)(size >> (24 - 8 * i));
  sha256_add(sha256, head, sizeof head);
  sha256_add(sha256, text, size);
}

int address_of(const char *name, const char *tag, bool make, char path[ADDRESS_SIZE], char *why,
               size_t size) {
  int error = address_folder(make, path, why, size);
  if (error) return error;
  struct sha256 *sha256 = sha256_new();
  char digest[SHA256_TEXT];
  add_text(sha256, name);
  add_text(sha256, tag ? tag : "");
  sha256_end(sha256, digest);
  size_t length = strlen(path);
  int written = snprintf(path + length, ADDRESS_SIZE - length, "/%.*s.sock", DIGITS, digest);
  assert((size_t)written < ADDRESS_SIZE - length);
  (void)written;
  return 0;
}

int address_of_ending(const char *path, char ending[ADDRESS_SIZE]) {
  size_t length = strlen(path), suffix = strlen(kSocket);
  if (length > suffix && !strcmp(path + length - suffix, kSocket)) length -= suffix;
  int written = snprintf(ending, ADDRESS_SIZE, "%.*s%s", (int)length, path, kEnding);
  return written < ADDRESS_SIZE ? 0 : -ENAMETOOLONG;
}

int address_parse(const char *text, char path[ADDRESS_SIZE], char *why, size_t size) {
  static const char scheme[] = "unix:";
  size_t length = strlen(text);
  bool is_unix = strncmp(text, scheme, sizeof scheme - 1) == 0 && length > sizeof scheme - 1;
  if (!is_unix)
    return fail(-EINVAL, why, size, "the address of a router is expected as unix:PATH, got '%s'",
                text);
  length -= sizeof scheme - 1;
  if (length >= ADDRESS_SIZE)
    return fail(-EINVAL, why, size,
                "the path of a socket is expected to have at most %d bytes, got %zu: %s",
                ADDRESS_SIZE - 1, length, text);
  memcpy(path, text + sizeof scheme - 1, length + 1);
  return 0;
}

static int is_socket(const struct dirent *entry) {
  if (strlen(entry->d_name) <= DIGITS) return 0;
  const char *suffix = entry->d_name + DIGITS;
  return !strcmp(suffix, kSocket) || !strcmp(suffix, kEnding);
}

int address_list(void (*found)(void *owner, const char *path), void *owner, char *why,
                 size_t size) {
  char path[ADDRESS_SIZE];
  int fd = open_own(false, path, why, size);
  if (fd == -ENOENT) return 0;
  if (fd < 0) return fd;
  struct dirent **entries;
  int count = scandirat(fd, ".", &entries, is_socket, alphasort);
  int error = errno;
  close(fd);
  if (count < 0)
    return fail(-error, why, size, "the folder %s cannot be read: %s", path, strerror(error));
  size_t length = strlen(path);
  for (int i = 0; i < count; i++) {
    int written = snprintf(path + length, ADDRESS_SIZE - length, "/%s", entries[i]->d_name);
    if ((size_t)written < ADDRESS_SIZE - length) found(owner, path);
    free(entries[i]);
  }
  free(entries);
  return 0;
}

// ---- connections ----

int address_check_peer(int fd, uid_t uid, char *why, size_t size) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
    return fail(-errno, why, size, "who is at the other end of the socket is not known: %s",
                strerror(errno));
  if (peer.uid == uid) return 0;
  return fail(-EACCES, why, size,
              "the process at the other end of the socket runs as user %u where %u is expected",
              (unsigned)peer.uid, (unsigned)uid);
}

static int set_timeout(int fd, int64_t timeout) {
  struct timeval time = {timeout / NANOSECONDS_PER_SECOND, timeout % NANOSECONDS_PER_SECOND / 1000};
  return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) ? -errno : 0;
}

// A connect that was interrupted goes on by itself, but not that of a unix socket, which waits only
// for room among those not accepted yet: it begins again.
static int connect_within(int fd, const struct sockaddr_un *address, int64_t timeout) {
  int error = set_timeout(fd, timeout);
  if (error) return error;
  do error = connect(fd, (const struct sockaddr *)address, sizeof *address) ? -errno : 0;
  while (error == -EINTR);
  return error ? error : set_timeout(fd, 0);
}

int address_connect(const char *path, int64_t timeout, char *why, size_t size) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path)
    return fail(-EINVAL, why, size, "the path %s is too long for a socket", path);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return fail(-errno, why, size, "no socket can be made to connect to %s: %s", path,
                strerror(errno));
  int error = connect_within(fd, &address, timeout);
  if (error == -EAGAIN)
    fail(error, why, size, "the router at unix:%s accepts no connection", path);
  else if (error)
    fail(error, why, size, "no router can be reached at unix:%s: %s", path, strerror(-error));
  else
    error = address_check_peer(fd, geteuid(), why, size);
  if (!error) return fd;
  close(fd);
  return error;
}

#define _GNU_SOURCE
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "address.h"
#include "log.h"
#include "wait.h"

enum {
  BACKLOG = 1024,
  TURN = 64,     // accepted in one turn of the loop
  RESERVE = 64,  // descriptors for everything but clients
  LOCK_PATH = ADDRESS_SIZE + 8,
};

static const int64_t kProbe = NANOSECONDS_PER_SECOND;
// No descriptor was to be had even from the reserve: others in the system have them.
static const int64_t kPause = 100 * NANOSECONDS_PER_MILLISECOND;

struct listener {
  uv_poll_t poll;
  char path[ADDRESS_SIZE], lock_path[LOCK_PATH];
  int fd, lock, reserve;
  dev_t device;  // with `inode`: the socket's file
  ino_t inode;
  int limit;  // descriptors from here on are the reserve
  bool started;
  int64_t paused_until;  // 0: it is not
  struct listener_events events;
};

static int fail(int error, char *why, size_t size, const char *what, const char *path) {
  snprintf(why, size, "%s %s: %s", what, path, strerror(-error));
  return error;
}

// ---- the lock ----

enum { HOLDER = 24 };  // bytes of a pid in decimal, with newline and zero

static pid_t read_holder(int fd) {
  char text[HOLDER] = "";
  ssize_t size = pread(fd, text, sizeof text - 1, 0);
  return size > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

// What is no lock is left as it is: --listen may name a path beside which a file of that name has
// another meaning. A router that was killed between two writes has left an empty one.
static int check_lock(const struct listener *listener, char *why, size_t size) {
  char text[HOLDER + 1] = "";
  struct stat status;
  bool is_file = !fstat(listener->lock, &status) && S_ISREG(status.st_mode);
  ssize_t length = is_file ? pread(listener->lock, text, HOLDER, 0) : -1;
  size_t digits = strspn(text, "0123456789");
  if (length == 0 || (length > 1 && digits + 1 == (size_t)length && text[digits] == '\n')) return 0;
  snprintf(why, size,
           "the lock %s is expected to hold the number of a process, and holds something else; "
           "listen at another path, or remove it",
           listener->lock_path);
  return -EEXIST;
}

// Whether the file of that name is still the one that was opened: who gives a lock back removes it.
static bool is_current(int fd, const char *path) {
  struct stat opened, there;
  return !fstat(fd, &opened) && !stat(path, &there) && opened.st_dev == there.st_dev &&
         opened.st_ino == there.st_ino;
}

static int take_lock(struct listener *listener, pid_t *holder, char *why, size_t size) {
  for (;;) {
    int fd = open(listener->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return fail(-errno, why, size, "the lock cannot be opened:", listener->lock_path);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
      int error = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
      *holder = read_holder(fd);
      close(fd);
      return fail(error, why, size, "the lock cannot be taken:", listener->lock_path);
    }
    if (is_current(fd, listener->lock_path)) {
      listener->lock = fd;
      return 0;
    }
    close(fd);
  }
}

static int write_holder(struct listener *listener, char *why, size_t size) {
  char text[24];
  int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
  if (!ftruncate(listener->lock, 0) && pwrite(listener->lock, text, (size_t)length, 0) == length)
    return 0;
  return fail(-errno, why, size, "the lock cannot be written:", listener->lock_path);
}

// ---- the socket ----

// To connect to a file that is no socket fails in the same way as to a socket that nobody listens
// on, which is removed.
static int check_path(const char *path, char *why, size_t size) {
  struct stat status;
  size_t length = strlen(path);
  if (length >= ADDRESS_SIZE) {
    snprintf(why, size, "the path of a socket is expected to have at most %d bytes, got %zu: %s",
             ADDRESS_SIZE - 1, length, path);
    return -ENAMETOOLONG;
  }
  if (lstat(path, &status) || S_ISSOCK(status.st_mode)) return 0;
  snprintf(why, size,
           "%s is expected to be a socket or nothing, and is something else; listen at another "
           "path, or remove it",
           path);
  return -EEXIST;
}

// Under the lock nobody else may remove it or put another one there.
static int remove_stale(struct listener *listener, char *why, size_t size) {
  int fd = address_connect(listener->path, kProbe, why, size);
  if (fd >= 0) close(fd);
  if (fd == -ENOENT) return 0;
  if (fd >= 0 || fd == -EAGAIN || fd == -EACCES)
    return fail(-EADDRINUSE, why, size,
                "somebody listens who does not hold the lock:", listener->path);
  if (fd != -ECONNREFUSED) return fd;
  if (!unlink(listener->path) || errno == ENOENT) return 0;
  return fail(-errno, why, size,
              "the socket that another process has left cannot be removed:", listener->path);
}

static int open_socket(struct listener *listener, char *why, size_t size) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", listener->path);
  listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // The mode is set before the file is there, so that there is no moment without it.
  if (listener->fd < 0 || fchmod(listener->fd, 0600) ||
      bind(listener->fd, (const struct sockaddr *)&address, sizeof address) ||
      listen(listener->fd, BACKLOG))
    return fail(-errno, why, size, "the socket cannot be opened:", listener->path);
  struct stat status;
  if (stat(listener->path, &status))
    return fail(-errno, why, size, "the socket cannot be looked at:", listener->path);
  listener->device = status.st_dev;
  listener->inode = status.st_ino;
  return 0;
}

// Whoever has removed them from under this router may have let another one take their place. The
// inodes are not used anew while this process has both open.
static bool is_own(const struct listener *listener) {
  struct stat status;
  return !lstat(listener->path, &status) && status.st_dev == listener->device &&
         status.st_ino == listener->inode;
}

// Not before the socket's file is gone: who takes the lock then finds no other one there.
static void give_lock_back(struct listener *listener) {
  if (listener->lock < 0) return;
  if (is_current(listener->lock, listener->lock_path)) unlink(listener->lock_path);
  close(listener->lock);
  listener->lock = -1;
}

static void free_all(struct listener *listener) {
  if (listener->fd >= 0) close(listener->fd);
  if (listener->reserve >= 0) close(listener->reserve);
  if (listener->lock >= 0) close(listener->lock);
  free(listener);
}

int listener_open(struct listener **out, const char *path, pid_t *holder, char *why, size_t size) {
  *holder = 0;
  int error = check_path(path, why, size);
  if (error) return error;
  struct listener *listener = xcalloc(1, sizeof *listener);
  listener->fd = listener->lock = listener->reserve = -1;
  snprintf(listener->path, sizeof listener->path, "%s", path);
  size_t length = strlen(listener->path);
  if (length > 5 && !strcmp(listener->path + length - 5, ".sock")) length -= 5;
  snprintf(listener->lock_path, LOCK_PATH, "%.*s.lock", (int)length, listener->path);
  error = take_lock(listener, holder, why, size);
  if (!error) error = check_lock(listener, why, size);
  if (!error) error = write_holder(listener, why, size);
  if (!error) error = remove_stale(listener, why, size);
  if (!error) error = open_socket(listener, why, size);
  if (error)
    free_all(listener);
  else
    *out = listener;
  return error;
}

// ---- who comes ----

static void pause_for(struct listener *listener, int64_t pause) {
  uv_poll_stop(&listener->poll);
  listener->paused_until = wait_now() + pause;
}

static void let_in(struct listener *listener, int fd, bool is_last) {
  char why[160];
  if (address_check_peer(fd, geteuid(), why, sizeof why)) {
    log_line("farside", why);
    close(fd);
    return;
  }
  listener->events.accepted(listener->events.owner, fd, is_last);
}

static int accept_one(const struct listener *listener) {
  int fd;
  do fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  return fd < 0 ? -errno : fd;
}

// With the descriptor that is kept for it.
static bool accept_without_room(struct listener *listener) {
  if (listener->reserve < 0) return false;
  close(listener->reserve);
  int fd = accept_one(listener);
  if (fd >= 0) let_in(listener, fd, true);
  listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return fd >= 0;
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  struct listener *listener = poll->data;
  for (int i = 0; i < TURN && listener->started; i++) {
    int fd = accept_one(listener);
    if (fd >= 0) {
      let_in(listener, fd, fd >= listener->limit);
      continue;
    }
    if (fd == -EAGAIN) return;
    if (accept_without_room(listener)) continue;
    pause_for(listener, kPause);
    return;
  }
}

int64_t listener_deadline(const struct listener *listener) {
  return listener->paused_until ? listener->paused_until : INT64_MAX;
}

void listener_tick(struct listener *listener, int64_t now) {
  if (!listener->paused_until || now < listener->paused_until) return;
  listener->paused_until = 0;
  if (listener->reserve < 0) listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  uv_poll_start(&listener->poll, UV_READABLE, on_readable);
}

// ---- life ----

void listener_raise_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int listener_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT32_MAX) return INT32_MAX;
  int count = (int)limit.rlim_cur;
  return count > 2 * RESERVE ? count - RESERVE : count / 2;
}

int listener_start(struct listener *listener, uv_loop_t *loop,
                   const struct listener_events *events) {
  int error = uv_poll_init(loop, &listener->poll, listener->fd);
  if (error) return error;
  listener->poll.data = listener;
  listener->events = *events;
  listener->limit = listener_descriptors();
  listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  listener->started = true;
  return uv_poll_start(&listener->poll, UV_READABLE, on_readable);
}

// A socket goes on when its file gets another name. What a router that was killed there has left, or
// one that drains still, is replaced: nobody looks for more than one.
void listener_retire(struct listener *listener) {
  char ending[ADDRESS_SIZE];
  if (is_own(listener) && !address_of_ending(listener->path, ending) &&
      !rename(listener->path, ending))
    memcpy(listener->path, ending, sizeof ending);
  else if (is_own(listener))
    unlink(listener->path);
  give_lock_back(listener);
}

static void on_closed(uv_handle_t *handle) {
  free_all(handle->data);
}

void listener_close(struct listener *listener) {
  if (!listener) return;
  if (is_own(listener)) unlink(listener->path);
  give_lock_back(listener);
  if (!listener->started) {
    free_all(listener);
    return;
  }
  listener->started = false;
  uv_close((uv_handle_t *)&listener->poll, on_closed);
}

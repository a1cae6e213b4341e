#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { FIRST_CLEAR = 10 };

int spawn_clear(int fd) {
  if (fd < 0 || fd >= FIRST_CLEAR) return fd;
  int clear = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_CLEAR);
  int error = errno;
  close(fd);
  return clear < 0 ? -error : clear;
}

// ---- environment ----

#define DEVICES "CUDA_VISIBLE_DEVICES="

static bool starts_with(const char *text, const char *start) {
  return !strncmp(text, start, strlen(start));
}

// A worker finds its Lua files through START. How to wait, and where libraries are, is the same on
// both ends, and a worker carries the mark by which specs find what a run has left.
static bool is_for_workers(const char *entry) {
  static const char *const kept[] = {"FARSIDE_WAIT=", "FARSIDE_KERNELS=", "FARSIDE_CUDA_DRIVER=",
                                     "FARSIDE_NVRTC=", "FARSIDE_SPEC_RUN="};
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (starts_with(entry, kept[i])) return true;
  return !starts_with(entry, "FARSIDE_") && !starts_with(entry, "LUA_PATH") &&
         !starts_with(entry, "LUA_CPATH") && !starts_with(entry, "LUA_INIT");
}

// A list to be freed; the texts stay where they are. `devices` is an entry of its own, or NULL.
static char **make_environment(char *devices) {
  size_t count = 0, kept = 0;
  while (environ && environ[count]) count++;
  char **list = calloc(count + 2, sizeof *list);
  for (size_t i = 0; list && i < count; i++) {
    if (devices && starts_with(environ[i], DEVICES)) continue;
    if (is_for_workers(environ[i])) list[kept++] = environ[i];
  }
  if (list && devices) list[kept] = devices;
  return list;
}

// ---- the process ----

static int set_attributes(posix_spawnattr_t *attributes) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &all);
  posix_spawnattr_setpgroup(attributes, 0);
  return posix_spawnattr_setflags(
      attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int set_descriptors(posix_spawn_file_actions_t *actions, const struct spawn *spawn) {
  const int from[] = {spawn->output, spawn->output, spawn->data, spawn->control, spawn->page};
  int error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  for (int to = 1; to <= 5 && !error; to++)
    error = posix_spawn_file_actions_adddup2(actions, from[to - 1], to);
  return error;
}

static int start(const struct spawn *spawn, char **environment, pid_t *pid) {
  char *const arguments[] = {(char *)(uintptr_t)spawn->executable, "worker", NULL};
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  int error = posix_spawnattr_init(&attributes);
  if (error) return error;
  error = posix_spawn_file_actions_init(&actions);
  if (!error) {
    error = set_attributes(&attributes);
    if (!error) error = set_descriptors(&actions, spawn);
    if (!error)
      error = posix_spawn(pid, spawn->executable, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
  }
  posix_spawnattr_destroy(&attributes);
  return error;
}

int spawn_process(const struct spawn *spawn, pid_t *pid, int *pidfd) {
  char devices[256] = DEVICES;
  if (spawn->devices) strncat(devices, spawn->devices, sizeof devices - sizeof DEVICES);
  char **environment = make_environment(spawn->devices ? devices : NULL);
  if (!environment) return -ENOMEM;
  int error = start(spawn, environment, pid);
  free(environment);
  if (error) return -error;
  *pidfd = pidfd_open(*pid, 0);
  if (*pidfd >= 0) return 0;
  error = errno;
  kill(-*pid, SIGKILL);
  while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) continue;
  *pid = 0;  // it is nobody's now, or somebody else's
  return -error;
}

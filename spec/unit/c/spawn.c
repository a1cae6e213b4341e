// Checks of host/io/spawn.c.
#define _GNU_SOURCE
#include "../../../host/io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void leaves_none_that_it_cannot_watch(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), pidfd, last;
  while ((last = dup(null)) < 8) continue;  // a worker has descriptors up to 5
  struct rlimit before, limit;
  EXPECT(!getrlimit(RLIMIT_NOFILE, &before));
  limit = (struct rlimit){.rlim_cur = (rlim_t)last + 1, .rlim_max = before.rlim_max};
  EXPECT(!setrlimit(RLIMIT_NOFILE, &limit));
  pid_t pid = -1;
  struct spawn spawn = {"/bin/cat", null, null, null, null, NULL};
  EXPECT_EQUAL(-EMFILE, spawn_process(&spawn, &pid, &pidfd));
  EXPECT_EQUAL(0, pid);
  EXPECT(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
  EXPECT(!setrlimit(RLIMIT_NOFILE, &before));
}

static const struct check checks[] = {
    {"that cannot be watched are ended, and have no number", leaves_none_that_it_cannot_watch},
};

CHECK_MAIN(checks)

#include "openblas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace openblas {

static struct library opened;
static bool is_there;
static pthread_once_t once = PTHREAD_ONCE_INIT;

template <class F>
static bool find(void *file, const char *name, F *function) {
  void *found = dlsym(file, name);
  memcpy(function, &found, sizeof found);
  return found != nullptr;
}

// Threads that the library starts as it is opened take no signals: those are for the program's own
// threads.
static void *open_quietly(const char *path) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return file;
}

static void open_once() {
  const char *path = getenv("FARSIDE_OPENBLAS");
  void *file = open_quietly(path && *path ? path : "libopenblas.so.0");
  if (!file) return;
  char *(*configuration)(), *(*core)();
  void (*set_threads)(int);
  const bool complete =
      find(file, "cblas_sgemm", &opened.sgemm) && find(file, "cblas_dgemm", &opened.dgemm) &&
      find(file, "cblas_sgemv", &opened.sgemv) && find(file, "cblas_dgemv", &opened.dgemv) &&
      find(file, "openblas_get_config", &configuration) &&
      find(file, "openblas_get_corename", &core) &&
      find(file, "openblas_set_num_threads", &set_threads);
  // One with 64-bit integers has the same names.
  if (!complete || strstr(configuration(), "USE64BITINT")) return;
  // Our threads share the work out, each calls the library for its part.
  set_threads(1);
  const char *text = configuration();
  const char *space = strchr(text, ' ');
  const size_t words =
      space ? static_cast<size_t>(space - text) + 1 + strcspn(space + 1, " ") : strlen(text);
  snprintf(opened.name, sizeof opened.name, "%.*s %.40s", static_cast<int>(words < 48 ? words : 48),
           text, core());
  is_there = true;
}

const struct library *get() {
  pthread_once(&once, open_once);
  return is_there ? &opened : nullptr;
}

}  // namespace openblas

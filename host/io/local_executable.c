// Finds the executable whose processes are the workers.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local.h"

static const char kName[] = "farside";

// The answer, or the places tried so far; cut where memory of the caller ends.
struct search {
  char *text;
  size_t size, used;
};

static void note(struct search *search, const char *place) {
  int size = snprintf(search->text + search->used, search->size - search->used, "%s%s",
                      search->used ? ", " : "", place);
  search->used += (size_t)size;
  if (search->used >= search->size) search->used = search->size - 1;
}

static bool is_executable(const char *path) {
  struct stat info;
  return !stat(path, &info) && S_ISREG(info.st_mode) && !access(path, X_OK);
}

// True: that is it, and the search holds nothing but its path.
static bool try_path(struct search *search, const char *path) {
  char real[PATH_MAX];
  if (!is_executable(path) || !realpath(path, real) || strlen(real) >= search->size) {
    note(search, path);
    return false;
  }
  strcpy(search->text, real);
  return true;
}

static bool try_self(struct search *search) {
  char path[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
  if (size <= 0) return false;
  path[size] = 0;
  const char *name = strrchr(path, '/');
  return name && !strcmp(name + 1, kName) && try_path(search, path);
}

static bool try_folder(struct search *search, const char *folder, size_t size, const char *below) {
  char path[PATH_MAX];
  int length = snprintf(path, sizeof path, "%.*s/%s%s", (int)size, folder, below, kName);
  return length < PATH_MAX && try_path(search, path);
}

// Beside the module or library that holds this function, or in the bin folder above it.
static bool try_beside(struct search *search) {
  static const char *const below[] = {"", "../bin/", "../../bin/", "../../../bin/",
                                      "../../../../bin/"};
  Dl_info info;
  char path[PATH_MAX];
  if (!dladdr((void *)(uintptr_t)local_executable, &info) || !info.dli_fname) return false;
  if (!realpath(info.dli_fname, path)) return false;
  size_t size = (size_t)(strrchr(path, '/') - path);
  for (size_t i = 0; i < sizeof below / sizeof *below; i++)
    if (try_folder(search, path, size, below[i])) return true;
  return false;
}

static bool try_search_path(struct search *search) {
  const char *folder = getenv("PATH");
  while (folder && *folder) {
    size_t size = strcspn(folder, ":");
    if (size && try_folder(search, folder, size, "")) return true;
    folder += size + (folder[size] == ':');
  }
  return false;
}

int local_executable(char *path, size_t size) {
  struct search search = {path, size, 0};
  path[0] = 0;
  const char *given = getenv("FARSIDE_BIN");
  if (given && *given) return try_path(&search, given) ? 0 : -ENOENT;
  bool found = try_self(&search) || try_beside(&search) || try_search_path(&search);
  return found ? 0 : -ENOENT;
}

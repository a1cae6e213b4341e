#define _GNU_SOURCE
#include "places.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/limits.h"

uint32_t places_cores(void) {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof cores, &cores) ? 1 : (uint32_t)CPU_COUNT(&cores);
}

// The entry of that number in the list, and its length; NULL: the list is shorter. As CUDA does, the
// list ends at the first entry that names nothing: an empty one, or -1.
static const char *entry_of(const char *list, uint32_t number, size_t *size) {
  for (;; list += *size + 1) {
    *size = strcspn(list, ",");
    if (!*size || list[0] == '-') return NULL;
    if (!number--) return list;
    if (!list[*size]) return NULL;
  }
}

// Of /dev/nvidia0, /dev/nvidia1 and so on, but not /dev/nvidiactl or /dev/nvidia-uvm.
static uint32_t count_devices(void) {
  static const char prefix[] = "nvidia";
  DIR *folder = opendir("/dev");
  uint32_t count = 0;
  const struct dirent *entry;
  while (folder && (entry = readdir(folder))) {
    const char *name = entry->d_name;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) continue;
    name += sizeof prefix - 1;
    count += *name && !name[strspn(name, "0123456789")];
  }
  if (folder) closedir(folder);
  return count;
}

uint32_t places_devices(void) {
  const char *list = getenv("CUDA_VISIBLE_DEVICES");
  if (!list) return count_devices();
  uint32_t count = 0;
  size_t size;
  while (count < LIMIT_WORKERS && entry_of(list, count, &size)) count++;
  return count;
}

bool places_device(uint32_t device, char *name, size_t size) {
  const char *list = getenv("CUDA_VISIBLE_DEVICES");
  size_t length = 0;
  if (!list) return (size_t)snprintf(name, size, "%u", device) < size;
  const char *entry = entry_of(list, device, &length);
  return entry && (size_t)snprintf(name, size, "%.*s", (int)length, entry) < size;
}

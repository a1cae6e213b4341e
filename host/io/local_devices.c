#include "local_devices.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../core/memory.h"
#include "page.h"
#include "places.h"

struct device {
  uint32_t workers;
  bool is_lost;
  bool is_suspect;       // whoever used it last did not end in order
  uint64_t free_before;  // bytes, before that one took any; 0: not known
};

struct devices {
  struct device *of;  // by number; those that nobody had yet may be missing
  uint32_t count;
};

struct devices *devices_new(void) {
  return xcalloc(1, sizeof(struct devices));
}

void devices_free(struct devices *devices) {
  if (!devices) return;
  free(devices->of);
  free(devices);
}

static void grow(struct devices *devices, uint32_t count) {
  if (count <= devices->count) return;
  devices->of = xrealloc(devices->of, count * sizeof *devices->of);
  memset(devices->of + devices->count, 0, (count - devices->count) * sizeof *devices->of);
  devices->count = count;
}

bool devices_take(struct devices *devices, uint32_t *device) {
  uint32_t count = places_devices();
  grow(devices, count);
  *device = DEVICE_NONE;
  for (uint32_t i = 0; i < count; i++) {
    if (devices->of[i].is_lost) continue;
    if (*device != DEVICE_NONE && devices->of[i].workers >= devices->of[*device].workers) continue;
    *device = i;
  }
  if (*device != DEVICE_NONE) devices->of[*device].workers++;
  return *device != DEVICE_NONE || !count;
}

// With others on it, how much of its memory is free says nothing of the last one.
void devices_tell(const struct devices *devices, uint32_t number, struct page *page) {
  if (number == DEVICE_NONE) return;
  const struct device *device = &devices->of[number];
  page->device_before = device->workers == 1 ? device->free_before : 0;
  page->device_suspect = device->is_suspect;
}

bool devices_give_back(struct devices *devices, uint32_t number, const struct device_end *end) {
  if (number == DEVICE_NONE) return false;
  struct device *device = &devices->of[number];
  device->workers--;
  if (end->free_bytes) {
    device->free_before = end->free_bytes;
    device->is_suspect = !end->is_orderly;
  }
  if (!end->is_lost || device->is_lost) return false;
  device->is_lost = true;
  return true;
}

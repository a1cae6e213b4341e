// The GPUs of this machine as the local provider gives them out: one to each worker, and what the
// workers that stood on it have left behind.
//
// A GPU that a worker has lost - it fell off the bus, its memory is broken - is given to nobody any
// more, as long as this process lives. With the loop's baton.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct devices;
struct page;

enum { DEVICE_NONE = UINT32_MAX };  // the machine has no GPU

/// How a worker has left its GPU.
struct device_end {
  bool is_lost;         // it said that the GPU is
  bool is_orderly;      // it ended of itself, and well
  uint64_t free_bytes;  // of memory, before it took any; 0: it has not used it
};

struct devices *devices_new(void);
void devices_free(struct devices *devices);

/// Chooses the GPU for one worker: of those that are not lost the one with the fewest workers, the
/// first of several; DEVICE_NONE where there is none. Nothing is chosen when all are lost: false.
bool devices_take(struct devices *devices, uint32_t *device);

/// What the worker that has taken it is to know of it.
void devices_tell(const struct devices *devices, uint32_t device, struct page *page);

/// The worker is gone. DEVICE_NONE is allowed. True: nobody will get this GPU any more.
bool devices_give_back(struct devices *devices, uint32_t device, const struct device_end *end);

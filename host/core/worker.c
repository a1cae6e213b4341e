#include "worker.h"

#include "memory.h"

struct kept {
  uint64_t sequence;
  enum cancel_reason reason;
};

struct worker {
  uint32_t count, capacity;
  struct kept *kept;  // in the order in which they came
};

struct worker *worker_new(void) {
  return xcalloc(1, sizeof(struct worker));
}

void worker_free(struct worker *worker) {
  if (!worker) return;
  free(worker->kept);
  free(worker);
}

bool worker_cancel(struct worker *worker, uint64_t sequence, enum cancel_reason reason) {
  if (worker->count == WORKER_CANCELS) return false;
  if (worker->count == worker->capacity) {
    worker->capacity = worker->capacity ? 2 * worker->capacity : 8;
    worker->kept = xrealloc(worker->kept, worker->capacity * sizeof *worker->kept);
  }
  worker->kept[worker->count++] = (struct kept){sequence, reason};
  return true;
}

static void take(struct worker *worker, uint32_t i, enum cancel_reason *reason) {
  *reason = worker->kept[i].reason;
  worker->count--;
  for (; i < worker->count; i++) worker->kept[i] = worker->kept[i + 1];
}

bool worker_take(struct worker *worker, uint64_t sequence, enum cancel_reason *reason) {
  for (uint32_t i = 0; i < worker->count; i++) {
    if (worker->kept[i].sequence != sequence) continue;
    take(worker, i, reason);
    return true;
  }
  return false;
}

bool worker_match(struct worker *worker, bool (*match)(void *owner, uint64_t sequence), void *owner,
                  uint64_t *sequence, enum cancel_reason *reason) {
  for (uint32_t i = 0; i < worker->count; i++) {
    if (!match(owner, worker->kept[i].sequence)) continue;
    *sequence = worker->kept[i].sequence;
    take(worker, i, reason);
    return true;
  }
  return false;
}

uint32_t worker_cancels(const struct worker *worker) {
  return worker->count;
}

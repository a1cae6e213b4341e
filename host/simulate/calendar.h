// What will happen in virtual time: a heap of events, earliest first; of those at the same time the
// one that was added first.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event_kind {
  EVENT_ARRIVES,   // the next call of a closed loop
  EVENT_GETS,      // a worker gets a call
  EVENT_ENDS,      // a worker has run a call
  EVENT_ANSWERED,  // the answer to a call is back
  EVENT_READY,     // a worker is
  EVENT_DIES,      // a worker does
  EVENT_LOST,      // its death is seen
  EVENT_SPEED,     // a worker gets another speed
  EVENT_SAMPLE
};

struct event {
  int64_t at;  // nanoseconds
  uint64_t order;
  enum event_kind kind;
  uint32_t station, call;
  uint32_t stamp;  // of the station's process, or of the call's run: an old event means nothing
};

struct calendar {
  struct event *heap;
  size_t count, capacity;
  uint64_t order;
};

/// Its `order` is given here.
void calendar_add(struct calendar *calendar, struct event event);
/// When the first one is; INT64_MAX: there is none.
static inline int64_t calendar_first(const struct calendar *calendar) {
  return calendar->count ? calendar->heap[0].at : INT64_MAX;
}
/// Removes and returns the first of at least one.
struct event calendar_take(struct calendar *calendar);
void calendar_close(struct calendar *calendar);

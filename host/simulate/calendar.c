#include "calendar.h"

#include "../core/memory.h"

static bool is_before(const struct event *a, const struct event *b) {
  return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void calendar_add(struct calendar *calendar, struct event event) {
  if (calendar->count == calendar->capacity) {
    calendar->capacity = calendar->capacity ? 2 * calendar->capacity : 256;
    calendar->heap = xrealloc(calendar->heap, calendar->capacity * sizeof *calendar->heap);
  }
  event.order = ++calendar->order;
  size_t at = calendar->count++;
  for (; at && is_before(&event, &calendar->heap[(at - 1) / 2]); at = (at - 1) / 2)
    calendar->heap[at] = calendar->heap[(at - 1) / 2];
  calendar->heap[at] = event;
}

struct event calendar_take(struct calendar *calendar) {
  struct event first = calendar->heap[0], last = calendar->heap[--calendar->count];
  size_t at = 0, child;
  while ((child = 2 * at + 1) < calendar->count) {
    if (child + 1 < calendar->count &&
        is_before(&calendar->heap[child + 1], &calendar->heap[child]))
      child++;
    if (!is_before(&calendar->heap[child], &last)) break;
    calendar->heap[at] = calendar->heap[child];
    at = child;
  }
  calendar->heap[at] = last;
  return first;
}

void calendar_close(struct calendar *calendar) {
  free(calendar->heap);
  *calendar = (struct calendar){0};
}

#include "timer.h"

#include "memory.h"

static void put(struct timers *timers, size_t position, struct timer *timer) {
  timers->heap[position] = timer;
  timer->position = position;
}

static void sift_up(struct timers *timers, struct timer *timer, size_t position) {
  for (; position > 1 && timers->heap[position / 2]->at > timer->at; position /= 2)
    put(timers, position, timers->heap[position / 2]);
  put(timers, position, timer);
}

static void sift_down(struct timers *timers, struct timer *timer, size_t position) {
  for (;;) {
    size_t child = 2 * position;
    if (child > timers->count) break;
    if (child < timers->count && timers->heap[child + 1]->at < timers->heap[child]->at) child++;
    if (timers->heap[child]->at >= timer->at) break;
    put(timers, position, timers->heap[child]);
    position = child;
  }
  put(timers, position, timer);
}

void timers_set(struct timers *timers, struct timer *timer, int64_t at) {
  size_t position = timer->position;
  int64_t before = timer->at;
  timer->at = at;
  if (position) {
    if (at < before)
      sift_up(timers, timer, position);
    else
      sift_down(timers, timer, position);
    return;
  }
  if (timers->count + 1 >= timers->capacity) {
    timers->capacity = timers->capacity ? 2 * timers->capacity : 64;
    timers->heap = xrealloc(timers->heap, timers->capacity * sizeof *timers->heap);
  }
  sift_up(timers, timer, ++timers->count);
}

void timers_cancel(struct timers *timers, struct timer *timer) {
  size_t position = timer->position;
  if (!position) return;
  timer->position = 0;
  struct timer *last = timers->heap[timers->count--];
  if (last == timer) return;
  if (last->at < timer->at)
    sift_up(timers, last, position);
  else
    sift_down(timers, last, position);
}

struct timer *timers_first(const struct timers *timers) {
  return timers->count ? timers->heap[1] : NULL;
}

void timers_close(struct timers *timers) {
  free(timers->heap);
  *timers = (struct timers){0};
}

// Calls of one deployment that wait for a worker: one first-in first-out line per function, and who
// has waited longest over all.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// The link inside whatever waits.
struct queue_item {
  struct queue_item *previous, *next;
  uint64_t order;  // of arrival; a requeued call keeps its own
  uint32_t line;
};

struct queue {
  struct queue_line {
    struct queue_item *first, *last;
    size_t count;
  } * lines;
  uint32_t line_count;
  size_t count;
};

/// `lines` empty lines. Ends the process when memory runs out.
void queue_init(struct queue *queue, uint32_t lines);
void queue_close(struct queue *queue);

/// Adds at the place its `order` gives it in its `line` (nearly always the end).
void queue_push(struct queue *queue, struct queue_item *item);
void queue_remove(struct queue *queue, struct queue_item *item);

/// The oldest item of all lines whose bit in `skip` is not set (`skip` may be NULL; one byte a
/// line), or NULL.
struct queue_item *queue_oldest(const struct queue *queue, const unsigned char *skip);

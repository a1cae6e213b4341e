#include "queue.h"

#include <stdbool.h>

#include "memory.h"

void queue_init(struct queue *queue, uint32_t lines) {
  queue->lines = xcalloc(lines ? lines : 1, sizeof *queue->lines);
  queue->line_count = lines;
  queue->count = 0;
}

void queue_close(struct queue *queue) {
  free(queue->lines);
  *queue = (struct queue){0};
}

static bool is_near_first(const struct queue_line *line, const struct queue_item *item) {
  return item->order < line->first->order ||
         item->order - line->first->order < line->last->order - item->order;
}

static struct queue_item *next_of(const struct queue_line *line, struct queue_item *item) {
  return item ? item->next : line->first;
}

void queue_push(struct queue *queue, struct queue_item *item) {
  struct queue_line *line = &queue->lines[item->line];
  struct queue_item *before = line->last;
  if (before && before->order > item->order && is_near_first(line, item)) {
    for (before = NULL; next_of(line, before)->order <= item->order;)
      before = next_of(line, before);
  } else {
    while (before && before->order > item->order) before = before->previous;
  }
  item->previous = before;
  item->next = before ? before->next : line->first;
  *(item->previous ? &item->previous->next : &line->first) = item;
  *(item->next ? &item->next->previous : &line->last) = item;
  line->count++;
  queue->count++;
}

void queue_remove(struct queue *queue, struct queue_item *item) {
  struct queue_line *line = &queue->lines[item->line];
  *(item->previous ? &item->previous->next : &line->first) = item->next;
  *(item->next ? &item->next->previous : &line->last) = item->previous;
  item->previous = item->next = NULL;
  line->count--;
  queue->count--;
}

struct queue_item *queue_oldest(const struct queue *queue, const unsigned char *skip) {
  struct queue_item *oldest = NULL;
  for (uint32_t i = 0; queue->count && i < queue->line_count; i++) {
    struct queue_item *first = queue->lines[i].first;
    if (!first || (skip && skip[i])) continue;
    if (!oldest || first->order < oldest->order) oldest = first;
  }
  return oldest;
}

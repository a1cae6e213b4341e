// Checks of host/core/queue.c.
#include "../../../host/core/queue.h"

#include <stdbool.h>

#include "check.h"

enum { LINES = 3 };

static void push(struct queue *queue, struct queue_item *item, uint32_t line, uint64_t order) {
  *item = (struct queue_item){.order = order, .line = line};
  queue_push(queue, item);
}

static struct queue_item *pop(struct queue *queue) {
  struct queue_item *item = queue_oldest(queue, NULL);
  if (item) queue_remove(queue, item);
  return item;
}

static void in_order(void) {
  struct queue queue;
  struct queue_item items[6];
  queue_init(&queue, LINES);
  for (uint32_t i = 0; i < 6; i++) push(&queue, &items[i], i * 2 % LINES, i);
  EXPECT_EQUAL(6, queue.count);
  for (int i = 0; i < 6; i++) EXPECT(pop(&queue) == &items[i]);
  EXPECT(!pop(&queue));
  EXPECT_EQUAL(0, queue.count);
  queue_close(&queue);
}

static void keeps_order(void) {
  struct queue queue;
  struct queue_item items[4];
  queue_init(&queue, LINES);
  for (uint32_t i = 0; i < 4; i++) push(&queue, &items[i], 0, i);
  queue_remove(&queue, &items[0]);
  queue_remove(&queue, &items[2]);
  queue_push(&queue, &items[2]);
  queue_push(&queue, &items[0]);
  for (int i = 0; i < 4; i++) EXPECT(pop(&queue) == &items[i]);
  queue_close(&queue);
}

static void removes_anywhere(void) {
  for (int removed = 0; removed < 3; removed++) {
    struct queue queue;
    struct queue_item items[3];
    queue_init(&queue, LINES);
    for (uint32_t i = 0; i < 3; i++) push(&queue, &items[i], 1, i);
    queue_remove(&queue, &items[removed]);
    for (int i = 0; i < 3; i++)
      if (i != removed) EXPECT(pop(&queue) == &items[i]);
    EXPECT(!pop(&queue));
    queue_close(&queue);
  }
}

static void skips_lines(void) {
  struct queue queue;
  struct queue_item items[3];
  unsigned char skip[LINES] = {0};
  queue_init(&queue, LINES);
  for (uint32_t i = 0; i < 3; i++) push(&queue, &items[i], i, i);
  for (int i = 0; i < 3; i++) {
    EXPECT(queue_oldest(&queue, skip) == &items[i]);
    skip[i] = 1;
  }
  EXPECT(!queue_oldest(&queue, skip));
  EXPECT(queue_oldest(&queue, NULL) == &items[0]);
  queue_close(&queue);
}

static const struct check checks[] = {
    {"gives items of all lines in the order they came", in_order},
    {"gives an item that comes back its old place", keeps_order},
    {"removes an item from anywhere in its line", removes_anywhere},
    {"skips lines", skips_lines},
};
CHECK_MAIN(checks)

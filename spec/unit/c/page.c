// Checks of the shared page by which calls are taken back. Clean under the thread sanitizer.
#define _GNU_SOURCE
#include "../../../host/io/page.h"

#include <pthread.h>
#include <sched.h>

#include "check.h"

enum { CALLS = 400 * 1000, ROOM = 64 };

struct world {
  struct page *page;
  _Atomic uint64_t sent;  // the last sequence
  _Atomic unsigned char entered[CALLS + 1], dropped[CALLS + 1], back[CALLS + 1];
  unsigned char taken[CALLS + 1];
};

// The worker: enters what it may, one after the other.
static void *work(void *argument) {
  struct world *world = argument;
  for (uint64_t next = 1; next <= CALLS; next++) {
    while (atomic_load(&world->sent) < next) sched_yield();
    switch (page_claim(world->page, next)) {
      case PAGE_CLAIMED:
        atomic_fetch_add(&world->entered[next], 1);
        break;
      case PAGE_TAKEN:
        atomic_fetch_add(&world->dropped[next], 1);
        break;
      case PAGE_GIVE_BACK:
        atomic_fetch_add(&world->back[next], 1);
        break;
    }
  }
  return NULL;
}

// The router: hands ahead, and takes back now and then all it can, or one.
static void hand_and_take(struct world *world) {
  struct chance chance = {11};
  for (uint64_t sent = 0; sent < CALLS;) {
    uint64_t first = sent + 1;
    sent += 1 + chance_below(&chance, ROOM);
    if (sent > CALLS) sent = CALLS;
    atomic_store(&world->sent, sent);
    for (size_t pause = chance_below(&chance, 200); pause; pause--) atomic_load(&world->sent);
    if (chance_below(&chance, 2)) {
      uint64_t entering = page_recall(world->page, sent);
      for (uint64_t i = entering + 1; i <= sent; i++) world->taken[i] = 1;
    } else {
      uint64_t one = first + chance_below(&chance, (size_t)(sent - first + 1));
      world->taken[one] |= page_withdraw(world->page, one);
    }
    if (!chance_below(&chance, 4)) sched_yield();
  }
}

static void taken_once(void) {
  int fd;
  struct world *world = calloc(1, sizeof *world);
  world->page = page_create(&fd);
  EXPECT(world->page);
  pthread_t worker;
  EXPECT_EQUAL(0, pthread_create(&worker, NULL, work, world));
  hand_and_take(world);
  pthread_join(worker, NULL);
  uint64_t entered = 0, taken = 0;
  for (uint64_t i = 1; i <= CALLS; i++) {
    // What the router has taken was not entered; what it has not was entered, or given back.
    EXPECT(!world->taken[i] || !world->entered[i]);
    EXPECT(world->taken[i] || world->entered[i] || world->back[i]);
    EXPECT_EQUAL(1, world->entered[i] + world->dropped[i] + world->back[i]);
    entered += world->entered[i];
    taken += world->taken[i];
  }
  EXPECT(entered > 1000 && taken > 1000);
  page_close(world->page);
  free(world);
}

static struct page new_page(void) {
  return (struct page){0};
}

static void later_calls(void) {
  struct page page = new_page();
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 5));
  EXPECT_EQUAL(5, page_recall(&page, 9));
  EXPECT_EQUAL(PAGE_TAKEN, page_claim(&page, 7));
  EXPECT_EQUAL(PAGE_TAKEN, page_claim(&page, 9));
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 10));
  EXPECT_EQUAL(10, page_recall(&page, 12));
  EXPECT_EQUAL(PAGE_TAKEN, page_claim(&page, 12));
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 14));
}

static void one_call(void) {
  struct page page = new_page();
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 5));
  EXPECT(!page_withdraw(&page, 5));
  EXPECT(page_withdraw(&page, 7));
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 6));
  EXPECT_EQUAL(PAGE_GIVE_BACK, page_claim(&page, 7));
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 8));
}

// Two that share a place: the second is not proven until the first is passed.
static void same_place(void) {
  struct page page = new_page();
  EXPECT(page_withdraw(&page, 7));
  EXPECT(!page_withdraw(&page, 7 + PAGE_WITHDRAWN));
  EXPECT_EQUAL(PAGE_GIVE_BACK, page_claim(&page, 7));
  EXPECT_EQUAL(PAGE_CLAIMED, page_claim(&page, 8));
  EXPECT(page_withdraw(&page, 7 + PAGE_WITHDRAWN));
  EXPECT_EQUAL(PAGE_GIVE_BACK, page_claim(&page, 7 + PAGE_WITHDRAWN));
}

// ---- answers ----

static size_t rest(const struct page *page, uint64_t received, const char *expected) {
  const unsigned char *bytes = NULL;
  size_t size = page_rest(page, received, &bytes);
  EXPECT_EQUAL(strlen(expected), size);
  EXPECT(!size || !memcmp(bytes, expected, size));
  return size;
}

static void kept(void) {
  static struct page page;
  page_keep(&page, 0, "one", 3);
  page_keep(&page, 3, "two", 3);
  rest(&page, 0, "onetwo");
  rest(&page, 2, "etwo");  // a part was written
  rest(&page, 6, "");
  page_written(&page, 6);
  rest(&page, 6, "");
  page_keep(&page, 0, "three", 5);
  rest(&page, 6, "three");
  rest(&page, 8, "ree");
  rest(&page, 3, "");
}

static void too_much(void) {
  static struct page page;
  static const char bytes[PAGE_KEPT];
  const unsigned char *found;
  page_keep(&page, 0, bytes, PAGE_KEPT - 1);
  page_keep(&page, PAGE_KEPT - 1, "ab", 2);
  page_keep(&page, PAGE_KEPT + 1, "c", 1);
  EXPECT_EQUAL(PAGE_KEPT - 1, page_rest(&page, 0, &found));
  page_written(&page, PAGE_KEPT + 2);
  page_keep(&page, 0, "d", 1);
  rest(&page, PAGE_KEPT + 2, "d");
}

static void lies(void) {
  static struct page page;
  const unsigned char *found;
  page.kept_size = UINT32_MAX;
  EXPECT_EQUAL(0, page_rest(&page, 0, &found));
  page.kept_size = PAGE_KEPT;
  page.kept_from = UINT64_MAX;
  EXPECT_EQUAL(0, page_rest(&page, 5, &found));
}

static const struct check checks[] = {
    {"lets each call be entered or taken back, while both sides act at once", taken_once},
    {"does not take back what is sent after a recall", later_calls},
    {"takes back one call among others", one_call},
    {"refuses to take back one whose place is in use", same_place},
    {"keeps answers that were not written", kept},
    {"keeps no answer behind one that did not fit", too_much},
    {"believes no sizes beyond its own", lies},
};
CHECK_MAIN(checks)

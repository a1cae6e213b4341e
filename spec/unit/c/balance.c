// Checks of host/core/balance.c.
#include "../../../host/core/balance.h"

#include "check.h"

enum { FAST, SLOW };

static int choose(const struct candidate *candidates, uint32_t count, double workload) {
  uint32_t best = UINT32_MAX;
  return balance_choose(candidates, count, &(struct wish){.workload = workload}, &best);
}

static void earliest(void) {
  struct candidate candidates[] = {{.pace = 1.0 / 10, .free = true},
                                   {.pace = 1.0 / 100, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
  candidates[1].wait = 1;
  EXPECT_EQUAL(0, choose(candidates, 2, 1));
}

static void round_trips(void) {
  struct candidate candidates[] = {{.pace = 1.0 / 100, .wait = 0.1, .free = true},
                                   {.pace = 1.0 / 50, .wait = 0.001, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
  EXPECT_EQUAL(0, choose(candidates, 2, 1000));
}

static void waits(void) {
  struct candidate candidates[] = {
      [FAST] = {.pace = 1.0 / 100, .wait = 0.05}, [SLOW] = {.pace = 1.0 / 10, .free = true}};
  uint32_t best;
  EXPECT_EQUAL(BALANCE_WAIT, balance_choose(candidates, 2, &(struct wish){.workload = 1}, &best));
  EXPECT_EQUAL(FAST, best);
  candidates[FAST].wait = 0.2;
  EXPECT_EQUAL(SLOW, balance_choose(candidates, 2, &(struct wish){.workload = 1}, &best));
  EXPECT_EQUAL(SLOW, best);
}

static void none_free(void) {
  struct candidate candidates[] = {{.pace = 1.0 / 100}, {.pace = 1.0 / 10}};
  EXPECT_EQUAL(BALANCE_WAIT, choose(candidates, 2, 1));
  EXPECT_EQUAL(BALANCE_WAIT, choose(candidates, 0, 1));
}

static void ties(void) {
  struct candidate candidates[] = {{.pace = 1.0 / 95, .free = true},
                                   {.pace = 1.0 / 100, .free = true},
                                   {.pace = 1.0 / 100, .free = true}};
  EXPECT_EQUAL(0, choose(candidates, 3, 1));
  candidates[0].free = false;
  EXPECT_EQUAL(1, choose(candidates, 3, 1));
  candidates[0].free = true;
  candidates[0].pace = 1.0 / 85;
  EXPECT_EQUAL(1, choose(candidates, 3, 1));
}

static void short_ties(void) {
  struct candidate candidates[] = {{.wait = 19e-6, .free = true}, {.free = true}};
  EXPECT_EQUAL(0, choose(candidates, 2, 1));
  candidates[0].wait = 21e-6;
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
}

static void tie_with_busy(void) {
  struct candidate candidates[] = {{.pace = 1.0 / 100}, {.pace = 1.0 / 95, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
}

static void unknown_scores(void) {
  struct candidate candidates[] = {{.wait = 0.5, .free = true}, {.free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
}

static void unknown_and_busy(void) {
  struct candidate candidates[] = {{.wait = 0.001}, {.pace = 1.0 / 10, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 100));
  candidates[0].pace = 1.0 / 1000;
  EXPECT_EQUAL(BALANCE_WAIT, choose(candidates, 2, 100));
}

static void keeps(void) {
  struct candidate candidates[] = {{.pace = 0.1, .free = true},
                                   {.pace = 0.4, .free = true},
                                   {.pace = 0.45, .free = true},
                                   {.pace = 1, .free = true}};
  uint32_t best;
  struct wish wish = {.workload = 1};
  EXPECT_EQUAL(0, balance_choose(candidates, 4, &wish, &best));
  wish.keep = 0.4;
  EXPECT_EQUAL(1, balance_choose(candidates, 4, &wish, &best));
  wish.workload = 0.1;
  EXPECT_EQUAL(3, balance_choose(candidates, 4, &wish, &best));
  wish.workload = 10;
  EXPECT_EQUAL(0, balance_choose(candidates, 4, &wish, &best));
}

static void full(void) {
  struct candidate candidates[] = {
      [FAST] = {.pace = 0.01, .wait = 31}, [SLOW] = {.pace = 10, .free = true}};
  uint32_t best;
  struct wish wish = {.workload = 10};
  EXPECT_EQUAL(BALANCE_WAIT, balance_choose(candidates, 2, &wish, &best));
  wish.full = 30;
  EXPECT_EQUAL(SLOW, balance_choose(candidates, 2, &wish, &best));
}

static const struct check checks[] = {
    {"chooses the worker with the earliest predicted end", earliest},
    {"counts the round trip", round_trips},
    {"waits for a busy fast worker that ends sooner than a free slow one", waits},
    {"waits when no worker is free", none_free},
    {"gives equals within 10 % to the lowest index", ties},
    {"gives equals within 20 us to the lowest index", short_ties},
    {"prefers a free worker to a busy one that is hardly better", tie_with_busy},
    {"takes the shorter backlog when scores are not known", unknown_scores},
    {"leaves a fast worker to others where a slower free one costs little", keeps},
    {"waits for no worker that is full", full},
    {"waits for no busy worker whose score is not known", unknown_and_busy},
};
CHECK_MAIN(checks)

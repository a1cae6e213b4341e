// Checks of host/core/balance.c.
#include "../../../host/core/balance.h"

#include "check.h"

enum { FAST, SLOW };

static int choose(const struct candidate *candidates, uint32_t count, double workload) {
  uint32_t best = UINT32_MAX;
  return balance_choose(candidates, count, workload, &best);
}

static void earliest(void) {
  struct candidate candidates[] = {{.score = 10, .free = true}, {.score = 100, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
  candidates[1].backlog = 1;
  EXPECT_EQUAL(0, choose(candidates, 2, 1));
}

static void round_trips(void) {
  struct candidate candidates[] = {{.score = 100, .round_trip = 0.1, .free = true},
                                   {.score = 50, .round_trip = 0.001, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
  EXPECT_EQUAL(0, choose(candidates, 2, 1000));
}

static void waits(void) {
  struct candidate candidates[] = {
      [FAST] = {.score = 100, .backlog = 0.05}, [SLOW] = {.score = 10, .free = true}};
  uint32_t best;
  EXPECT_EQUAL(BALANCE_WAIT, balance_choose(candidates, 2, 1, &best));
  EXPECT_EQUAL(FAST, best);
  candidates[FAST].backlog = 0.2;
  EXPECT_EQUAL(SLOW, balance_choose(candidates, 2, 1, &best));
  EXPECT_EQUAL(SLOW, best);
}

static void none_free(void) {
  struct candidate candidates[] = {{.score = 100}, {.score = 10}};
  EXPECT_EQUAL(BALANCE_WAIT, choose(candidates, 2, 1));
  EXPECT_EQUAL(BALANCE_WAIT, choose(candidates, 0, 1));
}

static void ties(void) {
  struct candidate candidates[] = {
      {.score = 95, .free = true}, {.score = 100, .free = true}, {.score = 100, .free = true}};
  EXPECT_EQUAL(0, choose(candidates, 3, 1));
  candidates[0].free = false;
  EXPECT_EQUAL(1, choose(candidates, 3, 1));
  candidates[0].free = true;
  candidates[0].score = 85;
  EXPECT_EQUAL(1, choose(candidates, 3, 1));
}

static void short_ties(void) {
  struct candidate candidates[] = {{.round_trip = 19e-6, .free = true}, {.free = true}};
  EXPECT_EQUAL(0, choose(candidates, 2, 1));
  candidates[0].round_trip = 21e-6;
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
}

static void tie_with_busy(void) {
  struct candidate candidates[] = {{.score = 100}, {.score = 95, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
}

static void unknown_scores(void) {
  struct candidate candidates[] = {{.backlog = 0.5, .free = true}, {.free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 1));
}

static void unknown_and_busy(void) {
  struct candidate candidates[] = {{.backlog = 0.001}, {.score = 10, .free = true}};
  EXPECT_EQUAL(1, choose(candidates, 2, 100));
  candidates[0].score = 1000;
  EXPECT_EQUAL(BALANCE_WAIT, choose(candidates, 2, 100));
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
    {"waits for no busy worker whose score is not known", unknown_and_busy},
};
CHECK_MAIN(checks)

// Checks of host/core/pressure.c.
#include "../../../host/core/pressure.h"

#include "check.h"

static const uint64_t kBudget = UINT64_C(1000000000);

static enum pressure_step step_at(enum pressure_step before, uint64_t percent) {
  return pressure_step(before, kBudget / 100 * percent + 1000, kBudget);
}

static void rises(void) {
  EXPECT_EQUAL(PRESSURE_NONE, pressure_step(PRESSURE_NONE, 0, kBudget));
  EXPECT_EQUAL(PRESSURE_NONE, step_at(PRESSURE_NONE, 79));
  EXPECT_EQUAL(PRESSURE_CONNECTIONS, step_at(PRESSURE_NONE, 80));
  EXPECT_EQUAL(PRESSURE_CONNECTIONS, step_at(PRESSURE_NONE, 89));
  EXPECT_EQUAL(PRESSURE_CALLS, step_at(PRESSURE_NONE, 90));
  EXPECT_EQUAL(PRESSURE_CALLS, step_at(PRESSURE_CONNECTIONS, 94));
  EXPECT_EQUAL(PRESSURE_CUT, step_at(PRESSURE_NONE, 95));
  EXPECT_EQUAL(PRESSURE_CUT, step_at(PRESSURE_CALLS, 1000));
}

static void falls(void) {
  EXPECT_EQUAL(PRESSURE_CUT, step_at(PRESSURE_CUT, 90));
  EXPECT_EQUAL(PRESSURE_CALLS, step_at(PRESSURE_CUT, 89));
  EXPECT_EQUAL(PRESSURE_CALLS, step_at(PRESSURE_CALLS, 85));
  EXPECT_EQUAL(PRESSURE_CONNECTIONS, step_at(PRESSURE_CALLS, 84));
  EXPECT_EQUAL(PRESSURE_CONNECTIONS, step_at(PRESSURE_CONNECTIONS, 75));
  EXPECT_EQUAL(PRESSURE_NONE, step_at(PRESSURE_CONNECTIONS, 74));
  EXPECT_EQUAL(PRESSURE_NONE, step_at(PRESSURE_CUT, 1));
}

static void extremes(void) {
  EXPECT_EQUAL(PRESSURE_NONE, pressure_step(PRESSURE_NONE, 0, 1));
  EXPECT_EQUAL(PRESSURE_CUT, pressure_step(PRESSURE_NONE, 1000, 1));
  EXPECT_EQUAL(PRESSURE_CUT, pressure_step(PRESSURE_NONE, UINT64_MAX, UINT64_MAX));
  EXPECT_EQUAL(PRESSURE_NONE, pressure_step(PRESSURE_CUT, 0, UINT64_MAX));
  EXPECT(pressure_worth(1) == 1 && pressure_worth(kBudget) == kBudget / 100 + 1);
  EXPECT_EQUAL(kBudget / 2, pressure_budget(kBudget));
}

static const struct check checks[] = {
    {"R7: takes the steps at 80, 90 and 95 percent", rises},
    {"leaves each 5 points lower", falls},
    {"holds with budgets of any size", extremes},
};
CHECK_MAIN(checks)

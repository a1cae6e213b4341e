#include "pressure.h"

static const uint64_t kMarks[] = {0, 80, 90, 95};  // percent, by step
static const uint64_t kBelow = 5;
static const uint64_t kWorth = 100;  // of so many parts of the budget one is
static const uint64_t kPart = 2;

enum pressure_step pressure_step(enum pressure_step before, uint64_t held, uint64_t budget) {
  uint64_t percent = held / (budget / 100 + 1);
  enum pressure_step step = PRESSURE_CUT;
  while (step > PRESSURE_NONE && percent < kMarks[step] - (step <= before ? kBelow : 0)) step--;
  return step;
}

uint64_t pressure_worth(uint64_t budget) {
  return budget / kWorth + 1;
}

uint64_t pressure_budget(uint64_t memory) {
  return memory / kPart;
}

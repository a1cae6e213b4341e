#include "balance.h"

static const double kTieSeconds = 20e-6;
static const double kTieShare = 0.10;

static double finish(const struct candidate *candidate, double workload) {
  double service = candidate->score > 0 ? workload / candidate->score : 0;
  return candidate->backlog + service + candidate->round_trip;
}

static double tie_above(double seconds) {
  double share = seconds * kTieShare;
  return seconds + (share > kTieSeconds ? share : kTieSeconds);
}

int balance_choose(const struct candidate *candidates, uint32_t count, double workload,
                   uint32_t *best) {
  double least = -1, best_free = -1;
  for (uint32_t i = 0; i < count; i++) {
    // Nobody knows when it would end there.
    if (!candidates[i].free && !(candidates[i].score > 0)) continue;
    double end = finish(&candidates[i], workload);
    if (least < 0 || end < least) {
      least = end;
      *best = i;
    }
    if (candidates[i].free && (best_free < 0 || end < best_free)) best_free = end;
  }
  if (best_free < 0 || best_free > tie_above(least)) return BALANCE_WAIT;
  for (uint32_t i = 0; i < count; i++)
    if (candidates[i].free && finish(&candidates[i], workload) <= tie_above(best_free))
      return (int)i;
  return BALANCE_WAIT;
}

#include "balance.h"

static const double kTieSeconds = 20e-6;
static const double kTieShare = 0.10;
static const double kSlower = 1.25;  // less is no difference between two workers

static double tie_above(double seconds) {
  double share = seconds * kTieShare;
  return seconds + (share > kTieSeconds ? share : kTieSeconds);
}

bool balance_is_tie(double least, double end) {
  return end <= tie_above(least);
}

// The slowest free one where the call ends in time; of those as slow the first.
static int slowest(const struct candidate *candidates, uint32_t count, double workload,
                   double latest) {
  int chosen = BALANCE_WAIT;
  double pace = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (!candidates[i].free || candidates[i].wait + workload * candidates[i].pace > latest)
      continue;
    if (chosen != BALANCE_WAIT && candidates[i].pace <= pace * kSlower) continue;
    chosen = (int)i;
    pace = candidates[i].pace;
  }
  return chosen;
}

int balance_choose(const struct candidate *candidates, uint32_t count, const struct wish *wish,
                   uint32_t *best) {
  double least = -1, best_free = -1;
  for (uint32_t i = 0; i < count; i++) {
    const struct candidate *candidate = &candidates[i];
    // Nobody knows when it would end there.
    if (!candidate->free && !(candidate->pace > 0)) continue;
    if (!candidate->free && wish->full > 0 && candidate->wait > wish->full) continue;
    double end = candidate->wait + wish->workload * candidate->pace;
    if (least < 0 || end < least) {
      least = end;
      *best = i;
    }
    if (candidate->free && (best_free < 0 || end < best_free)) best_free = end;
  }
  if (best_free < 0 || best_free > tie_above(least)) return BALANCE_WAIT;
  double latest = tie_above(best_free);
  if (wish->keep > 0 && least + wish->keep > latest)
    return slowest(candidates, count, wish->workload, least + wish->keep);
  for (uint32_t i = 0; i < count; i++)
    if (candidates[i].free && candidates[i].wait + wish->workload * candidates[i].pace <= latest)
      return (int)i;
  return BALANCE_WAIT;
}

// Calls that were handed ahead (router_ahead.c) begin one after the other: each when no other runs
// or waits in this worker. Until then they lie here, in the order in which they came, so that the
// messages behind them can be read.
//
// The router may take them back meanwhile; the page says whether it has (page.h).
#include <stdatomic.h>
#include <stdlib.h>

#include "../core/memory.h"
#include "../core/payload.h"
#include "../io/page.h"
#include "executor_state.h"

// How long answers gather while calls follow one another. They are not lost when the process dies:
// the page keeps them.
static const int64_t kGather = 50 * INT64_C(1000);

static bool may_begin(const struct executor *executor, const struct message *call) {
  return !(call->flags & CALL_AHEAD) || !executor->running;
}

bool executor_ahead_hold(struct executor *executor, const struct message *call) {
  if (!executor->held && may_begin(executor, call)) return false;
  struct held *held = xcalloc(1, sizeof *held);
  held->call = *call;
  *executor->held_end = held;
  executor->held_end = &held->next;
  return true;
}

bool executor_ahead_ready(const struct executor *executor) {
  return executor->held && may_begin(executor, &executor->held->call);
}

bool executor_ahead_next(struct executor *executor, struct message *call) {
  if (!executor_ahead_ready(executor)) return false;
  struct held *held = executor->held;
  *call = held->call;
  executor->held = held->next;
  if (!held->next) executor->held_end = &executor->held;
  free(held);
  return true;
}

bool executor_ahead_claim(struct executor *executor, const struct message *call) {
  if (!(call->flags & CALL_AHEAD)) return true;
  int64_t now = wait_now();
  if (now - executor->gathers > kGather) {
    executor_flush(executor);
    executor->gathers = now;
  } else if (executor->out.size) {
    atomic_store(&executor->out_owner, OUT_LEFT);  // it may be long in this call
  }
  enum page_claim claim = page_claim(executor->page, call->sequence);
  if (claim != PAGE_GIVE_BACK) return claim == PAGE_CLAIMED;
  executor_answer(executor, call, MESSAGE_GIVE_BACK, 0, NULL);
  executor_flush(executor);
  return false;
}

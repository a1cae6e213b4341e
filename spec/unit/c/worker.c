// Checks of host/core/worker.c: which cancels wait for which call.
#include "../../../host/core/worker.h"

#include "check.h"

static void cancel_is_taken_once(void) {
  struct worker *worker = worker_new();
  enum cancel_reason reason;
  EXPECT(worker_cancel(worker, 7, CANCEL_DEADLINE));
  EXPECT_EQUAL(1, worker_cancels(worker));
  EXPECT(!worker_take(worker, 8, &reason));
  EXPECT(worker_take(worker, 7, &reason));
  EXPECT_EQUAL(CANCEL_DEADLINE, reason);
  EXPECT(!worker_take(worker, 7, &reason));
  EXPECT_EQUAL(0, worker_cancels(worker));
  worker_free(worker);
}

static bool is_even(void *owner, uint64_t sequence) {
  ++*(int *)owner;
  return sequence % 2 == 0;
}

static void cancels_match_in_order(void) {
  struct worker *worker = worker_new();
  uint64_t sequence;
  enum cancel_reason reason;
  int asked = 0;
  for (uint64_t i = 1; i <= 100; i++)
    EXPECT(worker_cancel(worker, i, i == 4 ? CANCEL_SHUTDOWN : CANCEL_CLIENT));
  for (uint64_t i = 2; i <= 100; i += 2) {
    EXPECT(worker_match(worker, is_even, &asked, &sequence, &reason));
    EXPECT_EQUAL(i, sequence);
    EXPECT_EQUAL(i == 4 ? CANCEL_SHUTDOWN : CANCEL_CLIENT, reason);
  }
  EXPECT(!worker_match(worker, is_even, &asked, &sequence, &reason));
  EXPECT(asked > 0);
  EXPECT_EQUAL(50, worker_cancels(worker));
  EXPECT(worker_take(worker, 51, &reason));
  EXPECT_EQUAL(49, worker_cancels(worker));
  worker_free(worker);
}

static void too_many_are_refused(void) {
  struct worker *worker = worker_new();
  enum cancel_reason reason;
  for (uint64_t i = 1; i <= WORKER_CANCELS; i++) EXPECT(worker_cancel(worker, i, CANCEL_CLIENT));
  EXPECT(!worker_cancel(worker, WORKER_CANCELS + 1, CANCEL_CLIENT));
  EXPECT(worker_take(worker, 1, &reason));
  EXPECT(worker_cancel(worker, WORKER_CANCELS + 1, CANCEL_CLIENT));
  worker_free(worker);
}

static const struct check kChecks[] = {
    {"keeps a cancel until it is taken, once", cancel_is_taken_once},
    {"finds cancels by what the caller knows, the oldest first", cancels_match_in_order},
    {"refuses more cancels than a router has slots", too_many_are_refused},
};

CHECK_MAIN(kChecks)

#include "baton.h"

#include <assert.h>
#include <sched.h>
#include <time.h>

#include "wait.h"

void baton_init(struct baton *baton, void (*wake)(void *owner), void *owner) {
  *baton = (struct baton){.wake = wake, .owner = owner};
  pthread_mutex_init(&baton->lock, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&baton->changed, &attributes);
  pthread_condattr_destroy(&attributes);
}

void baton_close(struct baton *baton) {
  pthread_mutex_destroy(&baton->lock);
  pthread_cond_destroy(&baton->changed);
}

// ---- the cheap way ----

bool baton_try(struct baton *baton) {
  uintptr_t nobody = 0;
  return atomic_compare_exchange_strong(&baton->holder, &nobody, (uintptr_t)pthread_self());
}

bool baton_mine(const struct baton *baton) {
  return atomic_load_explicit(&baton->holder, memory_order_relaxed) == (uintptr_t)pthread_self();
}

bool baton_wanted(const struct baton *baton) {
  return atomic_load_explicit(&baton->wanted, memory_order_relaxed) ||
         atomic_load_explicit(&baton->behind, memory_order_relaxed);
}

// The order matters, and is that of sequential consistency: who waits counts itself in `attention`
// and then looks at `holder`; who gives clears `holder` and then looks at `attention`. One of the
// two sees the other.
void baton_give(struct baton *baton) {
  assert(baton_mine(baton));
  atomic_store(&baton->holder, 0);
  if (atomic_load(&baton->attention)) baton_stir(baton);
}

void baton_stir(struct baton *baton) {
  pthread_mutex_lock(&baton->lock);
  pthread_cond_broadcast(&baton->changed);
  pthread_mutex_unlock(&baton->lock);
}

// ---- waiting ----

static void wait_until(struct baton *baton, int64_t until) {
  if (until == INT64_MAX) {
    pthread_cond_wait(&baton->changed, &baton->lock);
    return;
  }
  struct timespec time = {until / 1000000000, until % 1000000000};
  pthread_cond_timedwait(&baton->changed, &baton->lock, &time);
}

// A holder that is about to give it is quicker than a sleep.
static bool take_spinning(struct baton *baton) {
  int64_t end = wait_now() + WAIT_SPIN;
  do {
    sched_yield();
    if (baton_try(baton)) return true;
  } while (wait_now() < end);
  return false;
}

static void take_waiting(struct baton *baton) {
  pthread_mutex_lock(&baton->lock);
  uint64_t ticket = baton->tickets++;
  bool is_next = ticket == baton->served;
  atomic_fetch_add(&baton->wanted, 1);
  atomic_fetch_add(&baton->attention, 1);
  pthread_mutex_unlock(&baton->lock);
  baton->wake(baton->owner);
  bool taken = is_next && take_spinning(baton);
  pthread_mutex_lock(&baton->lock);
  while (!taken) {
    is_next = ticket == baton->served;
    if (is_next && (taken = baton_try(baton))) break;
    // Whoever holds it now may have gone to sleep after the last wake.
    if (is_next) baton->wake(baton->owner);
    wait_until(baton, INT64_MAX);
  }
  baton->served++;
  atomic_fetch_sub(&baton->wanted, 1);
  // Those that stood back.
  if (atomic_fetch_sub(&baton->attention, 1) > 1) pthread_cond_broadcast(&baton->changed);
  pthread_mutex_unlock(&baton->lock);
}

void baton_take(struct baton *baton) {
  assert(!baton_mine(baton));
  bool is_wanted = atomic_load_explicit(&baton->wanted, memory_order_relaxed) > 0;
  if (is_wanted || !baton_try(baton)) take_waiting(baton);
}

void baton_news(struct baton *baton) {
  uint64_t news = atomic_load_explicit(&baton->news, memory_order_relaxed);
  atomic_store_explicit(&baton->news, news + 1, memory_order_relaxed);
  // Who passes the baton on does so with it: none can join between this look and the lock.
  if (!atomic_load_explicit(&baton->attention, memory_order_relaxed)) return;
  pthread_mutex_lock(&baton->lock);
  atomic_store(&baton->behind, baton->passive);
  pthread_mutex_unlock(&baton->lock);
}

// Whether a thread that has last looked at news `seen`, and counts itself among the takers if it is
// `late`, stands back for nobody.
static bool is_my_turn(struct baton *baton, uint64_t seen, bool late) {
  if (atomic_load(&baton->wanted) > late) return false;
  return late || !atomic_load(&baton->behind) || seen != atomic_load(&baton->news);
}

void baton_pass(struct baton *baton, int64_t until) {
  uint64_t seen = atomic_load(&baton->news);
  bool late = false;
  pthread_mutex_lock(&baton->lock);
  baton->passive++;
  atomic_fetch_add(&baton->attention, 1);
  atomic_store(&baton->holder, 0);
  pthread_cond_broadcast(&baton->changed);
  while (!is_my_turn(baton, seen, late) || !baton_try(baton)) {
    wait_until(baton, late ? INT64_MAX : until);
    if (late || until == INT64_MAX || wait_now() < until) continue;
    late = true;
    atomic_fetch_add(&baton->wanted, 1);
    baton->wake(baton->owner);
  }
  if (late) atomic_fetch_sub(&baton->wanted, 1);
  if (seen != atomic_load(&baton->news) && atomic_load(&baton->behind))
    atomic_fetch_sub(&baton->behind, 1);
  baton->passive--;
  atomic_fetch_sub(&baton->attention, 1);
  if (baton->passive) pthread_cond_broadcast(&baton->changed);
  pthread_mutex_unlock(&baton->lock);
}

void baton_await(struct baton *baton, const atomic_bool *end) {
  pthread_mutex_lock(&baton->lock);
  atomic_fetch_add(&baton->attention, 1);
  while (!atomic_load(end) && atomic_load(&baton->holder)) wait_until(baton, INT64_MAX);
  atomic_fetch_sub(&baton->attention, 1);
  pthread_mutex_unlock(&baton->lock);
}

void baton_nap(struct baton *baton, int64_t nanoseconds, const atomic_bool *end) {
  int64_t until = wait_now() + nanoseconds;
  pthread_mutex_lock(&baton->lock);
  while (!atomic_load(end) && wait_now() < until) wait_until(baton, until);
  pthread_mutex_unlock(&baton->lock);
}

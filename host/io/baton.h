// The baton: who holds it runs the loop. A mutex that costs two atomic operations when nobody else
// wants it, and that tells its holder who does.
//
// There are two kinds of waiting for it. A taker wants to do something and is served first; who
// gives the baton and wants it again at once stands behind those that waited meanwhile. A
// thread that passes the baton on while it itself waits for something in the loop wants only to
// look, after something happened, whether it was that; or to turn the loop when nobody else does.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct baton {
  _Atomic uintptr_t holder;    // a thread, 0: free
  _Atomic uint32_t attention;  // threads to be told when it becomes free; 0: giving is cheap
  _Atomic uint32_t wanted;     // takers; changed under the lock
  pthread_mutex_t lock;
  uint64_t tickets, served;  // takers are served in their order; under the lock
  pthread_cond_t changed;
  uint32_t passive;         // threads that passed it on; under the lock
  _Atomic uint32_t behind;  // of those, the ones that have not looked since the last news
  _Atomic uint64_t news;    // how often something happened
  void (*wake)(void *owner);
  void *owner;
};

/// `wake` is called by a thread that waits for the baton: it gets a holder out of its sleep.
void baton_init(struct baton *baton, void (*wake)(void *owner), void *owner);
void baton_close(struct baton *baton);

void baton_take(struct baton *baton);
/// Takes it if it is free.
bool baton_try(struct baton *baton);
void baton_give(struct baton *baton);
bool baton_mine(const struct baton *baton);

/// With the baton: whether it should be given away soon.
bool baton_wanted(const struct baton *baton);
/// With the baton: something happened that threads which passed it on may wait for.
void baton_news(struct baton *baton);
/// With the baton: gives it away and returns with it when nobody wants it and there is news or
/// nobody turns the loop; after the instant `until` (monotonic ns) it wants it back like a taker.
void baton_pass(struct baton *baton, int64_t until);

/// Waits until nobody holds it, or `*end` is set (and baton_stir was called).
void baton_await(struct baton *baton, const atomic_bool *end);
/// Waits for `nanoseconds`, or until `*end` is set.
void baton_nap(struct baton *baton, int64_t nanoseconds, const atomic_bool *end);
/// Makes the waiting threads look again.
void baton_stir(struct baton *baton);

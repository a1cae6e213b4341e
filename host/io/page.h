// Memory shared by the router and a worker of the same machine. It survives SIGKILL and so proves
// which calls were never entered.
//
// The executor writes `entering`, `entered` and `left`, the router writes `recalled`; each reads
// the other's. A call that was handed ahead (router_ahead.c) may be taken back as long as it is not
// entered, while the worker sleeps, computes or is stopped, because both look after they have
// written:
//
//   worker, before it enters S           router, to take back all up to R
//     entering = S                         recalled = R
//     look at recalled                     look at entering
//
// In any order of these four at least one sees the other. So what lies above the `entering` that
// the router saw, up to R, is not entered any more: the worker finds `recalled` before it does. One
// call may be seen by both, the one at `entering`: the router leaves it, the worker does not enter
// it and gives it back by a message. A single call S is withdrawn in the same way: its place among
// `withdrawn` stands for `recalled`, and the worker gives back whatever it finds there. Sequences
// grow, so what is sent after a recall lies above it, and a page belongs to one process: neither is
// ever taken for something older.
//
// What a worker finds free on its GPU tells the next one there when all of it is free again.
//
// Answers that gather before they are written lie here too. When the worker has died, the router
// takes from here what it has not got through the socket: `kept_from` says where in the stream of
// all bytes that the worker has sent `kept` begins.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_WITHDRAWN = 64, PAGE_KEPT = 48 * 1024 };

struct page {
  _Atomic uint64_t entered;   // sequence of the last call whose function was entered
  _Atomic uint64_t left;      // how many calls have ended: the progress counter
  _Atomic uint64_t entering;  // of the last call handed ahead that the worker has turned to
  _Atomic uint64_t recalled;  // calls handed ahead up to this sequence are not to be entered
  _Atomic uint64_t withdrawn[PAGE_WITHDRAWN];  // nor are these, each at its sequence modulo that
  _Atomic uint64_t device_free;    // the worker: bytes its GPU had free before it took any; 0: none
  _Atomic uint64_t device_before;  // the router: that of the last one there; 0: it does not matter
  _Atomic bool device_suspect;     // the router: whoever used the GPU before did not end in order
  _Atomic uint64_t kept_from;
  _Atomic uint32_t kept_size;  // of whole frames
  unsigned char kept[PAGE_KEPT];
};

/// A new page as a memfd; `*fd` is inherited by the worker, the mapping is the router's. NULL with
/// errno set on failure.
struct page *page_create(int *fd);
/// The worker's mapping of an inherited fd, which is closed. NULL with errno set on failure.
struct page *page_open(int fd);
void page_close(struct page *page);

enum page_claim { PAGE_CLAIMED, PAGE_TAKEN, PAGE_GIVE_BACK };

/// The worker turns to the call `sequence`, handed ahead. PAGE_CLAIMED: it is the worker's;
/// PAGE_TAKEN: the router has taken it back, it is to be forgotten; PAGE_GIVE_BACK: the router may
/// not know that it is not entered, and has to be told.
enum page_claim page_claim(struct page *page, uint64_t sequence);

/// The router takes back all calls handed ahead up to `sequence`. Returns the last one that it may
/// not take: those above are not entered.
uint64_t page_recall(struct page *page, uint64_t sequence);

/// The router takes back this one. False: it may be entered yet, or its place is not free.
bool page_withdraw(struct page *page, uint64_t sequence);

/// The worker keeps what it has put behind `at` bytes that are kept. What does not fit is not kept,
/// nor what comes after it until all was written.
void page_keep(struct page *page, size_t at, const void *bytes, size_t size);

/// The worker has written `size` bytes, and keeps none.
void page_written(struct page *page, size_t size);

/// What was kept beyond the first `received` bytes of a worker that has died; it may have written
/// anything here. Returns the size.
size_t page_rest(const struct page *page, uint64_t received, const unsigned char **bytes);

// One page shared by the router and a worker of the same machine. The executor writes it, the
// router reads it; it survives SIGKILL and so proves which calls were never entered.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct page {
  _Atomic uint64_t entered;  // sequence of the last call whose function was entered
  _Atomic uint64_t left;     // how many calls have ended: the progress counter
};

/// A new page as a memfd; `*fd` is inherited by the worker, the mapping is the router's. NULL with
/// errno set on failure.
struct page *page_create(int *fd);
/// The worker's mapping of an inherited fd, which is closed. NULL with errno set on failure.
struct page *page_open(int fd);
void page_close(struct page *page);

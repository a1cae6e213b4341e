// What the files of the embedded router share. Private to embedded*.c.
//
//   embedded.c         between the cores; turns; deployments; calls and their ends; status
//   embedded_news.c    items and progress of calls that have not ended
//   embedded_poll.c    for programs with their own loop
#pragma once

#include "embedded.h"
#include "local.h"
#include "loop.h"

enum { PEER = 0 };

struct embedded {
  struct loop *loop;
  struct client *client;
  struct router *router;
  struct local *local;  // NULL until the first deployment
  uint64_t epoch;
  struct deployed *deployed;
  uint32_t deployed_count;

  size_t fresh;  // calls that ended, and news, neither taken nor told of by embedded_wait
  void (*done)(void *owner);
  void *done_owner;

  int poll_fd;   // for programs with their own loop; -1 until asked for
  int ended_fd;  // an eventfd, readable while calls that ended, or news, are not taken
  bool told;     // it is
};

/// What there is to take: calls that have ended, and news.
size_t embedded_waiting(const struct embedded *embedded);
/// `before` of them were there: notices those that came since.
void embedded_notice(struct embedded *embedded, size_t before);
/// One was taken.
void embedded_taken(struct embedded *embedded);
/// Carries out what the router has decided.
void embedded_act(struct embedded *embedded, int64_t now);

// embedded_poll.c
void embedded_tell(struct embedded *embedded);
void embedded_untell(struct embedded *embedded);

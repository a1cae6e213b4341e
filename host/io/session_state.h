// What the files of a session share. Private to session*.c.
//
//   session.c         between the cores; turns; deployments; calls and their ends; status
//   session_news.c    items and progress of calls that have not ended
//   session_poll.c    for programs with their own loop
#pragma once

#include "hub.h"
#include "loop.h"
#include "session.h"

struct session {
  struct loop *loop;
  struct client *client;
  struct hub *hub;  // with the router in this process
  uint32_t peer;    // what the client is there

  size_t fresh;  // calls that ended, and news, neither taken nor told of by session_wait
  void (*done)(void *owner);
  void *done_owner;

  int poll_fd;   // for programs with their own loop; -1 until asked for
  int ended_fd;  // an eventfd, readable while calls that ended, or news, are not taken
  bool told;     // it is
};

/// What there is to take: calls that have ended, and news.
size_t session_waiting(const struct session *session);
/// `before` of them were there: notices those that came since.
void session_notice(struct session *session, size_t before);
/// One was taken.
void session_taken(struct session *session);

// session_poll.c
void session_tell(struct session *session);
void session_untell(struct session *session);

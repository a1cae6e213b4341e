// What the files of a session share. Private to session*.c.
//
//   session.c         between the cores; turns; deployments; calls and their ends; status
//   session_join.c    deployments: in this process or served elsewhere
//   session_news.c    items and progress of calls that have not ended
//   session_poll.c    for programs with their own loop
#pragma once

#include "connection.h"
#include "fork.h"
#include "hub.h"
#include "loop.h"
#include "session.h"

// A deployment of this session; its place is its number there.
struct joined {
  struct connection *connection;  // to the router that serves it; NULL: the hub has it, as `number`
  uint32_t number;
  uint32_t functions;
  bool is_gone;  // it came to nothing
  uint64_t calls;
};

struct session {
  struct fork_mark *mark;
  struct loop *loop;
  struct client *client;
  struct hub *hub;  // with the router in this process
  uint32_t peer;    // what the client is there
  struct joined *joined;
  uint32_t joined_count;

  size_t fresh;  // calls that ended, and news, neither taken nor told of by session_wait
  void (*done)(void *owner);
  void *done_owner;

  int poll_fd;   // for programs with their own loop; -1 until asked for
  int ended_fd;  // an eventfd, readable while calls that ended, or news, are not taken
  bool told;     // it is
};

/// A message of the client, to whom it is meant for; takes over its body. It is written later.
void session_send(struct session *session, uint32_t deployment, struct message *message,
                  int64_t now);
/// Writes what is to be written at once.
void session_push(struct session *session, int64_t now);
/// Writes what was sent, and lets those go on who poll the loop themselves.
void session_flush(struct session *session);

// session_join.c
enum deployment_state session_state(const struct session *session, uint32_t deployment);
/// A message of a router. Returns whether a call has ended.
bool session_message(struct session *session, struct message *message, int64_t now);
int64_t session_turn_connections(struct session *session, int64_t now);
/// Calls of routers elsewhere have not ended.
bool session_has_out(const struct session *session);
/// They end with RouterLost.
void session_give_up(struct session *session, int64_t now);

/// What there is to take: calls that have ended, and news.
size_t session_waiting(const struct session *session);
/// `before` of them were there: notices those that came since.
void session_notice(struct session *session, size_t before);
/// One was taken.
void session_taken(struct session *session);

// session_poll.c
void session_tell(struct session *session);
void session_untell(struct session *session);

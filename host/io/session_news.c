// Items and progress of calls that have not ended.
#include "../core/payload.h"
#include "session_state.h"
#include "wait.h"

bool session_news(struct session *session, struct news *news) {
  loop_acquire(session->loop);
  size_t before = session_waiting(session);
  bool found = client_news(session->client, news);
  if (found) {
    session_taken(session);
    session_notice(session, before - 1);  // the call may have ended before
  }
  loop_release(session->loop);
  return found;
}

bool session_item(struct session *session, uint64_t call, struct payload **body, uint64_t *tag) {
  struct message credit;
  loop_acquire(session->loop);
  size_t before = session_waiting(session);
  uint32_t deployment;
  bool found = client_deployment(session->client, call, &deployment) &&
               client_item(session->client, call, body, tag, &credit);
  session_notice(session, before);
  if (found && credit.type) {
    int64_t now = wait_now();
    session_send(session, deployment, &credit, now);
    session_push(session, now);
    if (session->poll_fd >= 0) loop_turn(session->loop);
  }
  loop_release(session->loop);
  return found;
}

void session_count(struct session *session, size_t *done, size_t *told) {
  loop_acquire(session->loop);
  *done = client_done(session->client);
  *told = client_told(session->client);
  loop_release(session->loop);
}

// Items and progress of calls that have not ended.
#include "../core/payload.h"
#include "embedded_state.h"
#include "wait.h"

bool embedded_news(struct embedded *embedded, struct news *news) {
  loop_acquire(embedded->loop);
  size_t before = embedded_waiting(embedded);
  bool found = client_news(embedded->client, news);
  if (found) {
    embedded_taken(embedded);
    embedded_notice(embedded, before - 1);  // the call may have ended before
  }
  loop_release(embedded->loop);
  return found;
}

bool embedded_item(struct embedded *embedded, uint64_t call, struct payload **body, uint64_t *tag) {
  struct message credit;
  loop_acquire(embedded->loop);
  size_t before = embedded_waiting(embedded);
  bool found = client_item(embedded->client, call, body, tag, &credit);
  embedded_notice(embedded, before);
  if (found && credit.type) {
    int64_t now = wait_now();
    router_client_message(embedded->router, PEER, 0, &credit, now);
    embedded_act(embedded, now);
    if (embedded->local) local_push(embedded->local, now);
    if (embedded->poll_fd >= 0) loop_turn(embedded->loop);
  }
  loop_release(embedded->loop);
  return found;
}

void embedded_count(struct embedded *embedded, size_t *done, size_t *told) {
  loop_acquire(embedded->loop);
  *done = client_done(embedded->client);
  *told = client_told(embedded->client);
  loop_release(embedded->loop);
}

// What passes through while a call runs: items and progress to its client, credit to its worker.
//
// The router holds no item back. It counts what is out, so that a worker that runs ahead of its
// credit cannot fill its client's memory: such a call ends in an error, because a stream that lacks
// an item must not look whole.
//
// A call of which an item has reached its client ran, and is not tried again.
#include "payload.h"
#include "router_state.h"

static void pass_on(struct router *router, const struct call *call, struct message *message) {
  struct action *action = router_send(router, message);
  action->peer = call->peer;
  action->deployment = call->deployment;
  message->body = NULL;
}

static void overdrawn(struct router *router, struct worker *worker, struct call *call,
                      int64_t now) {
  struct error_writer writer;
  error_begin(&writer, ERROR_INTERNAL, EXECUTED_YES, false, "router");
  error_message(&writer,
                "worker %u sent more than the %.0f bytes of items that its client waits for",
                worker->number, (double)call->credit.window);
  error_string(&writer, "deployment", call_deployment(router, call)->name);
  error_number(&writer, "worker", worker->number);
  router_call_abandon(router, call, CANCEL_CLIENT, error_end(&writer), now);
  router_call_unexpected(router, worker);
}

static void item(struct router *router, struct worker *worker, struct call *call,
                 struct message *message, int64_t now) {
  bool may_send = credit_left(&call->credit);
#ifdef PLANT_OVERDRAWN
  may_send = true;
#endif
  if (!may_send) {
    overdrawn(router, worker, call, now);
    return;
  }
  credit_spend(&call->credit, message->body->size);
  call->started = call->has_items = true;
#ifndef PLANT_STREAM_RETRIED
  call->attempts = call->attempt;
#endif
  pass_on(router, call, message);
}

void router_stream_message(struct router *router, struct worker *worker, struct message *message,
                           int64_t now) {
  struct call *call = router_call_find(router, worker, message);
  uint32_t flag = message->type == MESSAGE_ITEM ? CALL_STREAM : CALL_PROGRESS;
  bool is_over = call && call->state == CALL_ABANDONED;
#ifdef PLANT_ITEM_LATE
  is_over = is_over && call->peer == ROUTER_NONE;
#endif
  if (!call || !(call->flags & flag))
    router_call_unexpected(router, worker);
  else if (is_over)
    call_deployment(router, call)->dropped++;
  else if (message->type == MESSAGE_ITEM)
    item(router, worker, call, message, now);
  else
    pass_on(router, call, message);
  payload_unref(message->body);
}

void router_stream_credit(struct router *router, struct call *call, uint32_t bytes) {
  if (call->state != CALL_RUNNING) return;
  bytes = credit_give(&call->credit, bytes);
#ifdef PLANT_CREDIT_TWICE
  credit_give(&call->credit, bytes);
#endif
#ifdef PLANT_CREDIT_LOST
  if (call->sequence % 16 == 0) return;
#endif
  if (!bytes) return;
  router_worker_send(router, call_worker(router, call),
                     &(struct message){.type = MESSAGE_CREDIT,
                                       .id = call->id,
                                       .attempt = call->attempt,
                                       .sequence = call->sequence,
                                       .credit = bytes});
}

// Brings events to the router and carries out its actions, as host/io does in a process.
#include <string.h>

#include "world.h"

// ---- clients ----

void shell_client_comes(struct world *world, uint32_t number) {
  trace(world, CLIENT_COMES, number, world->people[number].incarnation, NULL);
  router_client(world->router, number, world->now);
}

void shell_client_goes(struct world *world, uint32_t number) {
  trace(world, CLIENT_GOES, number, world->people[number].incarnation, NULL);
  world->people[number].connected = false;
  truth_leaves(world, number);
  router_client_gone(world->router, number, world->now);
  shell_actions(world);
}

void shell_client_sends(struct world *world, uint32_t number, uint32_t deployment,
                        struct message *message) {
  if (!world->people[number].latency)
    trace(world, CLIENT_SENDS, number, world->people[number].incarnation, message);
  if (message->type == MESSAGE_CALL) {
    struct record *record = record_find(world, message->id);
    bool first = record && record->client == number && record->where == AT_CLIENT;
    // An id that has ended, or one that another client will send yet, is as good as a new one for
    // the router; the truth knows one call per id.
    if (!record || record->where == AT_END || (record->where == AT_CLIENT && !first)) {
      payload_unref(message->body);
      return;
    }
    if (first) truth_arrives(world, record, message);
  } else if (message->type == MESSAGE_CANCEL) {
    truth_cancels(world, number, message);
  } else if (message->type == MESSAGE_CREDIT) {
    stream_truth_credit(world, number, message);
  }
  router_client_message(world->router, number, deployment, message, world->now);
  shell_actions(world);
}

// ---- workers ----

void shell_worker_sends(struct world *world, struct event *event) {
  struct process *process = &world->processes[event->who];
  if (event->sequence == 0 && process->generation == event->generation) process->under_way--;
  truth_worker_sends(world, event);
  router_worker_message(world->router, event->who, event->generation, &event->message, world->now);
  shell_actions(world);
}

void shell_worker_lost(struct world *world, const struct event *event) {
  const struct process *process = &world->processes[event->who];
  truth_lost(world, event->who);
  router_worker_lost(world->router, event->who, event->generation, process->reason, process->code,
                     process->entered, world->now);
  shell_actions(world);
}

// ---- time ----

void shell_tick(struct world *world) {
  trace(world, TICK, 0, 0, NULL);
  world->tick = true;
  for (uint32_t i = 0; i < world->seat_count; i++)
    if (world->seats[i].slot_count)
      router_worker_entered(world->router, i, world->seats[i].generation,
                            process_page(&world->processes[i]));
  truth_ticks(world);
  router_tick(world->router, world->now);
  shell_actions(world);
  for (uint32_t i = 0; i < world->people_count; i++) {
    if (!world->people[i].connected) continue;
    client_tick(world->people[i].client, world->now);
    client_checks(world, i);
  }
}

void shell_drain(struct world *world) {
  trace(world, ROUTER_DRAINS, 0, 0, NULL);
  truth_drains(world);
  router_drain(world->router, world->now);
  shell_actions(world);
  judge_step(world);
}

// ---- actions ----

static void send_to_client(struct world *world, struct action *action) {
  struct person *person = &world->people[action->peer];
  trace(world, CLIENT_GETS, action->peer, person->incarnation, &action->message);
  if (action->message.type == MESSAGE_ITEM || action->message.type == MESSAGE_PROGRESS)
    stream_judge(world, action);
  else
    judge_outcome(world, action);
  if (!person->latency) {
    client_hears(world, action->peer, &action->message);
    return;
  }
  int64_t at = world->now + chance_time(&world->chance, 2 * person->latency);
  if (at < person->last_got) at = person->last_got;
  person->last_got = at;
  event_add(world, at, CLIENT_GETS, action->peer, person->incarnation)->message = action->message;
}

static void send_to_worker(struct world *world, struct action *action) {
  struct process *process = &world->processes[action->worker];
  bool is_call = action->message.type == MESSAGE_CALL;
  if (is_call) judge_dispatched(world, action);
  bool is_credit = action->message.type == MESSAGE_CREDIT;
  if (is_credit) stream_judge_credit(world, action);
  if (action->message.type == MESSAGE_PING) judge_pinged(world, action);
  if (action->message.type == MESSAGE_DRAIN) judge_drained(world, action);
  int64_t *last = is_call || is_credit ? &process->data_in : &process->control_in;
  int64_t at = world->now + chance_time(&world->chance, 2 * world->worker_latency);
  if (at < *last) at = *last;
  *last = at;
  event_add(world, at, WORKER_GETS, action->worker, action->generation)->message = action->message;
}

static void kill(struct world *world, const struct action *action) {
  trace(world, ROUTER_KILLS, action->worker, action->generation, NULL);
  judge_killed(world, action);
  int64_t at = world->now + chance_time(&world->chance, MILLISECONDS(10));
  event_add(world, at, WORKER_DIES, action->worker, action->generation)->sequence = 9;
}

void shell_actions(struct world *world) {
  struct action action;
  while (router_next(world->router, &action)) {
    switch (action.type) {
      case ROUTER_SEND:
        if (action.peer == ROUTER_NONE)
          send_to_worker(world, &action);
        else
          send_to_client(world, &action);
        break;
      case ROUTER_START:
        trace(world, ROUTER_STARTS, action.worker, action.generation, NULL);
        judge_started(world, &action);
        process_start(world, action.worker, action.generation);
        break;
      case ROUTER_KILL:
        kill(world, &action);
        break;
      case ROUTER_PARK:
      case ROUTER_UNPARK:
        scale_told(world, &action);
        break;
      case ROUTER_RECALL:
        ahead_recalled(world, &action);
        break;
      case ROUTER_WITHDRAW:
        ahead_withdrawn(world, &action);
        break;
      case ROUTER_LOG:
        trace(world, ROUTER_LOGS, action.deployment, (uint32_t)strlen(action.text), NULL);
        break;
      case ROUTER_CLOSE:
        violation(world, "the router closes the connection of client %u", action.peer);
    }
  }
}

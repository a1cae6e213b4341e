#include "client.h"

#include "error.h"
#include "limits.h"
#include "memory.h"
#include "payload.h"
#include "table.h"
#include "timer.h"

// How long after the deadline the client waits for the router's word.
static const int64_t kPatience = NANOSECONDS_PER_SECOND;

struct entry {
  uint64_t call, tag;
  struct timer timer;
  struct entry *previous, *next;  // of the ended, in the order in which they ended
  bool ended, ok;
  struct payload *body;
  int64_t elapsed;
};

struct client {
  uint64_t session, counter;
  struct table entries;  // by call number; pending and ended
  struct timers timers;
  struct entry *first, *last, *spare;
  size_t pending, done;
};

#define OWNER(at) ((struct entry *)(void *)((char *)(at)-offsetof(struct entry, timer)))

static struct call_id id_of(const struct client *client, uint64_t call) {
  return (struct call_id){client->session, call};
}

struct client *client_new(uint64_t session) {
  struct client *client = xcalloc(1, sizeof *client);
  client->session = session;
  table_init(&client->entries, session);
  return client;
}

void client_free(struct client *client) {
  if (!client) return;
  for (size_t i = 0; i < client->entries.capacity; i++) {
    struct entry *entry = client->entries.entries[i].value;
    if (!entry) continue;
    payload_unref(entry->body);
    free(entry);
  }
  while (client->spare) {
    struct entry *entry = client->spare;
    client->spare = entry->next;
    free(entry);
  }
  table_close(&client->entries);
  timers_close(&client->timers);
  free(client);
}

static struct entry *entry_new(struct client *client) {
  struct entry *entry = client->spare;
  if (!entry) return xcalloc(1, sizeof *entry);
  client->spare = entry->next;
  *entry = (struct entry){0};
  return entry;
}

// The latest instant at which the router may answer.
static int64_t backstop(const struct call_options *options, int64_t now) {
  int64_t timeout = options->timeout > 0 ? options->timeout : LIMIT_READY + LIMIT_DEADLINE_DEFAULT;
  if (timeout > LIMIT_DEADLINE || options->timeout == 0) timeout = LIMIT_DEADLINE;
  return now + timeout + kPatience;
}

int client_call(struct client *client, const struct call_options *options, struct payload *body,
                int64_t now, struct message *message, uint64_t *call) {
  if (client->pending >= LIMIT_IN_FLIGHT) {
    payload_unref(body);
    return CLIENT_BUSY;
  }
  struct entry *entry = entry_new(client);
  entry->call = ++client->counter;
  entry->tag = options->tag;
  table_add(&client->entries, id_of(client, entry->call), entry);
  timers_set(&client->timers, &entry->timer, backstop(options, now));
  client->pending++;
  *call = entry->call;
  *message =
      (struct message){.type = MESSAGE_CALL,
                       .id = id_of(client, entry->call),
                       .attempt = 1,
                       .function = options->function,
                       .remaining = options->timeout,
                       .workload = options->workload,
                       .priority = options->priority,
                       .flags = options->flags | (options->timeout ? 0 : CALL_DEFAULT_DEADLINE),
                       .body = body};
  return CLIENT_OK;
}

bool client_cancel(struct client *client, uint64_t call, struct message *message) {
  struct entry *entry = table_find(&client->entries, id_of(client, call));
  if (!entry || entry->ended) return false;
  *message = (struct message){
      .type = MESSAGE_CANCEL, .id = id_of(client, call), .attempt = 1, .reason = CANCEL_CLIENT};
  return true;
}

static void end(struct client *client, struct entry *entry, bool ok, int64_t elapsed,
                struct payload *body) {
  timers_cancel(&client->timers, &entry->timer);
  entry->ended = true;
  entry->ok = ok;
  entry->elapsed = elapsed;
  entry->body = body;
  entry->previous = client->last;
  entry->next = NULL;
  *(client->last ? &client->last->next : &client->first) = entry;
  client->last = entry;
  client->pending--;
  client->done++;
}

void client_message(struct client *client, struct message *message, int64_t now) {
  (void)now;
  bool ok = message->type == MESSAGE_RESULT;
  struct entry *entry = NULL;
  if (ok || message->type == MESSAGE_ERROR) entry = table_find(&client->entries, message->id);
  if (!entry || entry->ended) {
    payload_unref(message->body);
    return;
  }
  end(client, entry, ok, message->elapsed, message->body);
}

static struct payload *router_lost(const char *why) {
  struct error_writer writer;
  error_begin(&writer, ERROR_ROUTER_LOST, EXECUTED_MAYBE, false, "sdk");
  error_message(&writer, "%s", why);
  return error_end(&writer);
}

void client_lost(struct client *client, int64_t now) {
  (void)now;
  struct timer *timer;
  while ((timer = timers_first(&client->timers))) {
    struct entry *entry = OWNER(timer);
    end(client, entry, false, 0, router_lost("the connection to the router is gone"));
  }
}

void client_tick(struct client *client, int64_t now) {
  struct timer *timer;
  while ((timer = timers_first(&client->timers)) && timer->at <= now) {
    struct entry *entry = OWNER(timer);
    struct error_writer writer;
    error_begin(&writer, ERROR_DEADLINE_EXCEEDED, EXECUTED_MAYBE, false, "sdk");
    error_message(&writer, "the deadline passed and the router did not answer");
    error_string(&writer, "phase", "reply");
    end(client, entry, false, 0, error_end(&writer));
  }
}

int64_t client_deadline(const struct client *client) {
  struct timer *timer = timers_first(&client->timers);
  return timer ? timer->at : INT64_MAX;
}

static void take(struct client *client, struct entry *entry, struct completion *completion) {
  *completion =
      (struct completion){entry->call, entry->tag, entry->ok, entry->body, entry->elapsed};
  *(entry->previous ? &entry->previous->next : &client->first) = entry->next;
  *(entry->next ? &entry->next->previous : &client->last) = entry->previous;
  table_remove(&client->entries, id_of(client, entry->call));
  client->done--;
  entry->next = client->spare;
  client->spare = entry;
}

bool client_take(struct client *client, uint64_t call, struct completion *completion) {
  struct entry *entry = table_find(&client->entries, id_of(client, call));
  if (!entry || !entry->ended) return false;
  take(client, entry, completion);
  return true;
}

bool client_next(struct client *client, struct completion *completion) {
  if (!client->first) return false;
  take(client, client->first, completion);
  return true;
}

bool client_ended(const struct client *client, uint64_t call) {
  const struct entry *entry = table_find(&client->entries, id_of(client, call));
  return entry && entry->ended;
}

uint64_t client_first(const struct client *client) {
  struct timer *timer = timers_first(&client->timers);
  return timer ? OWNER(timer)->call : 0;
}

size_t client_pending(const struct client *client) {
  return client->pending;
}

size_t client_done(const struct client *client) {
  return client->done;
}

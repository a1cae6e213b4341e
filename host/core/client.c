#include "client.h"

#include "error.h"
#include "limits.h"
#include "memory.h"
#include "payload.h"
#include "timer.h"

// How long after the deadline the client waits for the router's word.
static const int64_t kPatience = NANOSECONDS_PER_SECOND;

// Numbers are dense in their low bits, so that whoever keeps something by number can keep it in an
// array: the low ones are a place in `entries`, the others count how often it was used. Together
// they are an integer that a double holds.
enum { PLACE_BITS = 20, PLACES = 1 << PLACE_BITS };

struct entry {
  uint64_t call, tag;
  struct timer timer;
  struct entry *previous, *next;  // of the ended, in the order in which they ended
  bool used, ended, ok;
  struct payload *body;
  int64_t elapsed;
};

struct client {
  uint64_t session;
  struct entry **entries;  // by place; those in use are pending or ended
  uint32_t count, capacity;
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
  return client;
}

void client_free(struct client *client) {
  if (!client) return;
  for (uint32_t i = 0; i < client->count; i++) {
    payload_unref(client->entries[i]->body);
    free(client->entries[i]);
  }
  free(client->entries);
  timers_close(&client->timers);
  free(client);
}

// NULL: there is no place left.
static struct entry *entry_new(struct client *client) {
  struct entry *entry = client->spare;
  if (!entry && client->count == PLACES) return NULL;
  if (entry) {
    client->spare = entry->next;
    *entry = (struct entry){.call = entry->call + PLACES};
    return entry;
  }
  if (client->count == client->capacity) {
    client->capacity = client->capacity ? 2 * client->capacity : 64;
    client->entries = xrealloc(client->entries, client->capacity * sizeof *client->entries);
  }
  entry = client->entries[client->count] = xcalloc(1, sizeof *entry);
  entry->call = PLACES + client->count++;
  return entry;
}

static struct entry *find(const struct client *client, uint64_t call) {
  uint64_t place = call & (PLACES - 1);
  struct entry *entry = place < client->count ? client->entries[place] : NULL;
  return entry && entry->used && entry->call == call ? entry : NULL;
}

// The latest instant at which the router may answer.
static int64_t backstop(const struct call_options *options, int64_t now) {
  int64_t timeout = options->timeout > 0 ? options->timeout : LIMIT_READY + LIMIT_DEADLINE_DEFAULT;
  if (timeout > LIMIT_DEADLINE || options->timeout == 0) timeout = LIMIT_DEADLINE;
  return now + timeout + kPatience;
}

int client_call(struct client *client, const struct call_options *options, struct payload *body,
                int64_t now, struct message *message, uint64_t *call) {
  struct entry *entry = client->pending < LIMIT_IN_FLIGHT ? entry_new(client) : NULL;
  if (!entry) {
    payload_unref(body);
    return CLIENT_BUSY;
  }
  entry->used = true;
  entry->tag = options->tag;
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
                       .queue_timeout = options->queue_timeout,
                       .attempts = options->attempts,
                       .parent = options->parent,
                       .flags = options->flags | (options->timeout ? 0 : CALL_DEFAULT_DEADLINE),
                       .body = body};
  return CLIENT_OK;
}

bool client_cancel(struct client *client, uint64_t call, struct message *message) {
  struct entry *entry = find(client, call);
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
  if (ok || message->type == MESSAGE_ERROR) entry = find(client, message->id.counter);
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
  entry->used = false;
  entry->body = NULL;
  client->done--;
  entry->next = client->spare;
  client->spare = entry;
}

bool client_take(struct client *client, uint64_t call, struct completion *completion) {
  struct entry *entry = find(client, call);
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
  const struct entry *entry = find(client, call);
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

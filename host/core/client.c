#include "client.h"

#include "credit.h"
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
  struct list *list;              // it is in: the done or those with news
  struct entry *previous, *next;  // there
  bool used, ended, ok;
  bool is_spared;  // from the next client_lost_deployment
  uint32_t deployment;
  struct payload *body;
  int64_t elapsed;

  uint32_t flags;
  bool is_deaf;     // cancelled: nothing more is kept of it
  bool is_awaited;  // somebody wants an item
  bool has_progress;
  double n, total;
  uint64_t window, consumed;  // consumed: and not given back
  struct payload **items;     // a ring
  uint32_t item_first, item_count, item_capacity;
};

// Entries in the order in which they came.
struct list {
  struct entry *first, *last;
  size_t count;
};

struct client {
  uint64_t session;
  struct entry **entries;  // by place; those in use are pending or ended
  uint32_t count, capacity;
  struct timers timers;
  struct entry *spare;
  struct list done, told;  // told: there are news
  size_t pending;
};

#define OWNER(at) ((struct entry *)(void *)((char *)(at)-offsetof(struct entry, timer)))

static struct call_id id_of(const struct client *client, uint64_t call) {
  return (struct call_id){client->session, call};
}

static void list_add(struct list *list, struct entry *entry) {
  entry->list = list;
  entry->previous = list->last;
  entry->next = NULL;
  *(list->last ? &list->last->next : &list->first) = entry;
  list->last = entry;
  list->count++;
}

static void list_remove(struct entry *entry) {
  struct list *list = entry->list;
  if (!list) return;
  *(entry->previous ? &entry->previous->next : &list->first) = entry->next;
  *(entry->next ? &entry->next->previous : &list->last) = entry->previous;
  entry->list = NULL;
  list->count--;
}

// ---- items ----

static void push_item(struct entry *entry, struct payload *body) {
  if (entry->item_count == entry->item_capacity) {
    uint32_t capacity = entry->item_capacity ? 2 * entry->item_capacity : 16;
    struct payload **items = xcalloc(capacity, sizeof *items);
    for (uint32_t i = 0; i < entry->item_count; i++)
      items[i] = entry->items[(entry->item_first + i) & (entry->item_capacity - 1)];
    free(entry->items);
    entry->items = items;
    entry->item_first = 0;
    entry->item_capacity = capacity;
  }
  entry->items[(entry->item_first + entry->item_count++) & (entry->item_capacity - 1)] = body;
}

static struct payload *pop_item(struct entry *entry) {
  struct payload *body = entry->items[entry->item_first];
  entry->item_first = (entry->item_first + 1) & (entry->item_capacity - 1);
  entry->item_count--;
  return body;
}

static void free_items(struct entry *entry) {
  while (entry->item_count) payload_unref(pop_item(entry));
  free(entry->items);
  entry->items = NULL;
  entry->item_first = entry->item_capacity = 0;
}

// ---- life ----

struct client *client_new(uint64_t session) {
  struct client *client = xcalloc(1, sizeof *client);
  client->session = session;
  return client;
}

void client_free(struct client *client) {
  if (!client) return;
  for (uint32_t i = 0; i < client->count; i++) {
    payload_unref(client->entries[i]->body);
    free_items(client->entries[i]);
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
  entry->deployment = options->deployment;
  entry->flags = options->flags;
  entry->is_awaited = options->flags & CALL_STREAM;
  entry->window = credit_of(options->window).window;
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
                       .credit = options->window,
                       .key = options->key,
                       .key_size = options->key_size,
                       .flags = options->flags | (options->timeout ? 0 : CALL_DEFAULT_DEADLINE),
                       .body = body};
  return CLIENT_OK;
}

// A call has ended when the router has said so and nothing is left to be taken before that.
static void settle(struct client *client, struct entry *entry) {
  if (!entry->ended || entry->list == &client->done) return;
  if (entry->item_count || entry->has_progress) return;
  list_remove(entry);
  list_add(&client->done, entry);
}

static void tell(struct client *client, struct entry *entry) {
  if (!entry->list) list_add(&client->told, entry);
}

bool client_cancel(struct client *client, uint64_t call, struct message *message) {
  struct entry *entry = find(client, call);
  if (!entry) return false;
  if (entry->flags & (CALL_STREAM | CALL_PROGRESS)) {
    entry->is_deaf = true;
    entry->has_progress = false;
    free_items(entry);
    if (entry->list == &client->told) list_remove(entry);
    settle(client, entry);
  }
  if (entry->ended) return false;
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
  client->pending--;
  settle(client, entry);
}

// False: nobody wants it.
static bool keep(struct client *client, struct entry *entry, const struct message *message) {
  if (message->type == MESSAGE_ITEM && entry->flags & CALL_STREAM) {
    push_item(entry, message->body);
    if (entry->is_awaited) tell(client, entry);
    return true;
  }
  if (message->type == MESSAGE_PROGRESS && entry->flags & CALL_PROGRESS) {
    entry->has_progress = true;
    entry->n = message->n;
    entry->total = message->total;
    tell(client, entry);
  }
  return false;
}

void client_message(struct client *client, struct message *message, int64_t now) {
  (void)now;
  bool ok = message->type == MESSAGE_RESULT;
  struct entry *entry = find(client, message->id.counter);
  if (entry && entry->ended) entry = NULL;
  if (entry && (ok || message->type == MESSAGE_ERROR))
    end(client, entry, ok, message->elapsed, message->body);
  else if (!entry || entry->is_deaf || !keep(client, entry, message))
    payload_unref(message->body);
}

bool client_item(struct client *client, uint64_t call, struct payload **body, uint64_t *tag,
                 struct message *credit) {
  struct entry *entry = find(client, call);
  *credit = (struct message){0};
  if (!entry) return false;
  if (!entry->item_count) {
    entry->is_awaited = !entry->ended;
    return false;
  }
  entry->is_awaited = false;
  *body = pop_item(entry);
  *tag = entry->tag;
  entry->consumed += credit_cost((*body)->size);
  settle(client, entry);
  if (entry->ended || 2 * entry->consumed < entry->window) return true;
  *credit = (struct message){.type = MESSAGE_CREDIT,
                             .id = id_of(client, call),
                             .attempt = 1,
                             .credit = (uint32_t)entry->consumed};
  entry->consumed = 0;
  return true;
}

bool client_news(struct client *client, struct news *news) {
  struct entry *entry = client->told.first;
  if (!entry) return false;
  *news = (struct news){.call = entry->call,
                        .tag = entry->tag,
                        .has_item = entry->is_awaited && entry->item_count,
                        .has_progress = entry->has_progress,
                        .n = entry->n,
                        .total = entry->total};
  entry->has_progress = false;
  if (news->has_item) entry->is_awaited = false;
  list_remove(entry);
  settle(client, entry);
  return true;
}

static struct payload *router_lost(uint64_t epoch) {
  struct error_writer writer;
  error_begin(&writer, ERROR_ROUTER_LOST, EXECUTED_MAYBE, false, "sdk");
  error_message(&writer, "the connection to the router is gone");
  error_epoch(&writer, epoch);
  return error_end(&writer);
}

static void lose(struct client *client, struct entry *entry, uint64_t epoch) {
  end(client, entry, false, 0, router_lost(epoch));
}

void client_lost(struct client *client, int64_t now) {
  (void)now;
  struct timer *timer;
  while ((timer = timers_first(&client->timers))) lose(client, OWNER(timer), 0);
}

void client_lost_deployment(struct client *client, uint32_t deployment, uint64_t epoch,
                            int64_t now) {
  (void)now;
  for (uint32_t i = 0; i < client->count; i++) {
    struct entry *entry = client->entries[i];
    if (!entry->used || entry->ended || entry->deployment != deployment) continue;
    if (!entry->is_spared) lose(client, entry, epoch);
    entry->is_spared = false;
  }
}

void client_spare(struct client *client, uint64_t call) {
  struct entry *entry = find(client, call);
  if (entry) entry->is_spared = true;
}

bool client_deployment(const struct client *client, uint64_t call, uint32_t *deployment) {
  const struct entry *entry = find(client, call);
  if (entry) *deployment = entry->deployment;
  return entry;
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
  *completion = (struct completion){entry->call, entry->tag,     entry->ok,
                                    entry->body, entry->elapsed, client->session};
  list_remove(entry);
  free_items(entry);
  entry->used = false;
  entry->body = NULL;
  entry->next = client->spare;
  client->spare = entry;
}

bool client_take(struct client *client, uint64_t call, struct completion *completion) {
  struct entry *entry = find(client, call);
  if (!entry || entry->list != &client->done) return false;
  take(client, entry, completion);
  return true;
}

bool client_next(struct client *client, struct completion *completion) {
  if (!client->done.first) return false;
  take(client, client->done.first, completion);
  return true;
}

bool client_ended(const struct client *client, uint64_t call) {
  const struct entry *entry = find(client, call);
  return entry && entry->list == &client->done;
}

void client_each(const struct client *client, void (*each)(uint64_t call, void *owner),
                 void *owner) {
  for (uint32_t i = 0; i < client->count; i++) {
    const struct entry *entry = client->entries[i];
    if (entry->used && !entry->ended) each(entry->call, owner);
  }
}

size_t client_pending(const struct client *client) {
  return client->pending;
}

size_t client_done(const struct client *client) {
  return client->done.count;
}

size_t client_told(const struct client *client) {
  return client->told.count;
}

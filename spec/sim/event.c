// What happens next, and what has happened.
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "world.h"

struct heap_entry {
  int64_t at;
  uint32_t order, index;
};

static const char *const names[HAPPENINGS] = {
    [CLIENT_ACTS] = "client acts",
    [CLIENT_SENDS] = "client -> router",
    [CLIENT_GETS] = "router -> client",
    [WORKER_GETS] = "router -> worker",
    [WORKER_SENDS] = "worker -> router",
    [WORKER_LOADED] = "worker has loaded",
    [WORKER_ENTERS] = "worker enters",
    [WORKER_ENDS] = "worker ends a call",
    [WORKER_YIELDS] = "worker yields",
    [CLIENT_READS] = "client reads",
    [WORKER_DIES] = "worker dies",
    [WORKER_LOST_SEEN] = "worker lost",
    [TICK] = "tick",
    [CLIENT_COMES] = "client comes",
    [CLIENT_GOES] = "client goes",
    [ROUTER_STARTS] = "router starts",
    [ROUTER_KILLS] = "router kills",
    [ROUTER_LOGS] = "router logs",
    [ROUTER_DRAINS] = "router drains",
    [DEPLOYMENT_ENDS] = "deployment ends",
    [ROUTER_FINISHES] = "router finishes",
    [FAULTS_STOP] = "faults stop",
};

// ---- the heap ----

static bool before(const struct heap_entry *a, const struct heap_entry *b) {
  return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct world *world, struct heap_entry entry) {
  if (world->heap_count == world->heap_capacity) {
    world->heap_capacity = world->heap_capacity ? 2 * world->heap_capacity : 256;
    world->heap = realloc(world->heap, world->heap_capacity * sizeof *world->heap);
  }
  uint32_t at = world->heap_count++;
  for (; at && before(&entry, &world->heap[(at - 1) / 2]); at = (at - 1) / 2)
    world->heap[at] = world->heap[(at - 1) / 2];
  world->heap[at] = entry;
}

static struct heap_entry heap_pop(struct world *world) {
  struct heap_entry top = world->heap[0], last = world->heap[--world->heap_count];
  uint32_t at = 0;
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= world->heap_count) break;
    if (child + 1 < world->heap_count && before(&world->heap[child + 1], &world->heap[child]))
      child++;
    if (!before(&world->heap[child], &last)) break;
    world->heap[at] = world->heap[child];
    at = child;
  }
  if (world->heap_count) world->heap[at] = last;
  return top;
}

struct event *event_add(struct world *world, int64_t at, enum happening kind, uint32_t who,
                        uint32_t generation) {
  uint32_t index;
  if (world->free_count) {
    index = world->free_events[--world->free_count];
  } else {
    if (world->pool_count == world->pool_capacity) {
      world->pool_capacity = world->pool_capacity ? 2 * world->pool_capacity : 256;
      world->pool = realloc(world->pool, world->pool_capacity * sizeof *world->pool);
      world->free_events =
          realloc(world->free_events, world->pool_capacity * sizeof *world->free_events);
    }
    index = world->pool_count++;
  }
  heap_push(world, (struct heap_entry){at, world->order++, index});
  struct event *event = &world->pool[index];
  *event = (struct event){.at = at, .kind = kind, .who = who, .generation = generation};
  return event;
}

bool event_next(struct world *world, struct event *event) {
  if (!world->heap_count) return false;
  uint32_t index = heap_pop(world).index;
  *event = world->pool[index];
  world->free_events[world->free_count++] = index;
  return true;
}

int64_t event_at(const struct world *world) {
  return world->heap_count ? world->heap[0].at : INT64_MAX;
}

void event_close(struct world *world) {
  struct event event;
  while (event_next(world, &event)) payload_unref(event.message.body);
  free(world->heap);
  free(world->pool);
  free(world->free_events);
}

const char *event_name(enum happening kind) {
  return names[kind];
}

// ---- the trace ----

static void mix(uint64_t *hash, uint64_t value) {
  *hash = (*hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
  *hash ^= *hash >> 29;
}

static void print(const struct moment *moment) {
  printf("%14.6f  %-18s %3" PRIu32, (double)moment->at / 1e9, names[moment->kind], moment->who);
  if (moment->generation) printf("/%" PRIu32, moment->generation);
  if (moment->type) printf("  %s", message_name((enum message_type)moment->type));
  if (moment->call) printf("  call %" PRIu64, moment->call);
  if (moment->sequence) printf("  sequence %" PRIu64, moment->sequence);
  printf("\n");
}

void trace(struct world *world, enum happening kind, uint32_t who, uint32_t generation,
           const struct message *message) {
  struct moment moment = {world->now, kind, who, generation, 0, 0, 0};
  if (message) {
    moment.type = message->type;
    moment.call = message->id.counter;
    moment.sequence = message->sequence;
  }
  mix(&world->hash, (uint64_t)moment.at);
  mix(&world->hash, ((uint64_t)kind << 56) + ((uint64_t)who << 32) + generation);
  if (message) {
    mix(&world->hash, (moment.call << 8) + moment.type);
    mix(&world->hash, (message->id.session << 24) + moment.sequence);
    if (message->body) mix(&world->hash, message->body->size);
  }
  if (world->life->traced) print(&moment);
  world->statistics->events[kind]++;
  world->ring[world->moments++ % RING] = moment;
}

void violation(struct world *world, const char *format, ...) {
  uint64_t shown = world->moments < RING ? world->moments : RING;
  if (!world->life->traced)
    for (uint64_t i = world->moments - shown; i < world->moments; i++)
      print(&world->ring[i % RING]);
  printf("seed %" PRIu64 ", step %" PRIu32 ", at %.6f s: ", world->seed, world->step,
         (double)world->now / 1e9);
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  const struct life *life = world->life;
  printf("\nsee all of it with: %s --%s %" PRIu32 " --trace %" PRIu64 "\n", life->program,
         life->seconds ? "seconds" : "steps", life->seconds ? life->seconds : life->steps,
         world->seed);
  exit(1);
}

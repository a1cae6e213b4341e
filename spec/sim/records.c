// The records of all calls: by number, and by their ids.
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { CHUNK = 1024 };

static struct record **index_slot(const struct person *person, uint64_t counter) {
  uint64_t slot = counter * UINT64_C(0x9e3779b97f4a7c15) >> 32;
  for (;; slot++) {
    struct record **at = &person->index[slot & (person->index_capacity - 1)];
    if (!*at || (*at)->id.counter == counter) return at;
  }
}

// After `records` has got one more.
static void index_add(struct person *person, struct record *record) {
  if (2 * person->record_count > person->index_capacity) {
    person->index_capacity = person->index_capacity ? 2 * person->index_capacity : 512;
    free(person->index);
    person->index = calloc(person->index_capacity, sizeof *person->index);
    for (uint32_t i = 0; i < person->record_count; i++)
      *index_slot(person, person->records[i]->id.counter) = person->records[i];
  }
  *index_slot(person, record->id.counter) = record;
}

struct record *record_add(struct world *world, uint32_t client, struct call_id id) {
  if (world->record_count == CHUNK * world->chunk_count) {
    world->chunks = realloc(world->chunks, (world->chunk_count + 1) * sizeof *world->chunks);
    world->chunks[world->chunk_count++] = malloc(CHUNK * sizeof **world->chunks);
  }
  uint32_t number = world->record_count++;
  struct record *record = &world->chunks[number / CHUNK][number % CHUNK];
  struct person *person = &world->people[client];
  *record = (struct record){.id = id,
                            .number = number,
                            .client = client,
                            .incarnation = person->incarnation,
                            .refusal = -1};
  return record;
}

struct record *record_new(struct world *world, uint32_t client, struct call_id id) {
  struct record *record = record_add(world, client, id);
  struct person *person = &world->people[client];
  if (person->record_count == person->record_capacity) {
    person->record_capacity = person->record_capacity ? 2 * person->record_capacity : 256;
    person->records = realloc(person->records, person->record_capacity * sizeof *person->records);
  }
  person->records[person->record_count++] = record;
  index_add(person, record);
  return record;
}

struct record *record_find(struct world *world, struct call_id id) {
  uint64_t client = (id.session >> 32) - 1;
  if (client >= world->people_count) return NULL;
  struct person *person = &world->people[client];
  if (person->incarnation != (uint32_t)id.session || !person->connected) return NULL;
  return person->index_capacity ? *index_slot(person, id.counter) : NULL;
}

struct record *record_at(struct world *world, uint64_t number) {
  return &world->chunks[number / CHUNK][number % CHUNK];
}

struct record *record_of(struct world *world, const struct payload *arguments) {
  uint32_t number = UINT32_MAX;
  if (arguments && arguments->size == sizeof number)
    memcpy(&number, arguments->parts[0].bytes, sizeof number);
  REQUIRE(world, number < world->record_count, "the arguments of a call are not those sent");
  return record_at(world, number);
}

void records_close(struct world *world) {
  for (uint32_t i = 0; i < world->record_count; i++) payload_unref(record_at(world, i)->outcome);
  for (uint32_t i = 0; i < world->chunk_count; i++) free(world->chunks[i]);
  free(world->chunks);
}

struct app *record_app(struct world *world, const struct record *record) {
  return &world->apps[record->deployment];
}

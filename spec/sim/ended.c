// Whoever keeps a record of calls is told of each once, and truly. Of calls that share a run only
// the run is told, whose number is the router's own: the runs are counted.
#include "world.h"

void ended_told(void *owner, const struct router_ended *ended) {
  struct world *world = owner;
  REQUIRE(world, ended->wait >= 0 && ended->arrived + ended->wait <= world->now,
          "a call is told to have waited longer than it was there");
  REQUIRE(world, ended->outcome <= ERROR_NAMES, "a call is told to have an outcome of no name");
  if (ended->id.session == world->epoch) return;
  uint64_t client = (ended->id.session >> 32) - 1;
  if (client < world->people_count && !world->people[client].connected) return;  // it has gone
  struct record *record = record_find(world, ended->id);
  REQUIRE(world, record && record->where != AT_CLIENT,
          "the end of a call is told that nobody made");
  REQUIRE(world, !record->ended, "the end of call %u is told twice", record->number);
  REQUIRE(world, !record->run || ended->outcome != ERROR_NAMES,
          "the result of call %u is told, which shares it", record->number);
  REQUIRE(world,
          ended->deployment == record->deployment && ended->function == record->function &&
              ended->workload == record->workload,
          "another call than %u is told to have ended", record->number);
  record->ended = true;
}

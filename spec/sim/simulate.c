// simulate --seeds A-B (--seconds N | --steps N): lives through the worlds of these seeds, one after
// the other.
// simulate (--seconds N | --steps N) --trace SEED: one, and prints all that happens.
//
// Ends with 1 at the first action of the router, or of a client's core, that does not fit what
// really happened. Otherwise prints what was seen, and with --hashes the hash of each trace.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/error.h"
#include "world.h"

struct options {
  uint64_t first, last;
  struct life life;
  bool hashes;
};

static int usage(void) {
  fprintf(stderr,
          "usage: simulate (--seconds N | --steps N) (--seeds A-B [--hashes] | --trace SEED)\n");
  return 64;
}

static bool read_options(struct options *options, int argc, char **argv) {
  *options = (struct options){.first = 1, .last = 0, .life.program = argv[0]};
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(argv[i], "--hashes")) {
      options->hashes = true;
      continue;
    }
    if (!strcmp(argv[i], "--seeds")) {
      if (sscanf(value, "%" SCNu64 "-%" SCNu64, &options->first, &options->last) != 2) return false;
    } else if (!strcmp(argv[i], "--steps")) {
      if (sscanf(value, "%" SCNu32, &options->life.steps) != 1) return false;
    } else if (!strcmp(argv[i], "--seconds")) {
      if (sscanf(value, "%" SCNu32, &options->life.seconds) != 1) return false;
    } else if (!strcmp(argv[i], "--trace")) {
      if (sscanf(value, "%" SCNu64, &options->first) != 1) return false;
      options->last = options->first;
      options->life.traced = true;
    } else {
      return false;
    }
    i++;
  }
  return !options->life.steps != !options->life.seconds && options->first <= options->last;
}

static void print(const struct statistics *statistics) {
  const struct {
    const char *name;
    uint64_t count;
  } rows[] = {
      {"results", statistics->results},
      {"dispatched", statistics->dispatched},
      {"calls attached", statistics->attached},
      {"outcomes given again", statistics->given_again},
      {"ended as the router did while they waited", statistics->ended_waiting},
      {"made by others as the router ended", statistics->needed},
      {"items", statistics->items},
      {"credit", statistics->credits},
      {"progress", statistics->progress},
      {"streams overdrawn", statistics->overdrawn},
      {"batches", statistics->batches},
      {"handed ahead", statistics->ahead},
      {"recalled", statistics->recalled},
      {"withdrawn", statistics->withdrawn},
      {"given back after a recall", statistics->late_backs},
      {"requeued", statistics->requeued},
      {"tried again", statistics->retried},
      {"not tried again for want of budget", statistics->refused_retries},
      {"answers nobody asked for", statistics->bad_answers},
      {"messages of dead workers", statistics->zombies},
      {"started", statistics->starts},
      {"recycled", statistics->recycled},
      {"started for load", statistics->scale_starts},
      {"parked", statistics->parked},
      {"taken from the park", statistics->unparked},
      {"stopped for want of load", statistics->stopped},
      {"canaries", statistics->canaries},
      {"ejected", statistics->ejected},
      {"ejected for slowness", statistics->ejected_slow},
      {"ejections ended early", statistics->needed_ejected},
      {"trusted again", statistics->trusted_again},
      {"deployments failed", statistics->failed},
      {"deployments ended", statistics->over},
      {"killed", statistics->kills},
      {"killed after their grace", statistics->grace_kills},
      {"killed for their silence", statistics->heartbeat_kills},
  };
  printf("%12" PRIi64 " virtual seconds\n%12" PRIu64 " steps\n",
         statistics->lived / NANOSECONDS_PER_SECOND, statistics->steps);
  for (uint32_t kind = 0; kind < HAPPENINGS; kind++)
    printf("%12" PRIu64 " event: %s\n", statistics->events[kind], event_name((enum happening)kind));
  for (int name = 0; name < ERROR_NAMES; name++)
    if (statistics->outcomes[name])
      printf("%12" PRIu64 " %s\n", statistics->outcomes[name], error_text((enum error_name)name));
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    printf("%12" PRIu64 " %s\n", rows[i].count, rows[i].name);
}

int main(int argc, char **argv) {
  struct options options;
  if (!read_options(&options, argc, argv)) return usage();
  struct statistics statistics = {0};
  for (uint64_t seed = options.first; seed <= options.last; seed++) {
    uint64_t hash = world_run(seed, &options.life, &statistics);
    if (options.hashes) printf("seed %" PRIu64 " %016" PRIx64 "\n", seed, hash);
  }
  print(&statistics);
  return 0;
}

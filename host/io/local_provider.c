// The local provider as a provider like any other. Its processes are there as soon as they are asked
// for, and hold nothing but memory while they are parked.
#include <stdio.h>
#include <string.h>

#include "local.h"

#define LOCAL_OF(provider) \
  ((struct local_provider *)(void *)((char *)(provider)-offsetof(struct local_provider, provider)))

static bool find(struct provider *provider, const struct provider_tag *tag,
                 struct local_process *process) {
  return local_process(LOCAL_OF(provider)->local, tag->worker, process) &&
         process->generation == tag->generation;
}

static void start(struct provider *provider, const struct provider_tag *tag, struct payload *body) {
  struct local_process process;
  if (find(provider, tag, &process)) return;
  char name[128];
  snprintf(name, sizeof name, "%.100s w%u", tag->deployment, tag->place);
  local_start(LOCAL_OF(provider)->local, tag->worker, tag->generation, tag->epoch, name, body);
}

static void stop(struct provider *provider, const struct provider_tag *tag) {
  local_kill(LOCAL_OF(provider)->local, tag->worker, tag->generation);
}

static void park(struct provider *provider, const struct provider_tag *tag, bool parked) {
  local_park(LOCAL_OF(provider)->local, tag->worker, tag->generation, parked);
}

static enum provider_state state_of(const struct local_process *process) {
  if (process->failure) return PROVIDER_PENDING;
  return process->is_ending ? PROVIDER_STOPPING : PROVIDER_RUNNING;
}

static size_t list(struct provider *provider, struct provider_worker *workers, size_t size) {
  struct local *local = LOCAL_OF(provider)->local;
  size_t count = 0;
  for (uint32_t i = 0; i < local_count(local); i++) {
    struct local_process process;
    if (!local_process(local, i, &process)) continue;
    if (count < size)
      workers[count] = (struct provider_worker){.worker = i,
                                                .generation = process.generation,
                                                .state = state_of(&process),
                                                .parked = process.is_parked,
                                                .process = process.pid};
    count++;
  }
  return count;
}

static bool explain(struct provider *provider, const struct provider_tag *tag, char *text,
                    size_t size) {
  struct local_process process;
  if (!find(provider, tag, &process)) return false;
  char device[64] = "";
  if (process.has_device) snprintf(device, sizeof device, " on device %u", process.device);
  if (process.failure)
    snprintf(text, size, "it could not be started: %s", strerror(process.failure));
  else
    snprintf(text, size, "process %d of this machine%s%s", (int)process.pid, device,
             process.is_ending   ? ", which is ending"
             : process.is_parked ? ", parked"
                                 : "");
  return true;
}

void local_provider(struct local_provider *provider, struct local *local) {
  *provider = (struct local_provider){{start, stop, park, list, explain}, local};
}

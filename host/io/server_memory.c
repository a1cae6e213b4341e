// What the router holds, against what it may: the steps of core/pressure.h are taken here.
//
// It holds the arguments of calls that wait or run, outcomes that are kept for their keys, and, for
// each client: what is to be sent, and the part that has come of a frame.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "log.h"
#include "server_state.h"
#include "transport.h"

// ---- how much it may hold ----

static bool read_file(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "re");
  if (!file) return false;
  size_t count = fread(text, 1, size - 1, file);
  fclose(file);
  text[count] = 0;
  return count > 0;
}

// The least limit of the control groups that this process is in (version 2), or `most`.
static uint64_t limit_of_groups(uint64_t most) {
  char text[4096], path[4200], limit[64];
  if (!read_file("/proc/self/cgroup", text, sizeof text)) return most;
  char *group = strstr(text, "0::/");
  if (!group) return most;
  group += strlen("0::");
  group[strcspn(group, "\n")] = 0;
  for (;;) {
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    uint64_t bytes = read_file(path, limit, sizeof limit) ? strtoull(limit, NULL, 10) : 0;
    if (bytes && bytes < most) most = bytes;  // "max" is no number
    char *last = strrchr(group, '/');
    if (!last) return most;
    *last = 0;
  }
}

void server_memory_open(struct server *server) {
  uint64_t memory = uv_get_total_memory(), constrained = uv_get_constrained_memory();
  if (!memory) memory = UINT64_C(1) << 31;
  if (constrained && constrained < memory) memory = constrained;
  server->budget = pressure_budget(limit_of_groups(memory));
}

void server_memory(struct server *server, uint64_t bytes) {
  loop_acquire(server->loop);
  server->budget = bytes;
  loop_release(server->loop);
}

// ---- how much it holds ----

uint64_t server_held(const struct server *server) {
  return router_held(hub_router(server->hub)) + server->carried;
}

static void say(const struct server *server, uint64_t held) {
  static const char *const kSteps[] = {
      "clients and calls are let in", "no further clients are let in", "no further calls are taken",
      "clients that do not read are cut"};
  char text[160];
  snprintf(text, sizeof text, "memory: %.1f of %.1f MiB are held: %s", (double)held / (1 << 20),
           (double)server->budget / (1 << 20), kSteps[server->pressure]);
  log_line("farside", text);
}

void server_weigh(struct server *server) {
  uint64_t held = server_held(server);
  enum pressure_step step = pressure_step(server->pressure, held, server->budget);
  if (step == server->pressure) return;
  server->pressure = step;
  router_press(hub_router(server->hub), step >= PRESSURE_CALLS ? server->budget : 0);
  say(server, held);
}

// ---- who is cut ----

struct peer *server_largest(const struct server *server) {
  struct peer *largest = NULL;
  uint64_t most = pressure_worth(server->budget);
  for (struct peer *peer = server->first; peer; peer = peer->next) {
    size_t queued = transport_queued(peer->transport);
    if (queued < most) continue;
    largest = peer;
    most = queued + 1;
  }
  return largest;
}

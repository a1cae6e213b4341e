// What becomes of a call that a worker took with it, or whose error its function wants tried again.
//
// - It waits before the next attempt: a time drawn from 0 to 50 ms, doubled with each attempt, 2 s
//   at most, so that many calls of one dead worker do not come back at once. Meanwhile it is in no
//   queue and no slot. A call that was provably not entered has not had its attempt: it is queued
//   again at once the first time, then with the same pauses, so that a worker that gives back all
//   it gets costs little.
// - All calls of a deployment share a budget: within 10 s no more retries than a tenth of the
//   calls, or 30. When many fail, trying again makes it worse.
// - A call under which LIMIT_ATTEMPTS workers died is poison. So are others of the same function
//   with the same arguments, also when each was made once: they are refused for ten minutes. Only
//   the death of a process that ran this one call counts, by a signal or an exit nobody asked for;
//   beside others it may be as innocent as they are. A result for the same arguments acquits them.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cursor.h"
#include "memory.h"
#include "payload.h"
#include "router_failed.h"
#include "router_key.h"
#include "router_state.h"

static const int64_t kFirstPause = 50 * NANOSECONDS_PER_MILLISECOND;
static const int64_t kLongestPause = 2 * NANOSECONDS_PER_SECOND;
static const int64_t kQuarantine = 600 * NANOSECONDS_PER_SECOND;
static const uint32_t kLeastBudget = 30;

// ---- the budget ----

// Forgets the seconds that are over.
static struct budget *budget_at(struct deployment *deployment, int64_t now) {
  struct budget *budget = &deployment->budget;
  int64_t second = now / NANOSECONDS_PER_SECOND;
  if (second - budget->second >= BUDGET_SECONDS) {
    *budget = (struct budget){.second = second};
  } else {
    while (budget->second < second) {
      int at = (int)(++budget->second % BUDGET_SECONDS);
      budget->all_calls -= budget->calls[at];
      budget->all_retries -= budget->retries[at];
      budget->calls[at] = budget->retries[at] = 0;
    }
  }
  return budget;
}

void router_retry_admitted(struct deployment *deployment, int64_t now) {
  struct budget *budget = budget_at(deployment, now);
  budget->calls[budget->second % BUDGET_SECONDS]++;
  budget->all_calls++;
}

static bool spend(struct deployment *deployment, int64_t now) {
  struct budget *budget = budget_at(deployment, now);
  uint32_t most = budget->all_calls / 10;
  if (most < kLeastBudget) most = kLeastBudget;
#ifndef PLANT_BUDGET_FORGOTTEN
  if (budget->all_retries >= most) return false;
#endif
  budget->retries[budget->second % BUDGET_SECONDS]++;
  budget->all_retries++;
  return true;
}

// ---- pauses ----

static int64_t longest_pause(uint32_t times) {
  int64_t pause = kFirstPause;
  while (times-- && pause < kLongestPause) pause *= 2;
  return pause < kLongestPause ? pause : kLongestPause;
}

static void pause_call(struct router *router, struct call *call, uint32_t times, int64_t now) {
  int64_t at = now + (int64_t)((double)longest_pause(times) * router_random(router));
  struct deployment *deployment = call_deployment(router, call);
  call->state = CALL_DELAYED;
  deployment->delayed++;
  deployment->queue_bytes += call->body ? call->body->size : 0;
  timers_set(&router->timers, &call->timer, at < call->queue_deadline ? at : call->queue_deadline);
  if (router->whys) router_why_waits(router, call, 0, WHY_PAUSES, ROUTER_NONE, now);
  if (call->key) router_key_queued(router, call);
}

void router_retry_unentered(struct router *router, struct call *call, int64_t now) {
  call->started = false;
  router_metrics_requeued(router, call);
  if (!call->resent++)
    router_call_queue(router, call);
  else
    pause_call(router, call, call->resent - 2, now);
}

void router_retry_note(struct call *call, const char *outcome, int64_t now) {
  if (!call->trials) call->trials = xcalloc(1, sizeof *call->trials);
  struct trials *trials = call->trials;
  uint32_t at = trials->count < LIMIT_TRIALS ? trials->count++ : LIMIT_TRIALS - 1;
  struct trial *trial = &trials->of[at];
  trial->worker = call->worker;
  trial->milliseconds = to_seconds(now - call->sent) * 1000;
  snprintf(trial->outcome, sizeof trial->outcome, "%s", outcome);
}

bool router_retry_again(struct router *router, struct call *call, const char *outcome,
                        int64_t now) {
  router_retry_note(call, outcome, now);
  if (call->attempt >= call->attempts) return false;
  if (now >= call->deadline || !spend(call_deployment(router, call), now)) return false;
  router_call_detach(router, call, now);
  call->started = false;
  router_metrics_retried(router, call);
  pause_call(router, call, call->attempt++ - 1, now);
  router_scale_offered(router, call, now);
  return true;
}

void router_retry_timer(struct router *router, struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  router_call_detach(router, call, now);
  router_call_queue(router, call);
  router_dispatch(router, deployment, now);
}

void router_retry_fail_all(struct router *router, struct deployment *deployment, int64_t now) {
  for (struct call *call = router->oldest, *newer; call && deployment->delayed; call = newer) {
    newer = call->newer;
    if (call->state != CALL_DELAYED || call_deployment(router, call) != deployment) continue;
    bool is_run = router_key_is_run(call);
    enum executed executed = router_call_executed(router, call);
    router_call_fail(router, call, router_deployment_failed(router, deployment, executed, now),
                     now);
    if (is_run) newer = router->oldest;  // what was attached to it is gone as well
  }
}

// ---- another worker ----

bool router_retry_failed_on(const struct call *call, uint32_t worker) {
  const struct trials *trials = call->trials;
  for (uint32_t i = 0; trials && i < trials->count; i++)
    if (trials->of[i].worker == worker) return true;
  return false;
}

bool router_retry_was(const struct call *call, const char *outcome) {
  const struct trials *trials = call->trials;
  for (uint32_t i = 0; trials && i < trials->count; i++)
    if (!strcmp(trials->of[i].outcome, outcome)) return true;
  return false;
}

// ---- errors of functions that are tried again ----

static bool is_listed(const char *list, const unsigned char *name, size_t size) {
  while (*list) {
    const char *comma = strchr(list, ',');
    size_t length = comma ? (size_t)(comma - list) : strlen(list);
    if (length == size && !memcmp(list, name, size)) return true;
    list += length + (comma != NULL);
  }
  return false;
}

static bool has_listed(const char *list, struct cursor map, const char *key,
                       const unsigned char **name, size_t *size) {
  struct cursor value;
  return cursor_find(map, key, &value) && cursor_str(&value, name, size) &&
         is_listed(list, *name, *size);
}

// `*name`: the one that is listed.
static bool is_named(const struct message *message, const char *list, const unsigned char **name,
                     size_t *size) {
  const struct payload *body = message->body;
  size_t count;
  if (message->type != MESSAGE_ERROR || !body || body->count != 1) return false;
  struct cursor map = cursor_of(body->parts[0].bytes, body->parts[0].size);
  if (!cursor_array(&map, &count) || count != 1) return false;
  return has_listed(list, map, "name", name, size) || has_listed(list, map, "type", name, size);
}

bool router_retry_is_named(const struct message *message, const char *names) {
  const unsigned char *name;
  size_t size;
  return is_named(message, names, &name, &size);
}

bool router_retry_error(struct router *router, struct call *call, const struct message *message,
                        int64_t now) {
  const char *list = call_deployment(router, call)->functions[call->function].retry_on;
  const unsigned char *name;
  size_t size;
  if (!list || call->state != CALL_RUNNING || !is_named(message, list, &name, &size)) return false;
  char outcome[sizeof call->trials->of->outcome];
  snprintf(outcome, sizeof outcome, "%.*s", (int)size, (const char *)name);
  call->ran = true;
  return router_retry_again(router, call, outcome, now);
}

// ---- poison ----

static size_t size_of(const struct payload *body) {
  return body ? body->size : 0;
}

// Hashes only where a suspect has the same function and size.
static struct suspect *find_suspect(const struct router *router, struct deployment *deployment,
                                    uint32_t function, const struct payload *body) {
  uint64_t hash = 0;
  for (uint32_t i = 0; i < deployment->suspect_count; i++) {
    struct suspect *suspect = &deployment->suspects[i];
    if (suspect->function != function || suspect->size != size_of(body)) continue;
    if (!hash) hash = router_content(router, body);
    if (suspect->hash == hash) return suspect;
  }
  return NULL;
}

static struct suspect *new_suspect(const struct router *router, struct deployment *deployment,
                                   const struct call *call) {
  if (!deployment->suspects)
    deployment->suspects = xcalloc(LIMIT_SUSPECTS, sizeof *deployment->suspects);
  struct suspect *suspect = deployment->suspects;
  if (deployment->suspect_count < LIMIT_SUSPECTS) {
    suspect += deployment->suspect_count++;
  } else {
    for (uint32_t i = 1; i < LIMIT_SUSPECTS; i++)
      if (deployment->suspects[i].since < suspect->since) suspect = &deployment->suspects[i];
  }
  *suspect = (struct suspect){.hash = router_content(router, call->body),
                              .size = size_of(call->body),
                              .function = call->function};
  return suspect;
}

bool router_retry_killed(struct router *router, struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  struct suspect *suspect = find_suspect(router, deployment, call->function, call->body);
  if (!suspect) suspect = new_suspect(router, deployment, call);
  if (!suspect->deaths || now - suspect->since > kQuarantine) {
    suspect->deaths = 0;
    suspect->since = now;
  }
  suspect->deaths++;
  call->deaths++;
#ifndef PLANT_POISON_FORGOTTEN
  if (suspect->deaths < LIMIT_ATTEMPTS && call->deaths < LIMIT_ATTEMPTS) return false;
  suspect->until = deployment->quarantined = now + kQuarantine;
  char text[CALL_TEXT];
  router_log(
      router, call->deployment,
      "%s is poison: %d workers died of it, or of others with the same arguments; such calls "
      "are refused for %.0f s (fingerprint %016" PRIx64 ")",
      router_call_text(router, call, text), LIMIT_ATTEMPTS, to_seconds(kQuarantine), suspect->hash);
  return true;
#else
  return false;
#endif
}

void router_retry_acquit(struct router *router, const struct call *call) {
  struct deployment *deployment = call_deployment(router, call);
  struct suspect *suspect = find_suspect(router, deployment, call->function, call->body);
  if (suspect) *suspect = deployment->suspects[--deployment->suspect_count];
}

static void write_fingerprint(struct error_writer *writer, const struct suspect *suspect,
                              int64_t now) {
  char text[17];
  snprintf(text, sizeof text, "%016" PRIx64, suspect->hash);
  error_string(writer, "fingerprint", text);
  double left = to_seconds(suspect->until - now);
  error_number(writer, "until", left);
  error_number(writer, "retry_after", left * 1000);
}

struct payload *router_retry_refusal(struct router *router, struct deployment *deployment,
                                     const struct message *message, int64_t now) {
  if (now >= deployment->quarantined) return NULL;
  struct suspect *suspect = find_suspect(router, deployment, message->function, message->body);
  if (!suspect || suspect->until <= now) return NULL;
  struct error_writer writer;
  error_begin(&writer, ERROR_POISON_CALL, EXECUTED_NO, false, "router");
  error_message(&writer,
                "%u workers died of this function with these arguments; such calls are refused for "
                "%.0f s more",
                suspect->deaths, to_seconds(suspect->until - now));
  write_fingerprint(&writer, suspect, now);
  return error_end(&writer);
}

struct payload *router_retry_poison(struct router *router, const struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  const struct suspect *suspect = find_suspect(router, deployment, call->function, call->body);
  struct error_writer writer;
  bool ran = call->started || call->ran;
  error_begin(&writer, ERROR_POISON_CALL, ran ? EXECUTED_YES : EXECUTED_MAYBE, false, "router");
  error_message(&writer,
                "%d workers died of this function with these arguments; such calls are refused for "
                "%.0f s",
                LIMIT_ATTEMPTS, to_seconds(kQuarantine));
  if (suspect) write_fingerprint(&writer, suspect, now);
  router_write_call(&writer, router, call);
  return error_end(&writer);
}

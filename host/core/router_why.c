#include "router_why.h"

#include <string.h>

#include "balance.h"
#include "memory.h"
#include "router_key.h"
#include "router_state.h"

struct whys {
  uint32_t count, next;  // next: the oldest one
  struct why of[];
};

const char *why_name(enum why_reason reason) {
  static const char *const names[WHY_REASONS] = {"no_slot",   "faster", "gathers",  "reserved",
                                                 "probation", "pauses", "earliest", "only_free",
                                                 "left",      "other",  "batch",    "ahead"};
  return names[reason];
}

const char *why_sentence(enum why_reason reason) {
  static const char *const sentences[WHY_REASONS] = {
      "no worker that serves had room for it",
      "a busy worker was predicted to end it earlier than any free one",
      "it waited for others of its batch",
      "the worker that has room was kept for a call that has waited longer",
      "the worker that has room is on probation, and has a call",
      "it paused before its next attempt",
      "of the free workers it was predicted to end first there",
      "no other worker had room for it",
      "it costs the call little to leave a faster worker to others",
      "it had failed on others",
      "it went with others of its batch",
      "it is short, and was handed to a busy worker ahead of its turn",
  };
  return sentences[reason];
}

const char *why_standing_name(enum why_standing standing) {
  static const char *const names[] = {"healthy", "slow start", "slower", "probation", "ejected"};
  return names[standing];
}

// ---- the ring ----

void router_keep_whys(struct router *router, uint32_t count) {
  free(router->whys);
  router->whys = count ? xcalloc(1, sizeof *router->whys + count * sizeof(struct why)) : NULL;
  if (!count) return;
  router->whys->count = count;
  for (uint32_t i = 0; i < count; i++) router->whys->of[i].place = ROUTER_NONE;
}

static bool is_of(const struct why *why, const struct call *call) {
  return why->id.session == call->id.session && why->id.counter == call->id.counter &&
         why->attempt == call->attempt && why->looks && !why->ended;
}

static struct why *begin(struct whys *whys, struct call *call) {
  struct why *why = &whys->of[whys->next];
  call->why = whys->next + 1;
  whys->next = (whys->next + 1) % whys->count;
  return why;
}

// The ring may have become smaller meanwhile.
static struct why *record_of(struct whys *whys, const struct call *call) {
  return call->why && call->why <= whys->count ? &whys->of[call->why - 1] : NULL;
}

// Its own record, or NULL.
static struct why *own(struct whys *whys, const struct call *call) {
  struct why *why = record_of(whys, call);
  return why && is_of(why, call) ? why : NULL;
}

// Its own record, or a new one.
static struct why *why_of(struct whys *whys, struct call *call) {
  struct why *why = own(whys, call);
  if (why) return why;
  why = begin(whys, call);
  *why = (struct why){.id = call->id,
                      .deployment = call->deployment,
                      .function = call->function,
                      .attempt = call->attempt,
                      .priority = call->priority,
                      .workload = call->workload,
                      .admitted = call->admitted,
                      .decided = INT64_MAX};
  return why;
}

// ---- what a decision was made of ----

static void fill(const struct deployment *deployment, uint32_t i, double ends,
                 struct why_candidate *out) {
  const struct candidate *candidate = &deployment->candidates[i];
  uint32_t place = deployment->places[i];
  out->place = place;
  out->free = candidate->free;
  out->known = candidate->pace > 0;
  out->standing = deployment->outlooks[place].standing;
  out->round_trip = (float)candidate->round_trip;
  out->wait = (float)(candidate->wait - candidate->round_trip);
  out->score = candidate->pace > 0 ? 1 / candidate->pace : 0;
  out->ends = ends;
}

static void keep(const struct deployment *deployment, uint32_t i, double workload,
                 struct why *why) {
  const struct candidate *candidate = &deployment->candidates[i];
  bool known = candidate->pace > 0;
  double ends = candidate->wait + workload * candidate->pace;
  uint32_t at = why->kept < WHY_CANDIDATES ? why->kept++ : WHY_CANDIDATES;
  for (; known && at > 0 && (!why->of[at - 1].known || ends < why->of[at - 1].ends); at--)
    if (at < WHY_CANDIDATES) why->of[at] = why->of[at - 1];
  if (at < WHY_CANDIDATES) fill(deployment, i, ends, &why->of[at]);
}

// Most of many do not, which costs one comparison.
static bool beats_last(const struct deployment *deployment, uint32_t i, double workload,
                       const struct why *why) {
  const struct candidate *candidate = &deployment->candidates[i];
  const struct why_candidate *last = &why->of[WHY_CANDIDATES - 1];
  if (!(candidate->pace > 0)) return false;
  return !last->known || candidate->wait + workload * candidate->pace < last->ends;
}

// `place` stays even if its end is not among the earliest.
static void note_candidates(const struct deployment *deployment, uint32_t count, uint32_t place,
                            double workload, struct why *why) {
  why->candidates = count;
  why->kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (why->kept == WHY_CANDIDATES && !beats_last(deployment, i, workload, why)) continue;
    keep(deployment, i, workload, why);
  }
  if (place == ROUTER_NONE || why->kept < WHY_CANDIDATES) return;
  for (uint32_t i = 0; i < why->kept; i++)
    if (why->of[i].place == place) return;
  for (uint32_t i = 0; i < count; i++)
    if (deployment->places[i] == place)
      fill(deployment, i,
           deployment->candidates[i].wait + workload * deployment->candidates[i].pace,
           &why->of[WHY_CANDIDATES - 1]);
}

// Why a call was given to the free worker in `place`: of all candidates, not of those kept.
static enum why_reason reason_of(const struct deployment *deployment, const struct call *call,
                                 uint32_t count, uint32_t place, double workload) {
  uint32_t free = 0;
  double chosen = 0, least = -1;
  if (call->trials && !router_retry_failed_on(call, deployment->first_worker + place))
    return WHY_OTHER;
  for (uint32_t i = 0; i < count; i++) {
    const struct candidate *candidate = &deployment->candidates[i];
    if (!candidate->free) continue;
    double end = candidate->wait + workload * candidate->pace;
    if (deployment->places[i] == place) chosen = end;
    if (least < 0 || end < least) least = end;
    free++;
  }
  if (free <= 1) return WHY_ONLY_FREE;
  return balance_is_tie(least, chosen) ? WHY_EARLIEST : WHY_LEFT;
}

// What goes as a batch is looked at as one.
static struct why *look(struct router *router, struct call *call, uint32_t count, uint32_t place,
                        int64_t now) {
  const struct deployment *deployment = call_deployment(router, call);
  struct why *why = why_of(router->whys, call);
  why->looks++;
  why->place = place;
  double workload = count ? router_batch_workload(deployment, call, now) : 0;
  note_candidates(deployment, count, place, workload, why);
  return why;
}

void router_why_waits(struct router *router, struct call *call, uint32_t count,
                      enum why_reason reason, uint32_t awaited, int64_t now) {
  struct why *why = look(router, call, count, awaited, now);
  why->reason = why->waited = reason;
  why->decided = INT64_MAX;  // it may have been given to a worker and taken back
  why->predicted = 0;
}

void router_why_given(struct router *router, struct call *call, uint32_t count, uint32_t place,
                      enum why_reason reason, int64_t now) {
  const struct deployment *deployment = call_deployment(router, call);
  struct why *why = look(router, call, count, place, now);
  if (reason == WHY_EARLIEST)
    reason =
        reason_of(deployment, call, count, place, router_batch_workload(deployment, call, now));
  why->reason = reason;
  if (why->looks == 1) why->waited = reason;
  why->decided = now;
}

void router_why_predicted(struct router *router, const struct call *call) {
  struct why *why = own(router->whys, call);
  if (why) why->predicted = call->predicted;
}

// A call with a key was never looked at, only the run that it shares: what became of that is its
// own too.
static struct why *share(struct whys *whys, struct call *call) {
  const struct call *run = call->state == CALL_ATTACHED && call->key ? router_key_run(call) : NULL;
  const struct why *of_run = run ? record_of(whys, run) : NULL;
  if (!of_run || memcmp(&of_run->id, &run->id, sizeof run->id) != 0) return NULL;
  struct why copy = *of_run, *why = begin(whys, call);
  copy.id = call->id;
  copy.admitted = call->admitted;
  *why = copy;
  return why;
}

void router_why_ended(struct router *router, struct call *call, enum message_type type,
                      const struct payload *body, int64_t elapsed) {
  struct why *why = own(router->whys, call);
  if (!why) why = share(router->whys, call);
  if (!why) return;
  why->ended = true;
  why->outcome = (uint8_t)router_metrics_outcome(type, body);
  // A result may have taken less than the microsecond that travels; of an error without a time
  // nobody knows how long it ran: the router made it, or the function was not entered.
  bool is_said = type == MESSAGE_RESULT || elapsed > 0;
  why->ran = is_said ? to_seconds(elapsed) : -1;
  why->took = to_seconds(router->now - call->admitted);
}

// ---- to be asked ----

size_t router_why_last(const struct router *router, struct why *out, size_t count) {
  const struct whys *whys = router->whys;
  size_t found = 0;
  for (uint32_t i = 1; whys && i <= whys->count && found < count; i++) {
    const struct why *why = &whys->of[(whys->next + whys->count - i) % whys->count];
    if (why->looks) out[found++] = *why;
  }
  return found;
}

static bool find(const struct router *router, struct call_id id, struct why *out) {
  const struct whys *whys = router->whys;
  for (uint32_t i = 1; i <= whys->count; i++) {
    const struct why *why = &whys->of[(whys->next + whys->count - i) % whys->count];
    if (!why->looks || why->id.session != id.session || why->id.counter != id.counter) continue;
    *out = *why;
    return true;
  }
  return false;
}

bool router_why(const struct router *router, struct call_id id, struct why *out) {
  if (!router->whys) return false;
  const struct call *call = table_find(&router->calls, id);
  bool is_shared = call && call->state == CALL_ATTACHED;
  if (!find(router, is_shared ? router_key_run(call)->id : id, out)) return false;
  out->id = id;
  return true;
}

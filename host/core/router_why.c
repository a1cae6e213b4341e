#include "router_why.h"

#include <string.h>

#include "balance.h"
#include "memory.h"
#include "router_state.h"

struct whys {
  uint32_t count, next;  // next: the oldest one
  struct why of[];
};

const char *why_name(enum why_reason reason) {
  static const char *const names[WHY_REASONS] = {
      "no_slot", "faster", "gathers", "earliest", "only_free", "left", "other", "batch", "ahead"};
  return names[reason];
}

const char *why_sentence(enum why_reason reason) {
  static const char *const sentences[WHY_REASONS] = {
      "no worker that serves had room for it",
      "a busy worker was predicted to end it earlier than any free one",
      "it waited for others of its batch",
      "of the free workers it was predicted to end first there",
      "no other worker had room for it",
      "it costs the call little to leave a faster worker to others",
      "it had failed on others",
      "it went with others of its batch",
      "it is short, and was handed to a busy worker ahead of its turn",
  };
  return sentences[reason];
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

// Its own record, or a new one.
static struct why *why_of(struct whys *whys, struct call *call) {
  if (call->why && is_of(&whys->of[call->why - 1], call)) return &whys->of[call->why - 1];
  struct why *why = &whys->of[whys->next];
  call->why = whys->next + 1;
  whys->next = (whys->next + 1) % whys->count;
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

static void keep(struct why *why, const struct why_candidate *candidate) {
  uint32_t i = why->kept < WHY_CANDIDATES ? why->kept++ : WHY_CANDIDATES;
  for (; i > 0 && (!why->of[i - 1].known || candidate->ends < why->of[i - 1].ends); i--)
    if (i < WHY_CANDIDATES) why->of[i] = why->of[i - 1];
  if (i < WHY_CANDIDATES) why->of[i] = *candidate;
}

static void note_candidates(const struct deployment *deployment, uint32_t count, struct why *why) {
  why->candidates = count;
  why->kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    const struct candidate *candidate = &deployment->candidates[i];
    bool known = candidate->pace > 0;
    keep(why, &(struct why_candidate){.place = deployment->places[i],
                                      .free = candidate->free,
                                      .known = known,
                                      .score = known ? 1 / candidate->pace : 0,
                                      .wait = candidate->wait,
                                      .ends = candidate->wait + why->workload * candidate->pace});
  }
}

// Why a call was given to the free worker in `place`.
static enum why_reason reason_of(const struct call *call, const struct why *why, uint32_t place) {
  uint32_t free = 0, faster = 0;
  const struct why_candidate *chosen = NULL;
  for (uint32_t i = 0; i < why->kept; i++) {
    free += why->of[i].free;
    if (why->of[i].place == place) chosen = &why->of[i];
  }
  for (uint32_t i = 0; chosen && i < why->kept; i++)
    faster += why->of[i].free && why->of[i].known && why->of[i].score > 1.5 * chosen->score;
  if (call->trials) return WHY_OTHER;
  if (free <= 1) return WHY_ONLY_FREE;
  return faster ? WHY_LEFT : WHY_EARLIEST;
}

static struct why *look(struct router *router, struct call *call,
                        const struct deployment *deployment, uint32_t count) {
  struct why *why = why_of(router->whys, call);
  why->looks++;
  note_candidates(deployment, count, why);
  return why;
}

void router_why_waits(struct router *router, struct call *call, uint32_t count,
                      enum why_reason reason, uint32_t awaited) {
  struct why *why = look(router, call, call_deployment(router, call), count);
  why->reason = why->waited = reason;
  why->place = awaited;
}

void router_why_given(struct router *router, struct call *call, uint32_t count, uint32_t place,
                      enum why_reason reason, int64_t now) {
  struct why *why = look(router, call, call_deployment(router, call), count);
  why->reason = reason == WHY_EARLIEST ? reason_of(call, why, place) : reason;
  if (why->looks == 1) why->waited = why->reason;
  why->place = place;
  why->decided = now;
}

void router_why_predicted(struct router *router, const struct call *call) {
  struct why *why = call->why ? &router->whys->of[call->why - 1] : NULL;
  if (why && is_of(why, call)) why->predicted = call->predicted;
}

void router_why_ended(struct router *router, const struct call *call, bool ok, int64_t elapsed) {
  struct why *why = call->why ? &router->whys->of[call->why - 1] : NULL;
  if (!why || !is_of(why, call)) return;
  why->ended = true;
  why->ok = ok;
  why->ran = elapsed > 0 ? to_seconds(elapsed) : 0;
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

bool router_why(const struct router *router, struct call_id id, struct why *out) {
  const struct whys *whys = router->whys;
  for (uint32_t i = 1; whys && i <= whys->count; i++) {
    const struct why *why = &whys->of[(whys->next + whys->count - i) % whys->count];
    if (!why->looks || why->id.session != id.session || why->id.counter != id.counter) continue;
    *out = *why;
    return true;
  }
  return false;
}

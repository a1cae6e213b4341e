// Why a call went where it went, for operators.
#include "../core/buffer.h"
#include "../core/error.h"
#include "../core/pack.h"
#include "../core/router_why.h"
#include "server_state.h"

static double seconds(int64_t nanoseconds) {
  return (double)nanoseconds / 1e9;
}

static void field_number(struct buffer *out, const char *key, double value) {
  pack_text(out, key);
  pack_number(out, value);
}

static void field_text(struct buffer *out, const char *key, const char *value) {
  pack_text(out, key);
  pack_text(out, value);
}

static void pack_candidates(const struct why *why, struct buffer *out) {
  pack_text(out, "workers");
  pack_array(out, why->kept);
  for (uint32_t i = 0; i < why->kept; i++) {
    const struct why_candidate *candidate = &why->of[i];
    pack_map(out, candidate->known ? 7 : 5);
    field_number(out, "place", candidate->place);
    pack_text(out, "free");
    pack_bool(out, candidate->free);
    field_text(out, "standing", why_standing_name((enum why_standing)candidate->standing));
    field_number(out, "wait", candidate->wait);
    field_number(out, "round_trip", candidate->round_trip);
    if (!candidate->known) continue;
    field_number(out, "score", candidate->score);
    field_number(out, "ends", candidate->ends);
  }
}

static const char *state_of(const struct why *why) {
  if (why->ended)
    return why->outcome == ERROR_NAMES ? "ended with a result" : "ended with an error";
  return why->decided == INT64_MAX ? "waits" : "runs";
}

void server_pack_why(const struct server *server, const struct why *why, int64_t now,
                     struct buffer *out) {
  const struct served *served = server->deployments[why->deployment];
  bool given = why->decided != INT64_MAX, waited = why->looks > 1 && given;
  bool has_place = why->place != ROUTER_NONE;
  bool failed = why->ended && why->outcome != ERROR_NAMES;
  pack_map(out, 15U + has_place + (waited ? 2U : 0U) + (why->ended ? 2U : 0U) + failed);
  field_text(out, "deployment", served->name);
  field_text(out, "tag", served->tag);
  field_text(out, "function", served->function_names[why->function]);
  field_text(out, "state", state_of(why));
  pack_text(out, "given");
  pack_bool(out, given);
  field_number(out, "attempt", why->attempt);
  field_number(out, "priority", why->priority);
  field_number(out, "workload", why->workload);
  field_number(
      out, "waited",
      given || !why->ended ? seconds((given ? why->decided : now) - why->admitted) : why->took);
  field_number(out, "looks", why->looks);
  field_text(out, "reason", why_name(why->reason));
  field_text(out, "because", why_sentence(why->reason));
  field_number(out, "predicted", why->predicted);
  field_number(out, "candidates", why->candidates);
  pack_candidates(why, out);
  if (has_place) field_number(out, "place", why->place);
  if (waited) {
    field_text(out, "waited_reason", why_name(why->waited));
    field_text(out, "waited_because", why_sentence(why->waited));
  }
  if (why->ended) {
    field_number(out, "ran", why->ran);
    field_number(out, "took", why->took);
    if (failed) field_text(out, "error", error_text((enum error_name)why->outcome));
  }
}

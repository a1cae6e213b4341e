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

// What is not known is null.
static void field_known(struct buffer *out, const char *key, bool is_known, double value) {
  if (is_known) {
    field_number(out, key, value);
    return;
  }
  pack_text(out, key);
  pack_nil(out);
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
    pack_map(out, 7);
    field_number(out, "place", candidate->place);
    pack_text(out, "free");
    pack_bool(out, candidate->free);
    field_text(out, "standing", why_standing_name((enum why_standing)candidate->standing));
    field_number(out, "wait", candidate->wait);
    field_known(out, "round_trip", candidate->round_trip > 0, candidate->round_trip);
    field_known(out, "score", candidate->known, candidate->score);
    field_known(out, "ends", candidate->known, candidate->ends);
  }
}

static const char *state_of(const struct why *why) {
  if (why->ended)
    return why->outcome == ERROR_NAMES ? "ended with a result" : "ended with an error";
  return why->decided == INT64_MAX ? "waits" : "runs";
}

// Until its end, or until now: that of a call which shares another one's run may be more than it
// took.
static double since_sent(const struct why *why, int64_t now) {
  return why->ended ? why->took + seconds(why->admitted - why->decided)
                    : seconds(now - why->decided);
}

void server_pack_why(const struct server *server, const struct why *why, int64_t now,
                     struct buffer *out) {
  const struct served *served = server->deployments[why->deployment];
  bool given = why->decided != INT64_MAX, waited = why->looks > 1 && given;
  bool has_place = why->place != ROUTER_NONE;
  bool failed = why->ended && why->outcome != ERROR_NAMES;
  pack_map(out, 15U + has_place + given + (waited ? 2U : 0U) + (why->ended ? 2U : 0U) + failed);
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
  field_known(out, "predicted", why->predicted > 0, why->predicted);
  if (given) field_number(out, "since_sent", since_sent(why, now));
  field_number(out, "candidates", why->candidates);
  pack_candidates(why, out);
  if (has_place) field_number(out, "place", why->place);
  if (waited) {
    field_text(out, "waited_reason", why_name(why->waited));
    field_text(out, "waited_because", why_sentence(why->waited));
  }
  if (why->ended) {
    field_known(out, "ran", why->ran >= 0, why->ran);
    field_number(out, "took", why->took);
    if (failed) field_text(out, "error", error_text((enum error_name)why->outcome));
  }
}

// How fast workers are: the score of each function on each of them, in workload per second.
//
// A score begins with what the worker has measured before it became ready. A function without a
// benchmark begins with what it is on others, in the ratio in which the workers' benchmarks stand;
// where no worker has run it yet, with nothing.
//
// From then on each call that ends is a lesson. Lessons are averaged as logarithms, since times of
// calls are scattered by factors and not by sums:
//
//   level     the average, slow: noise does not change the order of workers
//   faster,   how far the latest lessons have been off to one side, summed up in units of the noise
//   slower    (CUSUM: Page, "Continuous inspection schemes", 1954). Above kAlarm the worker is
//             another one than it was, and the level begins anew with those lessons.
//
// The noise is that of the function on all workers together, so it does not change their order
// either. The mean of times that are scattered log-normally is above their median by exp(variance /
// 2), which is what turns a level into a score.
//
// Who has become slow gets few calls, and nobody would learn that it has recovered. So a low level
// is forgotten with time: it approaches what the worker was before, until a call is given to it. If
// that one is slow too, the next time takes twice as long.
#include <math.h>
#include <string.h>

#include "router_state.h"

static const double kSlow = 1.0 / 32;  // weight of a lesson, once there are many
static const double kNoiseWeight = 1.0 / 256;
static const double kForgotten = 1.0 / 1024;  // of what a worker was before
static const double kAlarm = 10, kAllowance = 0.75, kClip = 3;
static const double kFirstNoise = 0.25, kLeastNoise = 0.0225, kMostNoise = 4;  // variances
static const double kDegraded = 0.4;              // below what it was before: a third slower
static const double kDoubt = 2, kMostDoubt = 60;  // seconds
static const double kMostLevel = 690;             // whose score is a number
enum { FIRST_NOISE_LESSONS = 8, TRUST = 8, KNOWN = 16 };

static struct deployment *deployment_of(const struct router *router, const struct worker *worker) {
  return router->deployments[worker->deployment];
}

// ---- from levels to scores ----

static double excess(const struct noise *noise) {
  return (noise->variance < kMostNoise ? noise->variance : kMostNoise) / 2;
}

static void set_score(const struct router *router, struct worker *worker, uint32_t function,
                      double score) {
  struct deployment *deployment = deployment_of(router, worker);
  uint32_t place = worker->number - deployment->first_worker;
  worker->scores[function] = score;
  deployment->pace_of[function * deployment->place_count + place] = score > 0 ? 1 / score : 0;
}

static void set(const struct router *router, struct worker *worker, uint32_t function,
                double level) {
  const struct noise *noise = &deployment_of(router, worker)->noises[function];
  worker->lessons[function].level = level;
  set_score(router, worker, function, exp(level - excess(noise)));
}

double router_score_now(const struct worker *worker, uint32_t function, int64_t now) {
  const struct lessons *lessons = &worker->lessons[function];
  double lost = lessons->before - lessons->level;
  if (!lessons->degraded || !(lost > 0)) return worker->scores[function];
  double doubt = ldexp(kDoubt, lessons->confirmed < 5 ? (int)lessons->confirmed : 5);
  double age = to_seconds(now - lessons->at) / (doubt < kMostDoubt ? doubt : kMostDoubt);
  return worker->scores[function] * exp(lost * age / (1 + age));
}

// ---- before the first lesson ----

void router_score_forget(const struct router *router, struct worker *worker) {
  uint32_t count = deployment_of(router, worker)->function_count;
  for (uint32_t i = 0; i < count; i++) set_score(router, worker, i, 0);
  memset(worker->lessons, 0, count * sizeof *worker->lessons);
  worker->speed = 0;
  worker->measured = worker->degraded = 0;
}

void router_score_measured(const struct router *router, struct worker *worker, uint32_t function,
                           double score) {
  struct lessons *lessons = &worker->lessons[function];
  const struct noise *noise = &deployment_of(router, worker)->noises[function];
  worker->degraded -= lessons->degraded;
  *lessons = (struct lessons){.measured = true, .level = log(score) + excess(noise)};
  lessons->before = lessons->level;
  set_score(router, worker, function, score);
}

// The mean of the logarithms of all benchmarks: only to be compared with other workers' that have
// measured the same functions.
static void weigh(const struct router *router, struct worker *worker) {
  double sum = 0;
  uint32_t count = 0;
  for (uint32_t i = 0; i < deployment_of(router, worker)->function_count; i++) {
    if (!worker->lessons[i].measured) continue;
    sum += worker->lessons[i].level;
    count++;
  }
  worker->speed = count ? sum / count : 0;
  worker->measured = count;
}

// What the function is on others, adjusted by the ratio of the workers' benchmarks.
static void guess(const struct router *router, struct worker *worker, uint32_t function) {
  const struct deployment *deployment = deployment_of(router, worker);
  struct lessons *lessons = &worker->lessons[function];
  double sum = 0;
  uint32_t count = 0;
  if (lessons->measured || lessons->count) return;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *other = router->workers[deployment->first_worker + i];
    const struct lessons *theirs = &other->lessons[function];
    if (other->state != WORKER_READY || !theirs->count || theirs->measured) continue;
    if (other->measured != worker->measured) continue;
    sum += theirs->level - other->speed;
    count++;
  }
  if (!count) return;
  set(router, worker, function, sum / count + worker->speed);
  lessons->before = lessons->level;
}

void router_score_ready(const struct router *router, struct worker *worker) {
  weigh(router, worker);
  for (uint32_t i = 0; i < deployment_of(router, worker)->function_count; i++)
    guess(router, worker, i);
}

// The others, that have not run it yet, may be guessed by now, or better than before.
static void guess_others(const struct router *router, const struct worker *worker,
                         uint32_t function) {
  const struct deployment *deployment = deployment_of(router, worker);
  const struct lessons *lessons = &worker->lessons[function];
  if (lessons->measured || (lessons->count != 1 && lessons->count != 4 && lessons->count != KNOWN))
    return;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *other = router->workers[deployment->first_worker + i];
    if (other->state == WORKER_READY) guess(router, other, function);
  }
}

// ---- lessons ----

static double deviation(const struct noise *noise) {
  double known = noise->lessons < UINT32_MAX ? noise->lessons : UINT32_MAX;
  double variance =
      (noise->variance * known + kFirstNoise * FIRST_NOISE_LESSONS) / (known + FIRST_NOISE_LESSONS);
  return sqrt(variance > kLeastNoise ? variance : kLeastNoise);
}

// Half the square of the difference of two lessons in a row, which a change of the worker spoils once
// only (von Neumann, "Distribution of the ratio of the mean square successive difference to the
// variance", 1941).
static void learn_noise(struct noise *noise, double difference, double deviation) {
  double square = difference * difference / 2, most = kClip * deviation;
  if (square > most * most) square = most * most;
  if (noise->lessons < UINT32_MAX) noise->lessons++;
  double weight = 1.0 / noise->lessons;
  noise->variance += (square - noise->variance) * (weight > kNoiseWeight ? weight : kNoiseWeight);
}

// One more lesson that was `off` by so much; on the side of this drift where that is positive.
// Returns whether there are too many of them on this side.
static bool drifts(struct drift *drift, double off, double deviation) {
  double units = off / deviation;
  drift->sum += (units < kClip ? units : kClip) - kAllowance;
  if (drift->sum <= 0) {
    *drift = (struct drift){0};
    return false;
  }
  if (!drift->count || off > drift->most) drift->most = off;
  drift->off += off;
  drift->count++;
  return drift->sum > kAlarm;
}

// Where those lessons are on average, without the one that is furthest off: that one may have been
// an accident.
static double place(const struct drift *drift) {
  return (drift->off - drift->most) / (drift->count - 1);
}

static void move(struct lessons *lessons, double *level, double off) {
  const struct drift *faster = &lessons->faster, *slower = &lessons->slower;
  bool is_faster = faster->sum > kAlarm, is_slower = slower->sum > kAlarm;
  if (is_faster || is_slower) {
    *level += is_faster ? place(faster) : -place(slower);
    lessons->weight = is_faster ? faster->count : slower->count;
    lessons->faster = lessons->slower = (struct drift){0};
  } else {
    double weight = 1.0 / ++lessons->weight;
    *level += off * (weight > kSlow ? weight : kSlow);
  }
}

// What the worker was before it became slow. What lasts is normal in the end. A lesson as they were
// before leaves the doubt as it is: more may follow.
static void remember(struct worker *worker, struct lessons *lessons, double level, double seen,
                     int64_t now) {
  bool settled = lessons->measured || lessons->count > KNOWN, was_degraded = lessons->degraded;
  if (!settled || level > lessons->before)
    lessons->before = level;
  else
    lessons->before += (level - lessons->before) * kForgotten;
  lessons->degraded = lessons->before - level > kDegraded;
  worker->degraded += lessons->degraded;
  worker->degraded -= was_degraded;
  if (lessons->degraded && was_degraded && 2 * seen > level + lessons->before) return;
  bool is_trial = now - lessons->at > NANOSECONDS_PER_SECOND;
  if (!lessons->degraded) lessons->confirmed = 0;
  if (lessons->degraded && was_degraded && is_trial) lessons->confirmed++;
  lessons->at = now;
}

void router_score_learn(const struct router *router, struct worker *worker, uint32_t function,
                        double workload, double seconds, int64_t now) {
  struct lessons *lessons = &worker->lessons[function];
  struct noise *noise = &deployment_of(router, worker)->noises[function];
  if (!(workload > 0) || !(seconds > 0)) return;
  double seen = fmin(log(workload / seconds), kMostLevel), level = lessons->level;
  if (!lessons->count++ && !lessons->measured && !(worker->scores[function] > 0)) {
    lessons->weight = 1;
    level = seen;
  } else {
    if (!lessons->weight) lessons->weight = lessons->measured ? TRUST : 1;
    double off = seen - level, unit = deviation(noise);
    if (lessons->count > 1) learn_noise(noise, seen - lessons->latest, unit);
    drifts(&lessons->faster, off, unit);
    drifts(&lessons->slower, -off, unit);
    if (lessons->slower.count == 1) lessons->slow_since = now;
    move(lessons, &level, off);
  }
  lessons->latest = seen;
  remember(worker, lessons, level, seen, now);
  set(router, worker, function, level);
  guess_others(router, worker, function);
}

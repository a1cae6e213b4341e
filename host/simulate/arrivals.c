#include "arrivals.h"

#include "trace.h"

static const double kTwoPi = 6.283185307179586;

void arrivals_init(struct arrivals *arrivals, const struct arrivals_options *options,
                   uint64_t seed) {
  *arrivals = (struct arrivals){.options = *options,
                                .when = chance_stream(seed, 1),
                                .what = chance_stream(seed, 2),
                                .wrong = chance_stream(seed, 5)};
}

static double rate_at(const struct arrivals_options *options, double at) {
  double phase = options->period > 0 ? fmod(at, options->period) : 0;
  switch (options->shape) {
    case ARRIVALS_DIURNAL:
      return options->rate * (1 - options->swing * cos(kTwoPi * phase / options->period));
    case ARRIVALS_BURST:
      return phase < options->period - options->length ? options->rate : options->high;
    case ARRIVALS_SQUARE:
      return phase < options->period / 2 ? options->rate : options->high;
    default:
      return options->rate;
  }
}

static double highest_rate(const struct arrivals_options *options) {
  if (options->shape == ARRIVALS_DIURNAL) return options->rate * (1 + options->swing);
  bool has_two = options->shape == ARRIVALS_BURST || options->shape == ARRIVALS_SQUARE;
  return has_two && options->high > options->rate ? options->high : options->rate;
}

// A Poisson process whose rate changes: one of the highest rate, thinned (Lewis, Shedler 1979).
static bool next_time(struct arrivals *arrivals) {
  const struct arrivals_options *options = &arrivals->options;
  double highest = highest_rate(options);
  if (!(highest > 0)) return false;
  if (options->shape == ARRIVALS_EVEN) {
    arrivals->at = (double)++arrivals->count / options->rate;
    return arrivals->at <= options->seconds;
  }
  do {
    arrivals->at += chance_exponential(&arrivals->when, 1 / highest);
    if (arrivals->at > options->seconds) return false;
  } while (options->shape != ARRIVALS_POISSON &&
           chance_uniform(&arrivals->when) * highest > rate_at(options, arrivals->at));
  return true;
}

static double draw_workload(struct arrivals *arrivals) {
  const struct arrivals_options *options = &arrivals->options;
  switch (options->workload) {
    case WORKLOAD_UNIFORM:
      return 2 * options->mean * chance_uniform(&arrivals->what);
    case WORKLOAD_EXPONENTIAL:
      return chance_exponential(&arrivals->what, options->mean);
    case WORKLOAD_LOGNORMAL:
      return chance_lognormal(&arrivals->what, options->mean, options->spread);
    case WORKLOAD_PARETO:
      return chance_pareto(&arrivals->what, options->mean, options->spread);
    default:
      return options->mean;
  }
}

static uint32_t draw_function(struct arrivals *arrivals) {
  const struct arrivals_options *options = &arrivals->options;
  if (!options->shares || options->function_count < 2) return 0;
  double left = chance_uniform(&arrivals->what);
  for (uint32_t i = 0; i + 1 < options->function_count; i++) {
    left -= options->shares[i];
    if (left < 0) return i;
  }
  return options->function_count - 1;
}

// The told workload is wrong, and the work has noise, whether it was drawn or read.
static void disturb(struct arrivals *arrivals, struct arrival *arrival) {
  const struct arrivals_options *options = &arrivals->options;
  if (options->told_wrong > 0) {
    bool high = chance_below(&arrivals->wrong, 2);
    arrival->workload *= high ? 1 + options->told_wrong : 1 - options->told_wrong;
  }
  arrival->work = chance_lognormal(&arrivals->wrong, arrival->work, options->noise);
}

static void draw(struct arrivals *arrivals, struct arrival *arrival) {
  arrival->function = draw_function(arrivals);
  arrival->workload = arrival->work = draw_workload(arrivals);
  if (arrivals->options.told_alike) arrival->workload = arrivals->options.mean;
  disturb(arrivals, arrival);
}

static bool next_of_trace(struct arrivals *arrivals, struct arrival *arrival) {
  const struct arrivals_options *options = &arrivals->options;
  if (arrivals->count == options->trace->count) return false;
  const struct trace_call *call = &options->trace->calls[arrivals->count++];
  if (options->seconds > 0 && call->arrival > options->seconds) return false;
  *arrival = (struct arrival){
      .at = (int64_t)(call->arrival * 1e9),
      .function = call->function,
      .workload = call->workload,
      .work = call->service < 0 ? call->workload : call->service * options->reference};
  disturb(arrivals, arrival);
  return true;
}

bool arrivals_next(struct arrivals *arrivals, struct arrival *arrival) {
  if (arrivals->options.shape == ARRIVALS_TRACE) return next_of_trace(arrivals, arrival);
  if (arrivals->options.shape == ARRIVALS_CLOSED || !next_time(arrivals)) return false;
  draw(arrivals, arrival);
  arrival->at = (int64_t)(arrivals->at * 1e9);
  return true;
}

void arrivals_follow(struct arrivals *arrivals, int64_t at, struct arrival *arrival) {
  draw(arrivals, arrival);
  arrival->at = at;
}

// Checks of host/core/autoscale.c.
#include "../../../host/core/autoscale.h"

#include "fleet.h"

#define SECONDS(n) ((int64_t)(n)*NANOSECONDS_PER_SECOND)

// A deployment of two functions, whose workers and queue a check sets.
struct bench {
  struct autoscale *autoscale;
  struct autoscale_function functions[2];
  double speeds[FLEET_WORKERS];
  struct autoscale_view view;
  struct autoscale_wish wish;
  int64_t now;
};

static void bench_open(struct bench *bench, const struct autoscale_options *options,
                       uint32_t ready) {
  *bench = (struct bench){.now = SECONDS(1000)};
  bench->autoscale = autoscale_new(options, 2, bench->now);
  bench->functions[0].score = 1000;
  bench->functions[1].score = 10;
  for (int i = 0; i < FLEET_WORKERS; i++) bench->speeds[i] = 1;
  bench->view = (struct autoscale_view){.functions = bench->functions,
                                        .speeds = bench->speeds,
                                        .ready = ready,
                                        .active = ready,
                                        .start_time = SECONDS(5)};
}

static void step(struct bench *bench) {
  bench->wish = autoscale_step(bench->autoscale, &bench->view, bench->now);
}

// Calls of so much workload come, evenly, `rate` a second.
static void offer(struct bench *bench, uint32_t function, double rate, double workload,
                  int64_t time) {
  for (int64_t until = bench->now + time; bench->now < until;) {
    bench->now += NANOSECONDS_PER_SECOND / 4;
    bench->functions[function].workload += rate / 4 * workload;
    bench->functions[function].squares += rate / 4 * workload * workload;
    bench->view.running = 1000;  // no bound
    step(bench);
  }
  bench->view.running = 0;
}

// Nothing comes.
static void idle(struct bench *bench, int64_t time) {
  for (int64_t until = bench->now + time; bench->now < until;) {
    bench->now += NANOSECONDS_PER_SECOND / 4;
    step(bench);
  }
}

static struct autoscale_options plain(void) {
  struct autoscale_options options = autoscale_defaults();
  options.max_workers = 100;
  options.cold_mult = 1;
  options.start_burst = 100;
  return options;
}

static void ranges(void) {
  struct autoscale_options options = autoscale_defaults();
  EXPECT(autoscale_valid(&options));
  options.target_util = 1.01;
  EXPECT(!autoscale_valid(&options));
  options = autoscale_defaults();
  options.cold_workers = options.max_workers + 1;
  EXPECT(!autoscale_valid(&options));
  options = autoscale_defaults();
  options.min_load = (double)NAN;
  EXPECT(!autoscale_valid(&options));
  options = autoscale_defaults();
  options.max_workers = 0;
  EXPECT(!autoscale_valid(&options));
}

static void own_scores(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 20);
  offer(&bench, 0, 80, 100, SECONDS(1500));  // 8000 a second: 8 workers
  EXPECT_EQUAL(9, bench.wish.active);        // at 0.9 each
  autoscale_free(bench.autoscale);
  bench_open(&bench, &options, 20);
  offer(&bench, 1, 80, 1, SECONDS(1500));  // a hundredth of that, and a hundredth of the score
  EXPECT_EQUAL(9, bench.wish.active);
  autoscale_free(bench.autoscale);
}

static void least_load(void) {
  struct autoscale_options options = plain();
  options.min_load = 3500;
  struct bench bench;
  bench_open(&bench, &options, 20);
  bench.functions[1].score = 0;
  step(&bench);
  EXPECT_EQUAL(4, bench.wish.active);
  EXPECT_EQUAL(4, bench.wish.total);
  EXPECT(strstr(bench.wish.reason, "min_load 3500"));
  autoscale_free(bench.autoscale);
}

static void speeds(void) {
  struct autoscale_options options = plain();
  options.min_load = 3500;
  struct bench bench;
  bench_open(&bench, &options, 4);
  bench.functions[1].score = 0;
  bench.speeds[0] = 2.5;
  bench.speeds[1] = 0.9;
  bench.speeds[2] = bench.speeds[3] = 0.3;
  step(&bench);
  EXPECT_EQUAL(3, bench.wish.active);  // 2.5 + 0.9 + 0.3
  autoscale_free(bench.autoscale);
}

static void cold(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  options.cold_mult = 3;
  options.min_load = 2000;
  bench_open(&bench, &options, 1);
  bench.functions[1].score = 0;
  step(&bench);
  EXPECT_EQUAL(2, bench.wish.active);
  EXPECT_EQUAL(6, bench.wish.total);
  autoscale_free(bench.autoscale);
  options.cold_workers = 7;
  bench_open(&bench, &options, 1);
  bench.functions[1].score = 0;
  step(&bench);
  EXPECT_EQUAL(7, bench.wish.total);
  autoscale_free(bench.autoscale);
  options.min_cold_load = 8500;
  bench_open(&bench, &options, 1);
  bench.functions[1].score = 0;
  step(&bench);
  EXPECT_EQUAL(2, bench.wish.active);
  EXPECT_EQUAL(9, bench.wish.total);
  autoscale_free(bench.autoscale);
}

static void backlog(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 1);
  bench.view.waiting = 400;
  bench.functions[0].waiting = 70000;  // 70 s, within 30 s and a start of 5 s
  step(&bench);
  EXPECT_EQUAL(2, bench.wish.active);
  bench.view.waited = options.target_queue_time + 1;
  bench.view.starting = 1;
  step(&bench);
  EXPECT_EQUAL(5, bench.wish.active);  // within 10 s and a start
  autoscale_free(bench.autoscale);
}

static void one_each(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 1);
  bench.view.waiting = 2;
  bench.functions[0].waiting = 1e6;
  step(&bench);
  EXPECT_EQUAL(2, bench.wish.active);
  autoscale_free(bench.autoscale);
}

static void long_calls(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 1);
  bench.view.running = 3;
  for (int i = 0; i < 3; i++) {
    bench.functions[0].workload += 100000;  // 100 s each
    bench.functions[0].squares += 1e10;
    bench.now += SECONDS(1);
    step(&bench);
  }
  EXPECT(bench.wish.active <= 3);
  autoscale_free(bench.autoscale);
}

static void aggressive(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 10);
  bench.functions[0].score = bench.functions[1].score = 0;  // nobody knows what they cost
  bench.view.waiting = 50;
  bench.view.waited = options.target_queue_time;
  bench.now += SECONDS(20);
  step(&bench);
  EXPECT_EQUAL(1, bench.wish.active);
  bench.view.waited++;
  step(&bench);
  EXPECT_EQUAL(12, bench.wish.active);  // a fifth more than are active
  bench.view.ready = bench.view.active = 12;
  step(&bench);
  EXPECT_EQUAL(12, bench.wish.active);
  bench.now += SECONDS(5);
  step(&bench);
  EXPECT_EQUAL(14, bench.wish.active);
  bench.view.starting = 2;
  bench.now += SECONDS(5);
  step(&bench);
  EXPECT_EQUAL(14, bench.wish.active);  // these are under way
  autoscale_free(bench.autoscale);
}

static void held(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 20);
  offer(&bench, 0, 100, 100, SECONDS(120));
  uint32_t high = bench.wish.active;
  EXPECT(high >= 11);
  idle(&bench, SECONDS(58));
  EXPECT(bench.wish.active >= high);
  EXPECT(strstr(bench.wish.reason, "within the last 60 s") || bench.wish.active == high);
  idle(&bench, SECONDS(70));
  EXPECT(bench.wish.active < high / 2);
  autoscale_free(bench.autoscale);
}

static void old_enough(void) {
  EXPECT_EQUAL(SECONDS(160), autoscale_may_stop(SECONDS(30), SECONDS(100)));
}

static void waiting_is_demand(void) {
  struct autoscale_options options = plain();
  options.min_load = 0;
  options.inactivity_timeout = 0;
  struct bench bench;
  bench_open(&bench, &options, 0);
  idle(&bench, SECONDS(5));
  EXPECT_EQUAL(0, bench.wish.active);
  EXPECT_EQUAL(0, bench.wish.total);
  bench.functions[0].score = bench.functions[1].score = 0;
  bench.view.waiting = 1;
  step(&bench);
  EXPECT_EQUAL(1, bench.wish.active);
  bench.view = (struct autoscale_view){
      .functions = bench.functions, .speeds = bench.speeds, .ready = 1, .active = 1, .running = 1};
  idle(&bench, SECONDS(500));
  EXPECT_EQUAL(1, bench.wish.active);  // while it runs, too
  autoscale_free(bench.autoscale);
}

static void inactivity(void) {
  struct autoscale_options options = plain();
  options.min_load = 0;
  options.inactivity_timeout = SECONDS(20);
  options.cold_workers = 2;
  struct bench bench;
  bench_open(&bench, &options, 3);
  offer(&bench, 0, 10, 100, SECONDS(10));
  idle(&bench, SECONDS(20));
  EXPECT(bench.wish.active >= 1);
  idle(&bench, SECONDS(1));
  EXPECT_EQUAL(0, bench.wish.active);
  EXPECT_EQUAL(2, bench.wish.total);
  EXPECT(strstr(bench.wish.reason, "inactivity_timeout 20 s"));
  EXPECT(bench.wish.again == INT64_MAX);
  autoscale_free(bench.autoscale);
  options.inactivity_timeout = AUTOSCALE_NEVER;
  bench_open(&bench, &options, 3);
  idle(&bench, SECONDS(10000));
  EXPECT_EQUAL(1, bench.wish.active);
  autoscale_free(bench.autoscale);
}

static void start_rate(void) {
  struct autoscale_options options = plain();
  options.start_burst = 0;
  options.min_load = 90000;
  struct bench bench;
  bench_open(&bench, &options, 2);
  bench.functions[1].score = 0;
  uint32_t starts = 0;
  int64_t begin = bench.now;
  while (bench.now < begin + SECONDS(60)) {
    step(&bench);
    uint32_t there = bench.view.ready + bench.view.starting;
    EXPECT(bench.wish.total <= there + 1);
    if (bench.wish.total > there) {
      autoscale_started(bench.autoscale);
      bench.view.starting++;
      starts++;
    }
    EXPECT(bench.wish.again > bench.now && bench.wish.again < INT64_MAX);
    bench.now = bench.wish.again;
  }
  EXPECT(starts >= 6 && starts <= 8);  // one at once; then one in 10 s, and from 6 on a fifth
  EXPECT(strstr(bench.wish.reason, "not started at once"));
  autoscale_free(bench.autoscale);
}

static void bursts(void) {
  struct autoscale_options options = plain();
  options.start_burst = 30;
  options.min_load = 50000;
  struct bench bench;
  bench_open(&bench, &options, 0);
  bench.functions[1].score = 0;
  step(&bench);
  EXPECT_EQUAL(30, bench.wish.total);
  for (int i = 0; i < 30; i++) autoscale_started(bench.autoscale);
  bench.view.starting = 30;
  step(&bench);
  EXPECT_EQUAL(30, bench.wish.total);
  bench.now += SECONDS(5);
  step(&bench);
  EXPECT_EQUAL(33, bench.wish.total);  // a fifth of 30 in 10 s
  autoscale_free(bench.autoscale);
}

static void failing(void) {
  struct autoscale_options options = plain();
  options.min_load = 5000;
  struct bench bench;
  bench_open(&bench, &options, 1);
  bench.functions[1].score = 0;
  bench.view.starting = 1;
  bench.view.failing = true;
  step(&bench);
  EXPECT_EQUAL(2, bench.wish.total);
  EXPECT(strstr(bench.wish.reason, "latest start has failed"));
  bench.view.ready = bench.view.active = bench.view.starting = 0;
  step(&bench);
  EXPECT_EQUAL(1, bench.wish.total);
  autoscale_free(bench.autoscale);
}

static void under_way(void) {
  struct autoscale_options options = plain();
  options.min_load = 5000;
  struct bench bench;
  bench_open(&bench, &options, 1);
  bench.functions[1].score = 0;
  bench.view.starting = 4;
  step(&bench);
  EXPECT_EQUAL(5, bench.wish.total);
  autoscale_free(bench.autoscale);
}

static void settles(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 9);
  offer(&bench, 0, 50, 100, SECONDS(60));
  EXPECT(bench.wish.again <= bench.now + NANOSECONDS_PER_SECOND / 4);
  int steps = 0;
  for (; bench.wish.again != INT64_MAX && steps < 10000; steps++) {
    EXPECT(bench.wish.again > bench.now);
    bench.now = bench.wish.again;
    step(&bench);
  }
  EXPECT(steps < 500);
  EXPECT_EQUAL(1, bench.wish.active);
  autoscale_free(bench.autoscale);
}

static void after_idleness(void) {
  struct autoscale_options options = plain();
  struct bench bench;
  bench_open(&bench, &options, 1);
  idle(&bench, SECONDS(1));
  bench.now += SECONDS(3600);
  autoscale_observe(bench.autoscale, bench.functions, bench.now);
  offer(&bench, 0, 100, 100, SECONDS(4));
  EXPECT(bench.wish.active >= 8);
  autoscale_free(bench.autoscale);
}

// ---- against loads ----

static double at_once(double time) {
  return time < 30 ? 0 : 200;
}

static double square(double time) {
  return fmod(time, 40) < 20 ? 100 : 0;
}

static double day(double time) {
  return 40 * (1 - 0.8 * cos(2 * M_PI * time / 86400));
}

static void tenfold(void) {
  static const double start_times[] = {0.05, 5, 30};
  for (int i = 0; i < 3; i++) {
    static struct fleet fleet;
    fleet = (struct fleet){.options = plain(),
                           .start_time = start_times[i],
                           .score = 1000,
                           .workload = 100,
                           .rate = at_once,
                           .most = 200,
                           .end = 200};
    fleet.options.min_load = 2000;
    fleet_run(&fleet, 2);
    printf("a start of %g s: 95 %% wait less than %.2f s, %u workers at most\n", start_times[i],
           fleet_quantile(&fleet, 0.95), fleet.most_workers);
    EXPECT(fleet_quantile(&fleet, 0.95) <= 10 + start_times[i]);
    EXPECT(fleet.most_workers < 50);
    fleet_close(&fleet);
  }
}

static void no_flapping(void) {
  static struct fleet fleet;
  fleet = (struct fleet){.options = plain(),
                         .start_time = 5,
                         .score = 1000,
                         .workload = 100,
                         .rate = square,
                         .most = 100,
                         .end = 400};
  fleet_run(&fleet, 1);
  uint64_t starts = fleet.starts, stops = fleet.stops;
  fleet_close(&fleet);
  fleet = (struct fleet){.options = plain(),
                         .start_time = 5,
                         .score = 1000,
                         .workload = 100,
                         .rate = square,
                         .most = 100,
                         .end = 1200};
  fleet_run(&fleet, 1);
  printf("20 waves: %llu starts, %llu stops\n", (unsigned long long)(fleet.starts - starts),
         (unsigned long long)(fleet.stops - stops));
  EXPECT(fleet.starts - starts <= 20);
  EXPECT(fleet.stops - stops <= 20);
  fleet_close(&fleet);
}

static void diurnal(void) {
  static struct fleet fleet;
  fleet = (struct fleet){.options = plain(),
                         .start_time = 30,
                         .score = 1000,
                         .workload = 100,
                         .rate = day,
                         .most = 72,
                         .end = 86400};
  fleet.options.start_burst = 0;
  fleet_run(&fleet, 2);
  double least = 0;
  for (int time = 0; time < 86400; time++) least += ceil(day(time) / 10);
  printf("%.3f of the fewest workers that carry the load, 99 %% wait less than %.2f s\n",
         fleet.worker_seconds / least, fleet_quantile(&fleet, 0.99));
  EXPECT(fleet.worker_seconds <= 1.25 * least);
  EXPECT(fleet_quantile(&fleet, 0.99) < 2);
  fleet_close(&fleet);
}

static const struct check checks[] = {
    {"refuses options that are out of their ranges", ranges},
    {"divides the load of each function by its own score", own_scores},
    {"keeps capacity for min_load", least_load},
    {"counts workers by their speed, the fastest first", speeds},
    {"keeps cold_workers, min_cold_load and cold_mult times the load", cold},
    {"wants a backlog to be worked off within max_queue_time, or target_queue_time", backlog},
    {"wants no more workers for a backlog than calls wait", one_each},
    {"does not take a few long calls for a burst", long_calls},
    {"wants a fifth more once a call has waited for too long, whatever scores promise", aggressive},
    {"A1: wants for 60 s what was wanted", held},
    {"A1: lets no worker be stopped before twice the time of its start", old_enough},
    {"A10: wants a worker while a call waits or runs", waiting_is_demand},
    {"scales to zero after inactivity_timeout only", inactivity},
    {"A13: starts a fifth of the size in 10 s, one at least", start_rate},
    {"starts as many at once as it may", bursts},
    {"A2: starts no more while the latest start has failed", failing},
    {"counts starts under way", under_way},
    {"has nothing to do when all is settled", settles},
    {"sees calls after an hour of nothing for what they are", after_idleness},
    {"meets a load that grows tenfold at once within target_queue_time and a start", tenfold},
    {"A1: neither starts nor stops more than one worker in a square wave", no_flapping},
    {"costs at most a quarter more than the fewest workers through a day", diurnal},
};
CHECK_MAIN(checks)

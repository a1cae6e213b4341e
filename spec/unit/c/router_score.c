// Checks of host/core/router_score.c.
#include <math.h>

#include "../../../host/core/router_state.h"
#include "scene.h"

enum { BENCHMARKED, OTHER };

static uint64_t chance = 1;

static double uniform(void) {
  chance ^= chance >> 12;
  chance ^= chance << 25;
  chance ^= chance >> 27;
  return ((double)((chance * UINT64_C(0x2545F4914F6CDD1D)) >> 11) + 0.5) * 0x1p-53;
}

// Box and Muller.
static double normal(void) {
  return sqrt(-2 * log(uniform())) * cos(2 * 3.14159265358979 * uniform());
}

// Two functions, of which each worker has measured the first with its score; 0: it has not.
static struct scene scene_of(uint32_t workers, const double *scores) {
  struct scene scene = scene_open(0, 0);
  struct router_function functions[] = {{.concurrency = 1}, {.concurrency = 1}};
  EXPECT_EQUAL(0, scene_deploy(&scene, functions, 2, workers));
  for (uint32_t i = 0; i < workers; i++)
    scene_reports(&scene, i, MANIFEST, scores[i] > 0 ? 1 : 0, scores[i]);
  return scene;
}

static double score(const struct scene *scene, uint32_t worker, uint32_t function) {
  return router_score_now(scene->router->workers[worker], function, scene->now);
}

// Calls of 0.1 s at `speed`, scattered.
static void lessons(struct scene *scene, uint32_t worker, uint32_t function, int count,
                    double speed, double sigma) {
  for (int i = 0; i < count; i++) {
    scene->now += MILLISECONDS(100);
    router_score_learn(scene->router, scene->router->workers[worker], function, 0.1 * speed,
                       0.1 * exp(sigma * normal()), scene->now);
  }
}

static bool is_about(double value, double expected, double share) {
  return fabs(value - expected) <= expected * share;
}

static void begins(void) {
  struct scene scene = scene_of(2, (double[]){100, 0});
  EXPECT(score(&scene, 0, BENCHMARKED) == 100);
  EXPECT(score(&scene, 1, BENCHMARKED) == 0 && score(&scene, 0, OTHER) == 0);
  lessons(&scene, 1, BENCHMARKED, 1, 50, 0);
  EXPECT(is_about(score(&scene, 1, BENCHMARKED), 50, 1e-9));
  scene_close(&scene);
}

static void ratios(void) {
  struct scene scene = scene_of(3, (double[]){100, 200, 50});
  lessons(&scene, 0, OTHER, 4, 7, 0);
  EXPECT(is_about(score(&scene, 1, OTHER), 14, 1e-6));
  EXPECT(is_about(score(&scene, 2, OTHER), 3.5, 1e-6));
  lessons(&scene, 1, OTHER, 40, 7, 0);
  EXPECT(is_about(score(&scene, 1, OTHER), 7, 0.15));
  scene_close(&scene);
}

static void newcomer(void) {
  struct scene scene = scene_open(0, 0);
  struct router_function functions[] = {{.concurrency = 1}, {.concurrency = 1}};
  EXPECT_EQUAL(0, scene_deploy(&scene, functions, 2, 2));
  scene_reports(&scene, 0, MANIFEST, 1, 100);
  lessons(&scene, 0, OTHER, 30, 7, 0);
  scene_reports(&scene, 1, MANIFEST, 1, 200);
  EXPECT(is_about(score(&scene, 1, OTHER), 14, 1e-6));
  scene_close(&scene);
}

static void follows(void) {
  for (int i = 0; i < 100; i++) {
    struct scene scene = scene_of(1, (double[]){100});
    lessons(&scene, 0, BENCHMARKED, 50, 100, 0.5);
    lessons(&scene, 0, BENCHMARKED, 20, 20, 0.5);
    EXPECT(score(&scene, 0, BENCHMARKED) < 40);
    lessons(&scene, 0, BENCHMARKED, 20, 100, 0.5);
    EXPECT(score(&scene, 0, BENCHMARKED) > 50);
    scene_close(&scene);
  }
}

static void steady(void) {
  struct scene scene = scene_of(2, (double[]){100, 200});
  for (int i = 0; i < 100000; i++) {
    lessons(&scene, 0, BENCHMARKED, 1, 100, 0.5);
    lessons(&scene, 1, BENCHMARKED, 1, 200, 0.5);
    EXPECT(score(&scene, 0, BENCHMARKED) < score(&scene, 1, BENCHMARKED));
  }
  scene_close(&scene);
}

static void means(void) {
  struct scene scene = scene_of(1, (double[]){1});
  double least = 1e9, most = 0;
  for (int i = 0; i < 3000; i++) {
    lessons(&scene, 0, BENCHMARKED, 1, 100, 1);
    if (i < 1000) continue;
    least = fmin(least, score(&scene, 0, BENCHMARKED));
    most = fmax(most, score(&scene, 0, BENCHMARKED));
  }
  EXPECT(least > 60 * 0.5 && most < 60 * 1.8);  // 100 / exp(0.5) = 60.7
  scene_close(&scene);
}

static void accident(void) {
  struct scene scene = scene_of(1, (double[]){100});
  lessons(&scene, 0, BENCHMARKED, 50, 100, 0.1);
  lessons(&scene, 0, BENCHMARKED, 1, 0.1, 0.1);
  EXPECT(score(&scene, 0, BENCHMARKED) > 75);
  scene_close(&scene);
}

static void forgives(void) {
  struct scene scene = scene_of(1, (double[]){100});
  lessons(&scene, 0, BENCHMARKED, 100, 100, 0.1);
  lessons(&scene, 0, BENCHMARKED, 20, 5, 0.1);
  EXPECT(score(&scene, 0, BENCHMARKED) < 7);
  scene.now += SECONDS(40);
  EXPECT(score(&scene, 0, BENCHMARKED) > 80);
  lessons(&scene, 0, BENCHMARKED, 1, 5, 0.1);
  EXPECT(score(&scene, 0, BENCHMARKED) < 7);
  scene.now += SECONDS(40);
  EXPECT(score(&scene, 0, BENCHMARKED) < 80);  // doubted for longer
  scene.now += SECONDS(60);
  EXPECT(score(&scene, 0, BENCHMARKED) > 80);
  lessons(&scene, 0, BENCHMARKED, 1, 100, 0.1);
  EXPECT(score(&scene, 0, BENCHMARKED) > 80);
  lessons(&scene, 0, BENCHMARKED, 20, 100, 0.1);
  EXPECT(is_about(router_score(scene.router, 0, BENCHMARKED), 100, 0.15));
  scene_close(&scene);
}

static void normal_in_the_end(void) {
  struct scene scene = scene_of(1, (double[]){100});
  lessons(&scene, 0, BENCHMARKED, 100, 100, 0.1);
  lessons(&scene, 0, BENCHMARKED, 5000, 40, 0.1);
  scene.now += SECONDS(1000);
  EXPECT(is_about(score(&scene, 0, BENCHMARKED), 40, 0.15));
  scene_close(&scene);
}

static void nonsense(void) {
  struct scene scene = scene_of(1, (double[]){100});
  struct worker *worker = scene.router->workers[0];
  router_score_learn(scene.router, worker, BENCHMARKED, 0, 1, scene.now);
  router_score_learn(scene.router, worker, BENCHMARKED, 1, 0, scene.now);
  EXPECT(score(&scene, 0, BENCHMARKED) == 100);
  for (int i = 0; i < 100; i++)
    router_score_learn(scene.router, worker, BENCHMARKED, 1e300, 1e-5, scene.now);
  EXPECT(isfinite(score(&scene, 0, BENCHMARKED)));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"begins with what was measured, or with the first call", begins},
    {"expects of functions without a benchmark what the ratio of the benchmarks says", ratios},
    {"expects so of a worker that comes later", newcomer},
    {"follows a worker that becomes five times slower within 20 calls, and back", follows},
    {"keeps the order of workers two times apart in noise", steady},
    {"is the mean where times are scattered", means},
    {"is hardly moved by one call", accident},
    {"doubts a worker that became slow for longer after each trial, and finds it again", forgives},
    {"takes what lasts for normal", normal_in_the_end},
    {"learns nothing from what is no lesson", nonsense},
};
CHECK_MAIN(checks)

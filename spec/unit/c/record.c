// Checks of host/io/record.c: what it writes is what the simulator reads.
#include "../../../host/io/record.h"

#include <unistd.h>

#include "../../../host/core/error.h"
#include "../../../host/core/router.h"
#include "../../../host/simulate/trace.h"
#include "check.h"

#define SECOND INT64_C(1000000000)

static const char *const kFunctions[] = {"square", "cube"};

static void make_path(char *path) {
  strcpy(path, "/tmp/farside-record-XXXXXX");
  int fd = mkstemp(path);
  EXPECT(fd >= 0);
  close(fd);
}

static char *read_all(const char *path, size_t *size) {
  static char text[4096];
  FILE *file = fopen(path, "r");
  EXPECT(file);
  *size = fread(text, 1, sizeof text - 1, file);
  text[*size] = 0;
  fclose(file);
  return text;
}

static void add(struct record *record, const char *deployment, uint32_t function,
                const struct router_ended *ended) {
  struct record_place place = {.deployment = deployment,
                               .function = kFunctions[function],
                               .function_size = strlen(kFunctions[function]),
                               .first_worker = 10};
  record_call(record, &place, ended, 100 * SECOND);
}

static void check_lines(void) {
  char path[64];
  struct record *record;
  make_path(path);
  EXPECT_EQUAL(0, record_open(&record, path, 100 * SECOND));
  struct router_ended ended = {.worker = 12,
                               .outcome = ERROR_NAMES,
                               .arrived = 112 * SECOND + 250000,
                               .wait = 31000,
                               .run = 10213000,
                               .workload = 100};
  add(record, "shapes", 0, &ended);
  ended = (struct router_ended){.worker = ROUTER_NONE,
                                .outcome = ERROR_DEADLINE_EXCEEDED,
                                .arrived = 101 * SECOND,
                                .wait = 30 * SECOND,
                                .run = -1,
                                .workload = 0.125};
  add(record, "shapes", 1, &ended);
  add(record, "others", 1, &ended);
  record_close(record);
  size_t size;
  char *text = read_all(path, &size);
  EXPECT(!strcmp(text,
                 "arrival,deployment,function,workload,service,wait,worker,outcome\n"
                 "12.000250,shapes,square,100,0.010213,0.000031,2,ok\n"
                 "1.000000,shapes,cube,0.125,,30.000000,,DeadlineExceeded\n"
                 "1.000000,others,cube,0.125,,30.000000,,DeadlineExceeded\n"));
  struct trace_problem problem;
  struct trace *trace =
      trace_read(text, size, &(struct trace_names){"shapes", kFunctions, 2}, &problem);
  EXPECT(trace);
  EXPECT_EQUAL(2, trace->count);
  EXPECT_EQUAL(1, trace->calls[0].function);
  EXPECT(trace->calls[0].arrival == 0 && trace->calls[0].workload == 0.125);
  EXPECT(trace->calls[0].service < 0 && trace->calls[1].service > 0.010212);
  EXPECT(trace->calls[1].arrival > 11.000249 && trace->calls[1].arrival < 11.000251);
  free(trace);
  unlink(path);
}

// Calls are in the file a second later, without an end.
static void check_flush(void) {
  char path[64];
  struct record *record;
  size_t size;
  make_path(path);
  EXPECT_EQUAL(0, record_open(&record, path, 99 * SECOND));
  add(record, "shapes", 0, &(struct router_ended){.outcome = ERROR_NAMES, .worker = 10});
  EXPECT(strstr(read_all(path, &size), ",0,ok\n"));
  record_close(record);
  unlink(path);
}

static void check_refusals(void) {
  struct record *record;
  EXPECT_EQUAL(-2, record_open(&record, "/nowhere/record.csv", 0));
  record_close(NULL);
  // A full disk is no end of the calls.
  EXPECT_EQUAL(0, record_open(&record, "/dev/full", 0));
  for (int i = 0; i < 3; i++)
    add(record, "shapes", 0, &(struct router_ended){.outcome = ERROR_NAMES, .worker = 10});
  record_close(record);
}

static const struct check checks[] = {
    {"writes lines that the simulator reads", check_lines},
    {"holds lines back for a second at most", check_flush},
    {"goes on when the file cannot be written", check_refusals},
};
CHECK_MAIN(checks)

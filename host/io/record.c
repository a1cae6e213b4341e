#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/router.h"
#include "log.h"

struct record {
  FILE *file;  // NULL: it could not be written any more
  char *path;
  int64_t begun, flushed;
};

int record_open(struct record **out, const char *path, int64_t now) {
  FILE *file = fopen(path, "we");
  if (!file) return -errno;
  struct record *record = xcalloc(1, sizeof *record);
  record->file = file;
  record->path = strdup(path);
  record->begun = record->flushed = now;
  fputs("arrival,deployment,function,workload,service,wait,worker,outcome\n", file);
  *out = record;
  return 0;
}

static void give_up(struct record *record) {
  char text[512];
  snprintf(text, sizeof text, "%.300s cannot be written any more: %s", record->path,
           strerror(errno));
  log_line("record", text);
  fclose(record->file);
  record->file = NULL;
}

static double seconds(int64_t nanoseconds) {
  return (double)nanoseconds / 1e9;
}

void record_call(struct record *record, const struct record_place *place,
                 const struct router_ended *ended, int64_t now) {
  FILE *file = record->file;
  if (!file) return;
  fprintf(file, "%.6f,%s,%.*s,%.10g,", seconds(ended->arrived - record->begun), place->deployment,
          (int)place->function_size, place->function, ended->workload);
  if (ended->run >= 0) fprintf(file, "%.6f", seconds(ended->run));
  fprintf(file, ",%.6f,", seconds(ended->wait));
  if (ended->worker != ROUTER_NONE) fprintf(file, "%u", ended->worker - place->first_worker);
  const char *outcome = ended->outcome == ERROR_NAMES ? "ok" : error_text(ended->outcome);
  bool failed = fprintf(file, ",%s\n", outcome) < 0;
  if (!failed && now - record->flushed >= NANOSECONDS_PER_SECOND) {
    record->flushed = now;
    failed = fflush(file) != 0;
  }
  if (failed) give_up(record);
}

void record_close(struct record *record) {
  if (!record) return;
  if (record->file && fflush(record->file)) give_up(record);
  if (record->file) fclose(record->file);
  free(record->path);
  free(record);
}

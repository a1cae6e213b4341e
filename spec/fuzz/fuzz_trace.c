// Fuzzes the reader of traces: a file is refused with a line and a sentence, or its calls are finite
// numbers in the order of their arrival, of functions that there are.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/simulate/trace.h"

static void expect(int condition) {
  if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  static const char *const functions[] = {"square", "cube"};
  struct trace_names names = {"shapes", functions, 1 + size % 2};
  struct trace_problem problem = {0};
  char *text = malloc(size + 1);  // of its own, so that a byte too far is seen
  memcpy(text, data, size);
  struct trace *trace = trace_read(text, size, &names, &problem);
  uint32_t lines = size > 0;
  for (size_t i = 0; i < size; i++) lines += data[i] == '\n';
  if (!trace) {
    expect(problem.line <= lines && problem.text[0]);
    expect(memchr(problem.text, 0, sizeof problem.text) != NULL);
  }
  for (size_t i = 0; trace && i < trace->count; i++) {
    const struct trace_call *call = &trace->calls[i];
    expect(isfinite(call->arrival) && call->arrival >= 0);
    expect(!i || call->arrival >= trace->calls[i - 1].arrival);
    expect(isfinite(call->workload) && call->workload >= 0 && isfinite(call->service));
    expect(call->function < names.function_count);
  }
  free(trace);
  free(text);
  return 0;
}

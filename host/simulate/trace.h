// Calls that came once, to come again: a file of lines with comma-separated columns.
//
//   arrival,function,workload,service
//   0.000,square,100,0.0102
//   0.013,cube,250,
//
// The first line may name the columns, in any order. Others than these four mean nothing here, but
// for `deployment`: lines that name another one are passed over. Without such a line they are in
// this order. `arrival` (seconds of any clock) is needed, `function` where the deployment has
// several. `workload` is 100 where it is missing, as for a function without a calculator. `service`
// is how many seconds the call took on a worker of the reference speed; where it is missing its
// workload says it. Lines that are empty or begin with # mean nothing. The calls may come in any
// order; the first one is at 0.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct trace_call {
  double arrival;   // seconds
  double workload;  // as the client tells it
  double service;   // seconds at the reference speed; negative: not known
  uint32_t function;
};

struct trace {
  size_t count;
  struct trace_call calls[];  // in the order of their arrival
};

/// Where and why a text is no trace: `calls.csv:LINE: ` belongs before the text.
struct trace_problem {
  uint32_t line;
  char text[200];
};

struct trace_names {
  const char *deployment;
  const char *const *functions;
  uint32_t function_count;
};

/// Reads a text of at most 2^32 lines. NULL: it is none, `problem` says why. The caller frees with
/// free().
struct trace *trace_read(const char *text, size_t size, const struct trace_names *names,
                         struct trace_problem *problem);

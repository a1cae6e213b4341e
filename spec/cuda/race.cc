// Reductions in the shape that a GPU runs, for race_spec.lua: race NUMBER leaves out the barrier
// that the spec has numbered so, 0 none. The exit code says whether the sums are right.
#include <stdio.h>
#include <stdlib.h>

static int left_out;

#include "reduce.cu"

constexpr int kRows = 23, kLength = 1500;  // more rows than blocks, each a block's work

static float numbers_of[kRows * kLength], sums[kLength];

static struct kernel_view view_of(float *data, int64_t rows, int64_t columns) {
  return {data, KERNEL_F32, 2, {rows, columns}, {columns, 1}};
}

static bool sums_are(int count, float expected) {
  for (int i = 0; i < count; ++i) {
    if (sums[i] != expected) return false;
  }
  return true;
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  left_out = atoi(arguments[1]);
  simt::threads(1);  // of the processor: a race is one between threads of a block
  for (float &x : numbers_of) x = 1;
  static char workspace[1 << 20];
  const struct kernel_view in = view_of(numbers_of, kRows, kLength);
  const struct kernel_view of_rows = view_of(sums, kRows, 1),
                           of_columns = view_of(sums, 1, kLength);
  if (kernel_reduce(KERNEL_SUM, &of_rows, &in, workspace, sizeof workspace, nullptr)) return 3;
  bool right = sums_are(kRows, kLength);
  if (kernel_reduce(KERNEL_SUM, &of_columns, &in, workspace, sizeof workspace, nullptr)) return 3;
  right = right && sums_are(kLength, kRows);
  puts(right ? "right" : "wrong");
  return right ? 0 : 1;
}

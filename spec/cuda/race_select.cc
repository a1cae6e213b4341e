// Top-k and sort in the shape that a GPU runs, for race_spec.lua, as race.cc.
#include <stdio.h>
#include <stdlib.h>

static int left_out;

#include "sort.cu"
#include "topk.cu"

constexpr int kRows = 6;       // more than blocks
constexpr int kColumns = 520;  // more than a block sorts in shared memory

static float numbers_of[kRows * kColumns], values[kRows * kColumns];

static struct kernel_view view_of(float *data, int64_t rows, int64_t columns) {
  return {data, KERNEL_F32, 2, {rows, columns}, {columns, 1}};
}

// Whether each row begins with the largest, and falls by one.
static bool rows_fall(int rows, int columns, int k) {
  bool fall = true;
  for (int i = 0; i < rows * k; ++i) fall = fall && values[i] == columns - 1 - i % k;
  return fall;
}

// Numbers from 0 on in another order in each row.
static void scatter(int rows, int columns, int step) {
  for (int i = 0; i < rows * columns; ++i) {
    numbers_of[i] = static_cast<float>((i % columns * step + i / columns) % columns);
  }
}

static char workspace[1 << 20];

static bool runs(int rows, int columns, int k, bool sorts) {
  scatter(rows, columns, 7);
  const struct kernel_view in = view_of(numbers_of, rows, columns), out = view_of(values, rows, k);
  if ((sorts ? kernel_sort : kernel_topk)(&out, nullptr, &in, 1, 0, workspace, sizeof workspace,
                                          nullptr)) {
    exit(3);
  }
  return rows_fall(rows, columns, k);
}

// With another argument only what that file has runs.
int main(int count, char **arguments) {
  if (count < 2) return 2;
  left_out = atoi(arguments[1]);
  simt::threads(1);  // of the processor: a race is one between threads of a block
  bool right = true;
  if (count < 3 || strcmp(arguments[2], "topk.cu") == 0) {
    right = runs(kRows, 200, 40, false);
    right = runs(1, kColumns, 3, false) && right;
  }
  if (count < 3 || strcmp(arguments[2], "sort.cu") == 0) {
    right = runs(1, 40, 40, true) && right;
    right = runs(kRows, kColumns, kColumns, true) && right;
  }
  puts(right ? "right" : "wrong");
  return right ? 0 : 1;
}

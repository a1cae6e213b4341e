// farside: arguments -> role; nothing else.
#include <stdio.h>
#include <string.h>

#include "vm/executor.h"
#include "vm/run.h"

enum { DATA = 3, CONTROL, PAGE };

int main(int count, char **arguments) {
  if (count >= 2 && !strcmp(arguments[1], "worker")) return executor_main(DATA, CONTROL, PAGE);
  return run_main(count, arguments);
}

// Checks of real worker processes, which have this program for a router.
#define _GNU_SOURCE
#include "process.h"

// The functions by number, in the order of the script.
enum { ECHO, FAIL, NAP, SPIN, BLOCK, MEMORY, MANY, CAUGHT, GLOBALS, BUSY };

static const char kScript[] =
    "local farside = require 'farside'\n"
    "local app = farside.deployment { name = 'checks' }\n"
    "local Context = {}\n"
    "Context.__index = Context\n"
    "function Context:enter() return self end\n"
    "function Context:exit() io.stderr:write 'context exited\\n' end\n"
    "app.context()(Context)\n"
    "app.remote { name = 'echo', benchmark_dataset = { {} }, benchmark_runs = 1,\n"
    "  benchmark_warmup = false }(function(...) return ... end)\n"
    "app.remote { name = 'fail' }(function() error { code = 7 } end)\n"
    "app.remote { name = 'nap', concurrency = 8 }(function(s) farside.sleep(s) return s end)\n"
    "app.remote { name = 'spin' }(function() local n = 0 while true do n = n + 1 end end)\n"
    "app.remote { name = 'block', concurrency = 8 }(function(s)\n"
    "  return (('x'):gsub('x', function() farside.sleep(s) return 'y' end))\n"
    "end)\n"
    "app.remote { name = 'memory' }(function()\n"
    "  local t = {}\n"
    "  for i = 1, 1e9 do t[i] = ('x'):rep(1e6) .. i end\n"
    "end)\n"
    "app.remote { name = 'many' }(function(n) return unpack({}, 1, n) end)\n"
    "app.remote { name = 'caught', concurrency = 8 }(function()\n"
    "  return (pcall(farside.sleep, 20))\n"
    "end)\n"
    "app.remote { name = 'globals' }(function()\n"
    "  local answer = loadstring 'return print and 1 or 0'\n"
    "  setfenv(0, {})\n"
    "  return answer()\n"
    "end)\n"
    "app.remote { name = 'busy' }(function(s)\n"
    "  local now = require('farside.native').now\n"
    "  local till = now() + s\n"
    "  while now() < till do end\n"
    "  return s\n"
    "end)\n"
    "return app\n";

static void set_up(struct worker *worker, size_t memory) {
  memset(worker, 0, sizeof *worker);
  write_script(worker, kScript);
  spawn(worker, memory);
  start(worker);
  struct message message = hear(worker, CONTROL);
  if (message.type == MESSAGE_GOODBYE) expect_field(&message, "message", "it is ready");
  EXPECT_EQUAL(MESSAGE_READY, message.type);
  EXPECT_EQUAL(GENERATION, message.generation);
  payload_unref(message.body);
}

static void drain(struct worker *worker) {
  say(worker, CONTROL,
      (struct message){.type = MESSAGE_DRAIN, .remaining = NANOSECONDS_PER_SECOND});
  expect_exit(worker, 0);
  EXPECT(strstr(worker->text, "context exited\n"));
}

// ---- calls ----

static void calls_are_answered(void) {
  struct worker worker;
  set_up(&worker, 0);
  for (int i = 1; i <= 100; i++) expect_number(&worker, call(&worker, ECHO, 1, i), i);
  EXPECT_EQUAL(100, atomic_load(&worker.page->entered));
  EXPECT_EQUAL(100, atomic_load(&worker.page->left));
  drain(&worker);
}

static void many_calls_at_once(void) {
  struct worker worker;
  struct buffer bytes = BUFFER_EMPTY;
  set_up(&worker, 0);
  for (int i = 1; i <= 2000; i++) {
    struct message message = call_of(&worker, ECHO, numbers(1, i));
    frame_append(&bytes, &message);
    payload_unref(message.body);
  }
  write_all(worker.fd[DATA], bytes.bytes, bytes.size);
  for (int i = 1; i <= 2000; i++) expect_number(&worker, (uint64_t)i, i);
  buffer_free(&bytes);
  drain(&worker);
}

static void large_values(void) {
  struct worker worker;
  struct buffer bytes = BUFFER_EMPTY;
  size_t size = 16 * MEBIBYTE;
  set_up(&worker, 0);
  pack_array(&bytes, 1);
  pack_bin_head(&bytes, size);
  EXPECT(buffer_reserve(&bytes, size));
  for (size_t i = 0; i < size; i++) bytes.bytes[bytes.size++] = (unsigned char)(i * 7 >> 8);
  for (int i = 1; i <= 3; i++) {
    say(&worker, DATA, call_of(&worker, ECHO, payload_copy(bytes.bytes, bytes.size)));
    call(&worker, ECHO, 1, i);
    struct message message = answer(&worker, MESSAGE_RESULT, worker.sequence - 1);
    EXPECT_EQUAL(bytes.size, message.body->size);
    EXPECT(!memcmp(bytes.bytes, message.body->bytes, bytes.size));
    payload_unref(message.body);
    expect_number(&worker, worker.sequence, i);
  }
  buffer_free(&bytes);
  drain(&worker);
}

static void errors_travel(void) {
  struct worker worker;
  set_up(&worker, 0);
  struct message message = answer(&worker, MESSAGE_ERROR, call(&worker, FAIL, 0, 0));
  struct cursor cursor = cursor_of(message.body->bytes, message.body->size), data, code, trace;
  const unsigned char *text;
  size_t count, size;
  uint64_t number;
  expect_field(&message, "name", "RemoteError");
  expect_field(&message, "executed", "yes");
  EXPECT(cursor_array(&cursor, &count) && cursor_find(cursor, "data", &data));
  EXPECT(cursor_find(data, "code", &code) && cursor_uint(&code, &number));
  EXPECT_EQUAL(7, number);
  EXPECT(cursor_find(cursor, "traceback", &trace) && cursor_str(&trace, &text, &size));
  EXPECT(memmem(text, size, "deploy.lua:10:", 14));
  payload_unref(message.body);
  expect_error(&worker, call(&worker, 99, 0, 0), "NoSuchFunction", "no");
  expect_error(&worker, call(&worker, MANY, 1, 5000), "ResultTooLarge", "yes");
  expect_number(&worker, call(&worker, ECHO, 1, 5), 5);
  drain(&worker);
}

static void globals_stay(void) {
  struct worker worker;
  set_up(&worker, 0);
  expect_number(&worker, call(&worker, GLOBALS, 0, 0), 1);
  expect_number(&worker, call(&worker, GLOBALS, 0, 0), 1);
  drain(&worker);
}

static void memory_runs_out(void) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they need the address space
  struct worker worker;
  set_up(&worker, 500 * (size_t)MEBIBYTE);
  for (int i = 0; i < 3; i++) {
    struct message message = answer(&worker, MESSAGE_ERROR, call(&worker, MEMORY, 0, 0));
    expect_field(&message, "name", "RemoteError");
    expect_field(&message, "kind", "memory");
    expect_field(&message, "executed", "yes");
    payload_unref(message.body);
    expect_number(&worker, call(&worker, ECHO, 1, i), i);
  }
  drain(&worker);
#endif
}

// ---- cancels ----

static void cancelled_before_it_comes(void) {
  struct worker worker;
  set_up(&worker, 0);
  expect_number(&worker, call(&worker, ECHO, 1, 1), 1);
  cancel(&worker, 2);
  settle(&worker);
  expect_error(&worker, call(&worker, SPIN, 0, 0), "DeadlineExceeded", "no");
  EXPECT_EQUAL(1, atomic_load(&worker.page->entered));
  expect_number(&worker, call(&worker, ECHO, 1, 3), 3);
  drain(&worker);
}

static void cancelled_at_its_wait(void) {
  struct worker worker;
  set_up(&worker, 0);
  uint64_t late = call(&worker, NAP, 1, 20), other = call(&worker, NAP, 1, 0.05);
  while (atomic_load(&worker.page->entered) < other) poll(NULL, 0, 1);
  cancel(&worker, late);
  expect_error(&worker, late, "RemoteError", "yes");
  expect_number(&worker, other, 0.05);
  drain(&worker);
}

// Its coroutine knows that it was cancelled; the next call has one of its own.
static void cancelled_and_caught(void) {
  struct worker worker;
  set_up(&worker, 0);
  for (int i = 0; i < 3; i++) {
    uint64_t late = call(&worker, CAUGHT, 0, 0);
    while (atomic_load(&worker.page->entered) < late) poll(NULL, 0, 1);
    cancel(&worker, late);
    payload_unref(answer(&worker, MESSAGE_RESULT, late).body);
    expect_number(&worker, call(&worker, NAP, 1, 0.01), 0.01);
  }
  drain(&worker);
}

static void cancels_of_ended_calls(void) {
  struct worker worker;
  set_up(&worker, 0);
  expect_number(&worker, call(&worker, ECHO, 1, 1), 1);
  for (int i = 0; i < 10; i++) {
    for (int j = 0; j < 500; j++) cancel(&worker, 1);
    settle(&worker);
    expect_number(&worker, call(&worker, NAP, 1, 0.001), 0.001);
  }
  uint64_t late = call(&worker, NAP, 1, 20);
  while (atomic_load(&worker.page->entered) < late) poll(NULL, 0, 1);
  cancel(&worker, late);
  expect_error(&worker, late, "RemoteError", "yes");
  drain(&worker);
}

// The executor finds calls each time it looks, for more bytes came than it reads in one turn, and
// has no reason to sleep until all are answered.
static void cancelled_while_calls_flow(void) {
  enum { CALLS = 4000 };
  struct worker worker;
  struct buffer bytes = BUFFER_EMPTY;
  set_up(&worker, 0);
  uint64_t late = call(&worker, NAP, 1, 20);
  for (int i = 0; i < 2; i++) {  // the second turn follows the first one at once
    uint64_t busy = call(&worker, BUSY, 1, 0.1);
    while (atomic_load(&worker.page->entered) < busy) poll(NULL, 0, 1);
  }
  cancel(&worker, late);
  settle(&worker);
  for (int i = 0; i < CALLS; i++) {
    struct message message = call_of(&worker, ECHO, numbers(1, i));
    frame_append(&bytes, &message);
    payload_unref(message.body);
  }
  write_all(worker.fd[DATA], bytes.bytes, bytes.size);
  buffer_free(&bytes);
  int before = 0;
  for (int i = 0; i < 3 + CALLS; i++) {
    struct message message = hear(&worker, DATA);
    payload_unref(message.body);
    if (message.sequence == late) before = i;
  }
  EXPECT(before > 0 && before < CALLS);
  drain(&worker);
}

static void interrupted_while_it_runs(void) {
  struct worker worker;
  set_up(&worker, 0);
  uint64_t late = call(&worker, SPIN, 0, 0);
  while (atomic_load(&worker.page->entered) < late) poll(NULL, 0, 1);
  cancel(&worker, late);
  struct message message = hear(&worker, CONTROL);
  EXPECT_EQUAL(MESSAGE_GOODBYE, message.type);
  EXPECT_EQUAL(83, message.code);
  EXPECT_EQUAL(PHASE_TAINTED, message.reason);
  EXPECT_EQUAL(0, hear(&worker, DATA).type);
  expect_exit(&worker, 83);
  EXPECT(strstr(worker.text, "context exited\n"));
}

// ---- calls that block ----

static void others_end_while_one_blocks(void) {
  struct worker worker;
  set_up(&worker, 0);
  uint64_t first = call(&worker, NAP, 1, 0.05);
  uint64_t blocks = call(&worker, BLOCK, 1, 0.3);
  expect_number(&worker, first, 0.05);
  payload_unref(answer(&worker, MESSAGE_RESULT, blocks).body);
  EXPECT_EQUAL(2, atomic_load(&worker.page->left));
  drain(&worker);
}

static void blocking_call_is_cancelled(void) {
  struct worker worker;
  set_up(&worker, 0);
  uint64_t late = call(&worker, BLOCK, 1, 20);
  while (atomic_load(&worker.page->entered) < late) poll(NULL, 0, 1);
  cancel(&worker, late);
  expect_error(&worker, late, "RemoteError", "yes");
  expect_number(&worker, call(&worker, ECHO, 1, 3), 3);
  drain(&worker);
}

// ---- ends ----

static void router_vanishes(void) {
  struct worker worker;
  int64_t since;
  set_up(&worker, 0);
  since = wait_now();
  hang_up(&worker);
  expect_exit(&worker, 84);
  EXPECT(wait_now() - since < NANOSECONDS_PER_SECOND);
  EXPECT(strstr(worker.text, "context exited\n"));
}

static void router_vanishes_in_calls(void) {
  static const uint32_t functions[] = {NAP, SPIN, BLOCK};
  for (int i = 0; i < 3; i++) {
    struct worker worker;
    set_up(&worker, 0);
    uint64_t sequence = call(&worker, functions[i], 1, 20);
    while (atomic_load(&worker.page->entered) < sequence) poll(NULL, 0, 1);
    int64_t since = wait_now();
    hang_up(&worker);
    int status = await(&worker);
    if (!WIFEXITED(status) || !WEXITSTATUS(status)) {
      printf("function %u: status %x; it printed:\n%s\n", functions[i], status, worker.text);
      exit(1);
    }
    EXPECT(wait_now() - since < 2 * NANOSECONDS_PER_SECOND);
    EXPECT(strstr(worker.text, "context exited\n"));
  }
}

static void killed_worker_leaves_its_page(void) {
  struct worker worker;
  set_up(&worker, 0);
  expect_number(&worker, call(&worker, ECHO, 1, 1), 1);
  uint64_t spins = call(&worker, SPIN, 0, 0);
  call(&worker, ECHO, 1, 1);
  while (atomic_load(&worker.page->entered) < spins) poll(NULL, 0, 1);
  poll(NULL, 0, 20);
  kill(worker.pid, SIGKILL);
  EXPECT(wait_for(worker.fd[DATA], LATEST));
  EXPECT_EQUAL(spins, atomic_load(&worker.page->entered));
  EXPECT_EQUAL(1, atomic_load(&worker.page->left));
  int status = await(&worker);
  EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void drain_lets_calls_end(void) {
  struct worker worker;
  set_up(&worker, 0);
  uint64_t sequence = call(&worker, NAP, 1, 0.1);
  while (atomic_load(&worker.page->entered) < sequence) poll(NULL, 0, 1);
  say(&worker, CONTROL,
      (struct message){.type = MESSAGE_DRAIN, .remaining = NANOSECONDS_PER_SECOND});
  expect_number(&worker, sequence, 0.1);
  expect_exit(&worker, 0);
}

static void repeated_sequence(void) {
  struct worker worker;
  set_up(&worker, 0);
  expect_number(&worker, call(&worker, ECHO, 1, 1), 1);
  worker.sequence--;
  call(&worker, ECHO, 1, 1);
  EXPECT_EQUAL(0, hear(&worker, DATA).type);
  expect_exit(&worker, 70);
}

static void bytes_that_are_no_frames(void) {
  struct worker worker;
  set_up(&worker, 0);
  write_all(worker.fd[DATA], "\0\0\0\5hello", 9);
  EXPECT_EQUAL(0, hear(&worker, DATA).type);
  expect_exit(&worker, 70);
  EXPECT(strstr(worker.text, "no frames"));
}

static void script_that_fails(void) {
  struct worker worker = {0};
  write_script(&worker, "error 'what a script'\n");
  spawn(&worker, 0);
  start(&worker);
  struct message message = hear(&worker, CONTROL);
  EXPECT_EQUAL(MESSAGE_GOODBYE, message.type);
  EXPECT_EQUAL(65, message.code);
  EXPECT_EQUAL(PHASE_BUNDLE, message.reason);
  expect_field(&message, "executed", "no");
  payload_unref(message.body);
  expect_exit(&worker, 65);
}

static void started_by_hand(void) {
  char path[PATH_MAX], text[256] = "";
  int output[2], status;
  find_executable(path);
  EXPECT(!pipe(output));
  pid_t pid = fork();
  if (!pid) {
    dup2(output[1], STDERR_FILENO);
    close_range(3, ~0u, 0);
    execl(path, path, "worker", (char *)NULL);
    _exit(127);
  }
  close(output[1]);
  EXPECT(read(output[0], text, sizeof text - 1) > 0);
  EXPECT_EQUAL(pid, waitpid(pid, &status, 0));
  EXPECT_EQUAL(64, WEXITSTATUS(status));
  EXPECT(strstr(text, "farside run SCRIPT"));
  close(output[0]);
}

static void nothing_is_inherited(void) {
  struct worker worker;
  set_up(&worker, 0);
  char path[64], target[256];
  for (int fd = 20; fd < 24; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)worker.pid, fd);
    EXPECT(readlink(path, target, sizeof target) < 0);
  }
  EXPECT_EQUAL(worker.pid, getpgid(worker.pid));
  drain(&worker);
}

static const struct check kChecks[] = {
    {"answers calls and counts them in its page", calls_are_answered},
    {"answers 2,000 calls that came at once, in their order", many_calls_at_once},
    {"takes and returns 16 MiB unharmed", large_values},
    {"answers errors by what they are, and goes on", errors_travel},
    {"gives each call the globals of the process", globals_stay},
    {"survives that memory runs out", memory_runs_out},
    {"refuses a call whose cancel came first", cancelled_before_it_comes},
    {"ends a cancelled call at its wait and none beside it", cancelled_at_its_wait},
    {"lets no call feel the cancel of another one", cancelled_and_caught},
    {"forgets cancels of calls that have ended", cancels_of_ended_calls},
    {"hears of a cancel while calls come in all the time", cancelled_while_calls_flow},
    {"interrupts a cancelled loop, answers nothing, says goodbye", interrupted_while_it_runs},
    {"lets other calls end while one blocks", others_end_while_one_blocks},
    {"ends a cancelled call that blocks, and goes on", blocking_call_is_cancelled},
    {"ends when the router vanishes, its contexts exited", router_vanishes},
    {"ends when the router vanishes, whatever its calls do", router_vanishes_in_calls},
    {"leaves in its page what it had entered when it is killed", killed_worker_leaves_its_page},
    {"lets its calls end when it is drained", drain_lets_calls_end},
    {"refuses a sequence that does not grow", repeated_sequence},
    {"refuses bytes that are no frames", bytes_that_are_no_frames},
    {"says goodbye when its script fails", script_that_fails},
    {"is not to be started by hand", started_by_hand},
    {"inherits no descriptor and leads a group of its own", nothing_is_inherited},
};

CHECK_MAIN(kChecks)

// Checks of host/io/local.c, spawn.c, log.c and page.c, with the stand-in of a worker.
#define _GNU_SOURCE
#include "../../../host/io/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../../../host/io/wait.h"
#include "frames.h"

enum { WORKER = 2, GENERATION = 5, TEXT = 8 * 1024 * 1024 };

#define SECOND INT64_C(1000000000)

// What the provider said of its workers, and what they printed.
struct shell {
  uv_loop_t loop;
  struct local *local;
  uint32_t ready, results, pongs, lost;
  uint32_t results_when_lost;
  enum lost_reason reason;
  int code;
  uint64_t entered;
  char said[64];
  int saved_stderr, text_fd;
  char *text;
  size_t text_size;
};

static void on_message(void *owner, uint32_t worker, uint32_t generation, struct message *message) {
  struct shell *shell = owner;
  EXPECT(worker == WORKER || worker == WORKER + 1);
  EXPECT_EQUAL(GENERATION, generation);
  shell->ready += message->type == MESSAGE_READY;
  shell->results += message->type == MESSAGE_RESULT;
  shell->pongs += message->type == MESSAGE_PONG;
  payload_unref(message->body);
}

static void on_lost(void *owner, uint32_t worker, uint32_t generation, enum lost_reason reason,
                    int code, uint64_t entered, const char *said) {
  struct shell *shell = owner;
  EXPECT_EQUAL(GENERATION, generation);
  EXPECT_EQUAL(0, local_pid(shell->local, worker));
  shell->lost++;
  shell->reason = reason;
  shell->code = code;
  shell->entered = entered;
  snprintf(shell->said, sizeof shell->said, "%s", said);
  shell->results_when_lost = shell->results;
}

// ../support/stand_in beside the folder of this program, or what FARSIDE_STAND_IN names.
static const char *stand_in(char path[PATH_MAX]) {
  const char *given = getenv("FARSIDE_STAND_IN");
  ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 40);
  EXPECT(size > 0);
  path[size] = 0;
  strcpy(strrchr(path, '/'), "/../support/stand_in");
  return given ? given : path;
}

static void shell_open_with(struct shell *shell, const char *executable) {
  static const struct local_events events = {on_message, on_lost, NULL};
  *shell = (struct shell){.saved_stderr = -1, .text_fd = -1};
  EXPECT(!uv_loop_init(&shell->loop));
  shell->local = local_new(&shell->loop, executable, &events, shell);
}

static void shell_open(struct shell *shell) {
  char path[PATH_MAX];
  shell_open_with(shell, stand_in(path));
}

static void shell_close(struct shell *shell) {
  local_close(shell->local);
  uv_run(&shell->loop, UV_RUN_DEFAULT);
  EXPECT(!uv_loop_close(&shell->loop));
  local_free(shell->local);
}

// From now on stderr is a file without a name.
static void capture(struct shell *shell) {
  shell->text_fd = memfd_create("stderr", MFD_CLOEXEC);
  shell->saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
  EXPECT(shell->text_fd >= 0 && shell->saved_stderr >= 0);
  dup2(shell->text_fd, STDERR_FILENO);
  shell->text = calloc(1, TEXT);
}

static void read_text(struct shell *shell) {
  if (shell->text_fd < 0) return;
  ssize_t size = pread(shell->text_fd, shell->text, TEXT - 1, 0);
  EXPECT(size >= 0);
  shell->text_size = (size_t)size;
}

static void release(struct shell *shell) {
  read_text(shell);
  dup2(shell->saved_stderr, STDERR_FILENO);
  close(shell->saved_stderr);
  close(shell->text_fd);
}

static struct payload *body_of(const char *mode) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_text(&body, mode);
  struct payload *start = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return start;
}

static void start_worker(struct shell *shell, uint32_t worker, const char *mode) {
  struct payload *start = body_of(mode);
  local_start(shell->local, worker, GENERATION, 77, "name w2", start);
  payload_unref(start);
}

static void start(struct shell *shell, const char *mode) {
  start_worker(shell, WORKER, mode);
}

static void turn(struct shell *shell) {
  struct pollfd ready = {.fd = uv_backend_fd(&shell->loop), .events = POLLIN};
  local_flush(shell->local);
  uv_run(&shell->loop, UV_RUN_NOWAIT);
  poll(&ready, 1, 5);
  if (local_deadline(shell->local) <= wait_now()) local_tick(shell->local, wait_now());
}

// Turns until the count is `wanted`, ten seconds at most.
static void turn_until(struct shell *shell, const uint32_t *count, uint32_t wanted) {
  int64_t end = wait_now() + 10 * SECOND;
  while (*count < wanted && wait_now() < end) turn(shell);
  EXPECT_EQUAL(wanted, *count);
}

static void expect_lost(const char *mode, enum lost_reason reason, int code) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, mode);
  turn_until(&shell, &shell.lost, 1);
  EXPECT_EQUAL(reason, shell.reason);
  EXPECT_EQUAL(code, shell.code);
  EXPECT_EQUAL(0, shell.entered);
  shell_close(&shell);
}

static void call(struct shell *shell, uint64_t sequence, size_t size) {
  struct message message = call_of(bin_body(size));
  message.sequence = sequence;
  local_send(shell->local, WORKER, &message);
}

// ---- starts and ends ----

static void tells_exit_codes(void) {
  expect_lost("exit 7", LOST_EXIT, 7);
  expect_lost("exit 0", LOST_EXIT, 0);
}

static void tells_signals(void) {
  expect_lost("signal 9", LOST_SIGNAL, 9);
  expect_lost("signal 15", LOST_SIGNAL, 15);
}

static void tells_the_last_line(void) {
  struct shell shell;
  shell_open(&shell);
  capture(&shell);
  start(&shell, "abort");
  turn_until(&shell, &shell.lost, 1);
  release(&shell);
  EXPECT_EQUAL(LOST_SIGNAL, shell.reason);
  EXPECT_EQUAL(SIGABRT, shell.code);
  EXPECT(!strcmp(shell.said, "last words"));
  EXPECT(strstr(shell.text, "[name w2] last words\n"));
  free(shell.text);
  shell_close(&shell);
}

static void tells_that_nothing_started(void) {
  struct shell shell;
  shell_open_with(&shell, "/nonexistent/farside");
  start(&shell, "echo");
  EXPECT_EQUAL(0, shell.lost);
  turn_until(&shell, &shell.lost, 1);
  EXPECT_EQUAL(LOST_START, shell.reason);
  EXPECT_EQUAL(ENOENT, shell.code);
  shell_close(&shell);
}

static void ends_one_that_sends_no_frames(void) {
  struct shell shell;
  shell_open(&shell);
  capture(&shell);
  start(&shell, "garbage");
  turn_until(&shell, &shell.lost, 1);
  release(&shell);
  EXPECT_EQUAL(LOST_FRAME, shell.reason);
  EXPECT(strstr(shell.text, "[name w2] is ended: "));
  free(shell.text);
  shell_close(&shell);
}

static void ends_one_with_half_a_connection(void) {
  expect_lost("close", LOST_SIGNAL, 9);
}

static void kills(void) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, "idle");
  turn_until(&shell, &shell.ready, 1);
  local_kill(shell.local, WORKER, GENERATION + 1);
  for (int i = 0; i < 10; i++) turn(&shell);
  EXPECT_EQUAL(0, shell.lost);
  EXPECT(local_pid(shell.local, WORKER) > 0);
  int64_t from = wait_now();
  local_kill(shell.local, WORKER, GENERATION);
  turn_until(&shell, &shell.lost, 1);
  EXPECT(wait_now() - from < SECOND);
  EXPECT_EQUAL(LOST_SIGNAL, shell.reason);
  shell_close(&shell);
}

// Asked twice for the same, a provider does it once.
static void is_asked_twice(void) {
  struct shell shell;
  shell_open(&shell);
  struct local_provider local;
  local_provider(&local, shell.local);
  struct provider *provider = &local.provider;
  struct provider_tag tag = {"name", 77, WORKER, 2, GENERATION}, other = tag;
  struct provider_worker workers[2];
  char text[200];
  other.generation++;
  EXPECT_EQUAL(0, provider->list(provider, workers, 2));
  EXPECT(!provider->explain(provider, &tag, text, sizeof text));
  provider->stop(provider, &tag);

  struct payload *start = body_of("idle");
  provider->start(provider, &tag, start);
  pid_t pid = local_pid(shell.local, WORKER);
  provider->start(provider, &tag, start);
  EXPECT(pid > 0 && local_pid(shell.local, WORKER) == pid);
  turn_until(&shell, &shell.ready, 1);
  EXPECT_EQUAL(1, provider->list(provider, workers, 0));
  EXPECT_EQUAL(1, provider->list(provider, workers, 2));
  EXPECT(workers[0].worker == WORKER && workers[0].generation == GENERATION);
  EXPECT(workers[0].state == PROVIDER_RUNNING && workers[0].process == pid && !workers[0].parked);

  for (int i = 0; i < 2; i++) provider->park(provider, &tag, true);
  provider->park(provider, &other, false);
  provider->list(provider, workers, 2);
  EXPECT(workers[0].parked);
  EXPECT(provider->explain(provider, &tag, text, sizeof text) && strstr(text, "parked"));
  provider->park(provider, &tag, false);
  provider->list(provider, workers, 2);
  EXPECT(!workers[0].parked);

  provider->stop(provider, &other);
  provider->list(provider, workers, 2);
  EXPECT(workers[0].state == PROVIDER_RUNNING);
  for (int i = 0; i < 2; i++) provider->stop(provider, &tag);
  provider->list(provider, workers, 2);
  EXPECT(workers[0].state == PROVIDER_STOPPING);
  turn_until(&shell, &shell.lost, 1);
  EXPECT_EQUAL(0, provider->list(provider, workers, 2));
  payload_unref(start);
  shell_close(&shell);
}

static void works_where_children_are_ignored(void) {
  signal(SIGCHLD, SIG_IGN);
  expect_lost("exit 7", LOST_EXIT, -1);
}

// ---- what comes and goes ----

static void carries_calls(void) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, "echo");
  turn_until(&shell, &shell.ready, 1);
  for (uint64_t i = 1; i <= 50; i++) call(&shell, i, i == 50 ? 3000000 : (size_t)i * 100);
  struct message ping = {.type = MESSAGE_PING, .sequence = 3};
  local_send(shell.local, WORKER, &ping);
  turn_until(&shell, &shell.results, 50);
  turn_until(&shell, &shell.pongs, 1);
  uint32_t generation;
  uint64_t entered;
  EXPECT(local_entered(shell.local, WORKER, &generation, &entered));
  EXPECT_EQUAL(50, entered);
  EXPECT_EQUAL(GENERATION, generation);
  EXPECT(!local_entered(shell.local, WORKER - 1, &generation, &entered));
  shell_close(&shell);
}

static void looks_where_answers_are_due(void) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, "echo");
  turn_until(&shell, &shell.ready, 1);
  EXPECT_EQUAL(0, local_poll(shell.local));
  call(&shell, 1, 10);
  local_push(shell.local, wait_now());  // it was idle: at once
  int64_t end = wait_now() + 10 * SECOND;
  while (!local_poll(shell.local)) EXPECT(wait_now() < end);
  EXPECT_EQUAL(1, shell.results);
  shell_close(&shell);
}

static void delivers_all_before_the_loss(void) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, "answer_exit");
  turn_until(&shell, &shell.ready, 1);
  call(&shell, 1, 100000);
  turn_until(&shell, &shell.lost, 1);
  EXPECT_EQUAL(1, shell.results_when_lost);
  EXPECT_EQUAL(3, shell.code);
  shell_close(&shell);
}

static void knows_what_was_entered(void) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, "enter_die");
  turn_until(&shell, &shell.ready, 1);
  call(&shell, 41, 10);
  turn_until(&shell, &shell.lost, 1);
  EXPECT_EQUAL(41, shell.entered);
  EXPECT_EQUAL(LOST_SIGNAL, shell.reason);
  shell_close(&shell);
}

// ---- logs ----

static void prints_lines_under_a_name(void) {
  struct shell shell;
  char line[4097];
  shell_open(&shell);
  capture(&shell);
  start(&shell, "print");
  turn_until(&shell, &shell.lost, 1);
  release(&shell);
  memset(line, 'a', 3967);
  snprintf(line + 3967, 20, "\n[name w2] bbbb");
  EXPECT(strstr(shell.text, "[name w2] first\n[name w2] second\n"));
  EXPECT(strstr(shell.text, "[name w2] to stderr\n"));
  EXPECT(strstr(shell.text, line));
  EXPECT(strstr(shell.text, "[name w2] no end\n"));
  free(shell.text);
  shell_close(&shell);
}

static void prints_no_more_than_its_share(void) {
  struct shell shell;
  shell_open(&shell);
  capture(&shell);
  start(&shell, "flood 4000000");
  turn_until(&shell, &shell.ready, 1);
  int64_t end = wait_now() + 3 * SECOND;
  while (!strstr(shell.text, " bytes dropped\n") && wait_now() < end) {
    turn(&shell);
    read_text(&shell);
  }
  local_kill(shell.local, WORKER, GENERATION);
  turn_until(&shell, &shell.lost, 1);
  release(&shell);
  EXPECT(strstr(shell.text, " bytes dropped\n"));
  EXPECT(shell.text_size > 900 * 1024);
  EXPECT(shell.text_size < 3 * 1024 * 1024);
  free(shell.text);
  shell_close(&shell);
}

static void goes_on_when_stderr_is_stuck(void) {
  struct shell shell;
  int pair[2], saved = dup(STDERR_FILENO);
  shell_open(&shell);
  EXPECT(!pipe2(pair, O_CLOEXEC));
  dup2(pair[1], STDERR_FILENO);  // nobody reads it
  start(&shell, "flood 1000000");
  turn_until(&shell, &shell.ready, 1);
  call(&shell, 1, 10);
  turn_until(&shell, &shell.results, 1);
  dup2(saved, STDERR_FILENO);
  shell_close(&shell);
}

// ---- what a worker is born with ----

// The stand-in prints this when it has mapped and closed its page.
static void describe(struct shell *shell) {
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // what this program was born with
  uint32_t lost = shell->lost + 1;
  capture(shell);
  start(shell, "describe");
  turn_until(shell, &shell->lost, lost);
  release(shell);
}

static void gives_six_descriptors(void) {
  struct shell shell;
  setenv("LUA_PATH", "x", 1);
  setenv("LUA_INIT_5_1", "x", 1);
  setenv("FARSIDE_BIN", "x", 1);
  setenv("KEPT", "x", 1);
  shell_open(&shell);
  start_worker(&shell, WORKER + 1, "idle");  // whose ends must not get into the other one
  turn_until(&shell, &shell.ready, 1);
  describe(&shell);
  EXPECT(strstr(shell.text, "] descriptors 0 1 2 3 4\n"));
  EXPECT(strstr(shell.text, "] KEPT=x\n"));
  EXPECT(!strstr(shell.text, "LUA_PATH") && !strstr(shell.text, "LUA_INIT"));
  EXPECT(!strstr(shell.text, "FARSIDE_BIN"));
  EXPECT(strstr(shell.text, "] group own\n"));
  free(shell.text);
  shell_close(&shell);
}

static void has_room_below_ten(void) {
  struct shell shell;
  int plugs[4];
  for (int i = 0; i < 4; i++) plugs[i] = open("/dev/null", O_CLOEXEC);
  EXPECT(plugs[0] <= 5);
  shell_open(&shell);
  for (int i = 0; i < 4; i++) close(plugs[i]);  // the next ones are those a worker gets
  describe(&shell);
  EXPECT(strstr(shell.text, "] descriptors 0 1 2 3 4\n"));
  free(shell.text);
  shell_close(&shell);
}

static int open_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(folder)) count++;
  closedir(folder);
  return count;
}

static void leaves_no_descriptors(void) {
  struct shell shell;
  shell_open(&shell);
  shell_close(&shell);  // libuv opens some for the whole process
  int before = open_descriptors();
  shell_open(&shell);
  for (uint32_t i = 1; i <= 10; i++) {
    start(&shell, i % 2 ? "exit 1" : "echo");
    if (i % 2 == 0) turn_until(&shell, &shell.ready, i / 2);
    local_kill(shell.local, WORKER, GENERATION);
    turn_until(&shell, &shell.lost, i);
  }
  start(&shell, "idle");
  shell_close(&shell);
  EXPECT_EQUAL(before, open_descriptors());
}

static void survives_that_descriptors_run_out(void) {
  struct shell shell;
  struct rlimit limit, low;
  shell_open(&shell);
  int before = open_descriptors();
  getrlimit(RLIMIT_NOFILE, &limit);
  low = limit;
  for (rlim_t room = 0; room < 8; room++) {
    low.rlim_cur = (rlim_t)before - 3 + room;
    setrlimit(RLIMIT_NOFILE, &low);
    start(&shell, "idle");
    setrlimit(RLIMIT_NOFILE, &limit);
    local_kill(shell.local, WORKER, GENERATION);
    turn_until(&shell, &shell.lost, (uint32_t)room + 1);
  }
  EXPECT_EQUAL(before, open_descriptors());
  shell_close(&shell);
}

// Living processes of the group `group`.
static int members(pid_t group) {
  DIR *folder = opendir("/proc");
  struct dirent *entry;
  int count = 0;
  while ((entry = readdir(folder))) {
    char path[300], text[512], state;
    int process_group;
    snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    char *end = strrchr(text, ')');
    if (end && sscanf(end + 1, " %c %*d %d", &state, &process_group) == 2)
      count += process_group == group && state != 'Z' && state != 'X';
  }
  closedir(folder);
  return count;
}

static void leaves_no_processes(void) {
  struct shell shell;
  shell_open(&shell);
  start(&shell, "leave");
  pid_t pid = local_pid(shell.local, WORKER);
  EXPECT(pid > 0);
  turn_until(&shell, &shell.lost, 1);
  int64_t end = wait_now() + 5 * SECOND;
  while (members(pid) && wait_now() < end) poll(NULL, 0, 1);
  EXPECT_EQUAL(0, members(pid));
  start(&shell, "idle");
  pid = local_pid(shell.local, WORKER);
  EXPECT_EQUAL(1, members(pid));
  shell_close(&shell);
  EXPECT_EQUAL(0, members(pid));
}

// ---- where the executable is ----

static void finds_what_it_is_told(void) {
  char path[PATH_MAX], given[PATH_MAX], real[PATH_MAX];
  EXPECT(realpath(stand_in(given), real));
  setenv("FARSIDE_BIN", real, 1);
  EXPECT_EQUAL(0, local_executable(path, sizeof path));
  EXPECT(!strcmp(real, path));
  setenv("FARSIDE_BIN", "/nonexistent/farside", 1);
  EXPECT_EQUAL(-ENOENT, local_executable(path, sizeof path));
  EXPECT(!strcmp("/nonexistent/farside", path));
}

static void names_the_places_it_tried(void) {
  char path[PATH_MAX], folder[] = "/tmp/farside_specXXXXXX", file[64];
  unsetenv("FARSIDE_BIN");
  setenv("PATH", "/nonexistent/a:/nonexistent/b", 1);
  int found = local_executable(path, sizeof path);
  // Unless it stands where a program of this folder finds it.
  if (found) EXPECT(strstr(path, "/nonexistent/a/farside, /nonexistent/b/farside"));
  EXPECT(mkdtemp(folder));
  snprintf(file, sizeof file, "%s/farside", folder);
  int fd = open(file, O_CREAT | O_WRONLY, 0755);
  close(fd);
  setenv("PATH", folder, 1);
  EXPECT_EQUAL(0, local_executable(path, sizeof path));
  if (found) EXPECT(!strcmp(file, path));
  unlink(file);
  rmdir(folder);
}

static const struct check checks[] = {
    {"tell their exit code", tells_exit_codes},
    {"tell the signal that ended them", tells_signals},
    {"tell the last line that they printed", tells_the_last_line},
    {"that cannot be started say why, later", tells_that_nothing_started},
    {"are ended when they send what is no frame", ends_one_that_sends_no_frames},
    {"are ended when they keep only one connection", ends_one_with_half_a_connection},
    {"are killed in their generation only", kills},
    {"are started, parked and stopped once, however often that is asked", is_asked_twice},
    {"work in a host that ignores its children", works_where_children_are_ignored},
    {"get calls and answer them", carries_calls},
    {"are looked at where answers are due", looks_where_answers_are_due},
    {"have all they sent delivered before they are lost", delivers_all_before_the_loss},
    {"leave in their page what they had entered", knows_what_was_entered},
    {"print under their name, in whole lines", prints_lines_under_a_name},
    {"print a megabyte a second, and the rest is counted", prints_no_more_than_its_share},
    {"are served when stderr is stuck", goes_on_when_stderr_is_stuck},
    {"are born with six descriptors and without what is meant for others", gives_six_descriptors},
    {"are born whole where descriptors are low", has_room_below_ten},
    {"leave no descriptors", leaves_no_descriptors},
    {"fail one by one when descriptors run out", survives_that_descriptors_run_out},
    {"leave no processes", leaves_no_processes},
    {"are processes of the executable that FARSIDE_BIN names", finds_what_it_is_told},
    {"need an executable that is found on the PATH at last", names_the_places_it_tried},
};

CHECK_MAIN(checks)

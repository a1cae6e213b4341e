// Checks of host/io/session.c: calls through a router in this process to stand-ins of workers.
#define _GNU_SOURCE
#include "../../../host/io/session.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../../../host/io/wait.h"
#include "frames.h"

#define SECOND INT64_C(1000000000)

struct shell {
  struct session *session;
  uint32_t deployment;
};

static void name_stand_in(void) {
  char path[PATH_MAX];
  const char *given = getenv("FARSIDE_STAND_IN");
  ssize_t size = readlink("/proc/self/exe", path, sizeof path - 40);
  EXPECT(size > 0);
  path[size] = 0;
  strcpy(strrchr(path, '/'), "/../support/stand_in");
  setenv("FARSIDE_BIN", given ? given : path, 1);
}

static struct payload *start_body(const char *mode) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_text(&body, mode);
  struct payload *start = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return start;
}

static uint32_t deploy(struct shell *shell, const char *mode, uint32_t workers,
                       uint32_t concurrency, int *error) {
  struct router_function function = {.concurrency = concurrency};
  struct router_deployment_options options = {.name = "checks",
                                              .functions = &function,
                                              .function_count = 1,
                                              .manifest = "",
                                              .start = start_body(mode),
                                              .workers = workers};
  char why[1024] = "";
  shell->deployment = session_deploy(shell->session, &options, error, why, sizeof why);
  EXPECT((shell->deployment == ROUTER_NONE) == (why[0] != 0));
  payload_unref(options.start);
  return shell->deployment;
}

static void shell_open(struct shell *shell, const char *mode, uint32_t workers,
                       uint32_t concurrency) {
  int error;
  name_stand_in();
  EXPECT_EQUAL(0, session_open(&shell->session));
  EXPECT(deploy(shell, mode, workers, concurrency, &error) != ROUTER_NONE);
}

static pid_t pid_of(struct shell *shell, uint32_t worker) {
  struct worker_status status;
  pid_t pid;
  EXPECT(session_worker(shell->session, worker, &status, &pid));
  return pid;
}

static void rest(int milliseconds) {
  poll(NULL, 0, milliseconds);
}

// Ends in order; no worker may be left.
static void shell_close(struct shell *shell) {
  pid_t pid = pid_of(shell, 0);
  session_close(shell->session);
  if (pid > 0) EXPECT(kill(pid, 0) && errno == ESRCH);
}

static uint64_t call_with(struct shell *shell, int64_t timeout, uint64_t tag, size_t size) {
  struct call_options options = {
      .deployment = shell->deployment, .workload = 100, .timeout = timeout, .tag = tag};
  uint64_t call;
  EXPECT_EQUAL(CLIENT_OK, session_call(shell->session, &options, bin_body(size), &call));
  return call;
}

static uint64_t call(struct shell *shell) {
  return call_with(shell, 0, 0, 10);
}

static void wait_done(struct shell *shell, uint64_t number) {
  int64_t until = wait_now() + 10 * SECOND;
  enum session_wait result;
  do result = session_wait(shell->session, number, ROUTER_NONE, until);
  while (result == SESSION_OTHER);
  EXPECT_EQUAL(SESSION_DONE, result);
}

static bool body_has(const struct payload *body, const char *text) {
  return memmem(body->bytes, body->size, text, strlen(text)) != NULL;
}

// Takes the end of a call, which must be an error of this name.
static void take_error(struct shell *shell, uint64_t number, const char *name) {
  struct completion completion;
  EXPECT(session_take(shell->session, number, &completion));
  EXPECT(!completion.ok);
  if (!body_has(completion.body, name))
    printf("%.*s\n", (int)completion.body->size, completion.body->bytes);
  EXPECT(body_has(completion.body, name));
  payload_unref(completion.body);
}

static void take_result(struct shell *shell, uint64_t number, size_t size) {
  struct completion completion;
  struct payload *sent = bin_body(size);
  EXPECT(session_take(shell->session, number, &completion));
  EXPECT(completion.ok);
  EXPECT_EQUAL(sent->size, completion.body->size);
  EXPECT(!memcmp(sent->bytes, completion.body->bytes, sent->size));
  payload_unref(completion.body);
  payload_unref(sent);
}

static void wait_ready(struct shell *shell) {
  EXPECT_EQUAL(SESSION_OTHER,
               session_wait(shell->session, 0, shell->deployment, wait_now() + 10 * SECOND));
}

// ---- calls ----

static void ends_a_call(void) {
  struct shell shell;
  shell_open(&shell, "echo", 1, 1);
  uint64_t number = call(&shell);
  wait_done(&shell, number);
  EXPECT_EQUAL(1, session_done(shell.session));
  take_result(&shell, number, 10);
  struct completion completion;
  EXPECT(!session_take(shell.session, number, &completion));
  shell_close(&shell);
}

static void ends_many_calls(void) {
  enum { CALLS = 1000 };
  struct shell shell;
  bool seen[CALLS] = {false};
  shell_open(&shell, "echo", 2, 16);
  for (uint64_t i = 0; i < CALLS; i++) call_with(&shell, 0, i, 100);
  for (int ended = 0; ended < CALLS;) {
    struct completion completion;
    wait_done(&shell, 0);
    for (; session_next(shell.session, &completion); ended++) {
      EXPECT(completion.ok && completion.tag < CALLS && !seen[completion.tag]);
      seen[completion.tag] = true;
      payload_unref(completion.body);
    }
  }
  shell_close(&shell);
}

static void carries_large_bodies(void) {
  struct shell shell;
  shell_open(&shell, "echo", 1, 4);
  uint64_t numbers[6];
  for (int i = 0; i < 6; i++) numbers[i] = call_with(&shell, 0, 0, 3000000);
  for (int i = 0; i < 6; i++) {
    wait_done(&shell, numbers[i]);
    take_result(&shell, numbers[i], 3000000);
  }
  shell_close(&shell);
}

static void runs_calls_while_nobody_waits(void) {
  enum { CALLS = 100 };
  struct shell shell;
  shell_open(&shell, "echo", 2, 1);
  for (int i = 0; i < CALLS; i++) call(&shell);
  int64_t end = wait_now() + 10 * SECOND;
  while (session_done(shell.session) < CALLS) EXPECT(wait_now() < end);
  shell_close(&shell);
}

static void tells_of_other_calls_once(void) {
  struct shell shell;
  shell_open(&shell, "idle", 1, 1);
  wait_ready(&shell);
  uint64_t slow = call(&shell), quick = call_with(&shell, SECOND / 50, 0, 10);
  int64_t until = wait_now() + 10 * SECOND;
  EXPECT_EQUAL(SESSION_OTHER, session_wait(shell.session, slow, ROUTER_NONE, until));
  EXPECT_EQUAL(SESSION_TIMEOUT,
               session_wait(shell.session, slow, ROUTER_NONE, wait_now() + SECOND / 50));
  take_error(&shell, quick, "DeadlineExceeded");
  EXPECT_EQUAL(SESSION_TIMEOUT, session_wait(shell.session, slow, ROUTER_NONE, 0));
  EXPECT_EQUAL(SESSION_TIMEOUT, session_wait(shell.session, 0, ROUTER_NONE, 0));
  session_close(shell.session);
}

// ---- ends that are none ----

static void cancels(void) {
  struct shell shell;
  shell_open(&shell, "idle", 1, 1);
  wait_ready(&shell);
  uint64_t running = call(&shell), queued = call(&shell);
  EXPECT(session_cancel(shell.session, running));
  take_error(&shell, running, "Cancelled");
  EXPECT(!session_cancel(shell.session, running));
  for (int i = 0; i < 10; i++) call(&shell);
  session_cancel_all(shell.session);
  EXPECT_EQUAL(11, session_done(shell.session));
  take_error(&shell, queued, "Cancelled");
  session_close(shell.session);
}

static void *cancel_soon(void *argument) {
  struct shell *shell = ((void **)argument)[0];
  rest(20);
  EXPECT(session_cancel(shell->session, *(uint64_t *)((void **)argument)[1]));
  return NULL;
}

static void is_cancelled_by_another_thread(void) {
  struct shell shell;
  pthread_t thread;
  shell_open(&shell, "idle", 1, 1);
  uint64_t number = call(&shell);
  void *arguments[] = {&shell, &number};
  pthread_create(&thread, NULL, cancel_soon, arguments);
  wait_done(&shell, number);
  take_error(&shell, number, "Cancelled");
  pthread_join(thread, NULL);
  session_close(shell.session);
}

static void loses_a_worker(void) {
  struct shell shell;
  shell_open(&shell, "idle", 1, 1);
  wait_ready(&shell);
  uint64_t number = call(&shell);
  pid_t pid = pid_of(&shell, 0);
  int64_t from = wait_now();
  kill(pid, SIGKILL);
  // It had entered nothing, so the call goes to the next process, which does not answer either.
  while (pid_of(&shell, 0) == pid || !pid_of(&shell, 0)) {
    session_wait(shell.session, number, ROUTER_NONE, wait_now() + SECOND / 1000);
    EXPECT(wait_now() - from < 5 * SECOND);
  }
  EXPECT_EQUAL(0, session_done(shell.session));
  session_close(shell.session);
}

static void loses_what_was_entered(void) {
  struct shell shell;
  shell_open(&shell, "enter_die", 1, 1);
  uint64_t number = call(&shell);
  wait_done(&shell, number);
  take_error(&shell, number, "WorkerLost");
  session_close(shell.session);
}

static void fails_with_the_cause(void) {
  struct shell shell;
  shell_open(&shell, "exit 9", 1, 1);
  uint64_t number = call_with(&shell, 30 * SECOND, 0, 10);
  int64_t until = wait_now() + 20 * SECOND;
  EXPECT_EQUAL(SESSION_DONE, session_wait(shell.session, number, ROUTER_NONE, until));
  take_error(&shell, number, "DeploymentFailed");
  struct deployment_status status;
  EXPECT(session_status(shell.session, shell.deployment, &status));
  EXPECT_EQUAL(DEPLOYMENT_FAILED, status.state);
  EXPECT(status.failure && body_has(status.failure, "exit code 9"));
  payload_unref(status.failure);
  session_close(shell.session);
}

static void needs_an_executable(void) {
  struct shell shell;
  int error = 0;
  setenv("FARSIDE_BIN", "/nonexistent/farside", 1);
  EXPECT_EQUAL(0, session_open(&shell.session));
  EXPECT_EQUAL(ROUTER_NONE, deploy(&shell, "echo", 1, 1, &error));
  EXPECT_EQUAL(-ENOENT, error);
  name_stand_in();
  EXPECT_EQUAL(ROUTER_NONE, deploy(&shell, "echo", 0, 1, &error));
  EXPECT_EQUAL(-EINVAL, error);
  EXPECT(deploy(&shell, "echo", 1, 1, &error) != ROUTER_NONE);
  uint64_t number = call(&shell);
  wait_done(&shell, number);
  shell_close(&shell);
}

static void closes_with_calls_in_flight(void) {
  struct shell shell;
  shell_open(&shell, "echo", 2, 1);
  for (int i = 0; i < 100; i++) call_with(&shell, 0, 0, 100000);
  shell_close(&shell);
  EXPECT_EQUAL(0, session_open(&shell.session));
  session_close(shell.session);
  session_close(NULL);
}

// ---- callbacks and loops of one's own ----

struct listener {
  struct shell shell;
  atomic_int ended, left;
};

// Calls again from within, as a callback may.
static void on_done(void *owner) {
  struct listener *listener = owner;
  struct completion completion;
  while (session_next(listener->shell.session, &completion)) {
    EXPECT(completion.ok);
    payload_unref(completion.body);
    if (listener->left-- > 0) call(&listener->shell);
    listener->ended++;
  }
}

static void calls_back_on_the_keeper(void) {
  struct listener listener = {.left = 100};
  shell_open(&listener.shell, "echo", 1, 1);
  session_on_done(listener.shell.session, on_done, &listener);
  for (int i = 0; i < 20; i++) call(&listener.shell);
  int64_t end = wait_now() + 10 * SECOND;
  while (listener.ended < 120 && wait_now() < end) rest(1);
  EXPECT_EQUAL(120, listener.ended);
  shell_close(&listener.shell);
}

static void is_turned_by_a_loop_of_ones_own(void) {
  struct listener listener = {.left = 100};
  shell_open(&listener.shell, "echo", 2, 1);
  session_on_done(listener.shell.session, on_done, &listener);  // must stay silent
  struct pollfd ready = {.fd = session_fd(listener.shell.session), .events = POLLIN};
  EXPECT(ready.fd >= 0);
  EXPECT_EQUAL(ready.fd, session_fd(listener.shell.session));
  for (int i = 0; i < 20; i++) call_with(&listener.shell, 0, 0, i == 7 ? 2000000 : 10);
  while (listener.ended < 120) {
    EXPECT_EQUAL(1, poll(&ready, 1, 10000));
    int ended = listener.ended;
    rest(listener.ended < 10);  // the keeper turns now and then, but calls nobody
    EXPECT_EQUAL(ended, listener.ended);
    session_turn(listener.shell.session);
    on_done(&listener);
  }
  uint64_t number = call_with(&listener.shell, SECOND / 20, 0, 10);
  EXPECT_EQUAL(1, poll(&ready, 1, 10000));
  while (!session_done(listener.shell.session)) {
    EXPECT_EQUAL(1, poll(&ready, 1, 10000));
    session_turn(listener.shell.session);
  }
  take_result(&listener.shell, number, 10);
  shell_close(&listener.shell);
}

static void *call_and_wait(void *argument) {
  struct shell *shell = argument;
  for (int i = 0; i < 300; i++) {
    uint64_t number = call(shell);
    wait_done(shell, number);
    take_result(shell, number, 10);
  }
  return NULL;
}

static void serves_several_threads(void) {
  struct shell shell;
  pthread_t threads[3];
  shell_open(&shell, "echo", 2, 2);
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, call_and_wait, &shell);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  shell_close(&shell);
}

static const struct check checks[] = {
    {"ends a call in its result", ends_a_call},
    {"ends a thousand calls, each once", ends_many_calls},
    {"carries large bodies unharmed", carries_large_bodies},
    {"runs calls while nobody waits for them", runs_calls_while_nobody_waits},
    {"tells of the end of another call once", tells_of_other_calls_once},
    {"cancels one call, and all", cancels},
    {"is told by another thread to cancel", is_cancelled_by_another_thread},
    {"gives a call that was not entered to the next process", loses_a_worker},
    {"ends a call that was entered when its worker dies", loses_what_was_entered},
    {"ends waiting calls with the cause when no worker gets ready", fails_with_the_cause},
    {"refuses a deployment without an executable, and takes it later", needs_an_executable},
    {"closes while calls are in flight", closes_with_calls_in_flight},
    {"calls back on the thread of the keeper", calls_back_on_the_keeper},
    {"is turned by the loop of a program", is_turned_by_a_loop_of_ones_own},
    {"serves several threads that wait", serves_several_threads},
};

CHECK_MAIN(checks)

// What operators are told of a worker's process that has ended: one line with who it was, how it
// ended, what it ran, and when the next one starts.
//
//   worker 3 (process 123) was ended by signal 11 (Segmentation fault) while it ran call ID of f;
//   another one is started
//
// An end that was planned is not told: that of a worker that was told to go and went, or that leaves
// because a call was interrupted in it. Starts bound how many lines there are, and back-off bounds
// starts; a place without a GPU, where one is tried every minute for ever, is told of once.
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "router_state.h"
#include "scan.h"

enum { QUOTE = 200 };  // bytes of what a worker said

struct line {
  char *text;
  size_t size, room;
};

static void __attribute__((format(printf, 2, 3))) add(struct line *line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(line->text + line->size, line->room - line->size, format, arguments);
  va_end(arguments);
  if (size > 0) line->size += (size_t)size;
  if (line->size >= line->room) line->size = line->room - 1;
}

static const char *signal_text(int number) {
  static const char *const texts[] = {
      [SIGHUP] = "Hangup",          [SIGINT] = "Interrupt",
      [SIGQUIT] = "Quit",           [SIGILL] = "Illegal instruction",
      [SIGTRAP] = "Trap",           [SIGABRT] = "Aborted",
      [SIGBUS] = "Bus error",       [SIGFPE] = "Floating point exception",
      [SIGKILL] = "Killed",         [SIGSEGV] = "Segmentation fault",
      [SIGPIPE] = "Broken pipe",    [SIGTERM] = "Terminated",
      [SIGXCPU] = "CPU time limit", [SIGXFSZ] = "File size limit",
      [SIGSYS] = "Bad system call"};
  bool is_known = number > 0 && (size_t)number < sizeof texts / sizeof *texts;
  return is_known && texts[number] ? texts[number] : "no common one";
}

// ---- what it had to do ----

static bool was_ready(const struct worker *worker) {
  return worker->state != WORKER_STARTING && worker->ready_at >= worker->started_at;
}

// How many of its calls it had entered; `*first` is one of them.
static uint32_t entered(const struct router *router, const struct worker *worker,
                        const struct call **first) {
  uint32_t count = 0;
  *first = NULL;
  for (const struct call *call = worker->first; call; call = call->next) {
    if (!router_call_entered(router, call)) continue;
    if (!*first) *first = call;
    count++;
  }
  return count;
}

// Whether the end of its process is the end of a call for somebody.
static bool has_callers(const struct router *router, const struct worker *worker) {
  const struct call *call = worker->first;
  while (call && (call->state == CALL_ABANDONED || !router_call_entered(router, call)))
    call = call->next;
  return call;
}

static const struct call *find_abandoned(const struct worker *worker) {
  const struct call *call = worker->first;
  while (call && call->state != CALL_ABANDONED) call = call->next;
  return call;
}

const char *router_call_text(const struct router *router, const struct call *call,
                             char text[CALL_TEXT]) {
  size_t size;
  const char *name = router_function_name(router, call->deployment, call->function, &size);
  int length = snprintf(text, CALL_TEXT, "call %016" PRIx64 "%016" PRIx64 " of ", call->id.session,
                        call->id.counter);
  if (name)
    snprintf(text + length, CALL_TEXT - (size_t)length, "%.*s", (int)size, name);
  else
    snprintf(text + length, CALL_TEXT - (size_t)length, "function %u", call->function);
  return text;
}

static void add_call(struct line *line, const struct router *router, const struct call *call) {
  char text[CALL_TEXT];
  add(line, "%s", router_call_text(router, call, text));
}

static void add_work(struct line *line, const struct router *router, const struct worker *worker) {
  const struct call *call;
  uint32_t count = entered(router, worker, &call);
  if (worker->state == WORKER_STARTING) {
    add(line, " before it was ready");
  } else if (count) {
    add(line, " while it ran ");
    if (count > 1) add(line, "%u calls, among them ", count);
    add_call(line, router, call);
  } else {
    add(line,
        worker->state == WORKER_DRAINING ? " after it was told to go" : " while it ran no call");
  }
}

// ---- how it ended ----

static bool was_planned(const struct router *router, const struct worker *worker,
                        enum lost_reason reason, int code) {
  bool was_told = worker->state == WORKER_DRAINING;
  if (was_told && !was_ready(worker)) return true;
  if (worker->killed || has_callers(router, worker)) return false;
  if (reason == LOST_EXIT && (worker->tainted || (was_told && !code))) return true;
  // One that takes long to end after it has closed its connections is killed by the shell.
  return was_told && reason == LOST_SIGNAL && code == SIGKILL;
}

static void add_killed(struct line *line, const struct router *router,
                       const struct worker *worker) {
  const struct call *abandoned = find_abandoned(worker);
  add(line, " was killed");
  if (worker->state == WORKER_LOST) {
    add(line, ", since it did not answer");
  } else if (worker->state == WORKER_DRAINING || worker->leaving) {
    add(line, ", since it did not end in its time");
  } else if (abandoned) {
    add(line, ", since ");
    add_call(line, router, abandoned);
    add(line, " did not end when it was told to");
  } else {
    add_work(line, router, worker);
  }
}

static void add_end(struct line *line, const struct router *router, const struct worker *worker,
                    enum lost_reason reason, int code) {
  if (reason == LOST_START) {
    if (router_gpu_missing(worker))
      add(line, " finds no GPU: each was lost by a worker before");
    else
      add(line, " could not be started: %s", strerror(code));
    return;
  }
  if (worker->process) add(line, " (process %u)", worker->process);
  if (worker->killed) {
    add_killed(line, router, worker);
    return;
  }
  if (reason == LOST_FRAME)
    add(line, " was killed, since it sent what is no frame,");
  else if (reason == LOST_SIGNAL)
    add(line, " was ended by signal %d (%s)", code, signal_text(code));
  else
    add(line, " ended with exit code %d", code);
  add_work(line, router, worker);
}

static void add_why(struct line *line, const struct worker *worker) {
  const unsigned char *text;
  size_t size;
  if (router_gpu_failed(worker)) return;  // it was told when the worker said it
  if (worker->said)
    add(line, "%.*s",
        (int)scan_cut((const unsigned char *)worker->said, strlen(worker->said), QUOTE),
        worker->said);
  else if (error_says(worker->goodbye, "message", &text, &size))
    add(line, ": %.*s", (int)scan_cut(text, size, QUOTE), (const char *)text);
}

void router_loss_describe(const struct router *router, struct worker *worker,
                          enum lost_reason reason, int code, char *text, size_t size) {
  struct line line = {text, 0, size};
  bool is_missing = router_gpu_missing(worker), is_known = is_missing && worker->lacks_gpu;
  *text = 0;
  worker->lacks_gpu = is_missing;
  if (is_known || was_planned(router, worker, reason, code)) return;
  add(&line, "worker %u", worker->number);
  add_end(&line, router, worker, reason, code);
  add_why(&line, worker);
}

// ---- what comes next ----

void router_loss_tell(struct router *router, const struct worker *worker, uint32_t heir,
                      const char *text, int64_t now) {
  const struct deployment *deployment = router->deployments[worker->deployment];
  bool failed = deployment->state == DEPLOYMENT_FAILED;
  int64_t at = worker->timer.at;
  if (!*text) return;
  if (failed && deployment->canary > at) at = deployment->canary;
  double left = to_seconds(at - now);
  if (worker->state == WORKER_STARTING)
    router_log(router, worker->deployment, "%s; another one is started", text);
  else if (worker->state == WORKER_BACKOFF && worker->lacks_gpu)
    router_log(router, worker->deployment, "%s; it is tried again every %.0f s", text, left);
  else if (worker->state == WORKER_BACKOFF)
    router_log(router, worker->deployment, "%s; the next %s in %.*f s", text,
               failed ? "try of its deployment, which has failed, is" : "one is started",
               left < 9.95 ? 1 : 0, left);
  else if (heir != ROUTER_NONE && !worker->wanted)
    router_log(router, worker->deployment, "%s; worker %u takes its place", text, heir);
  else
    router_log(router, worker->deployment, "%s; none is started in its place", text);
}

#define _GNU_SOURCE
#include "local.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "local_devices.h"
#include "log.h"
#include "page.h"
#include "places.h"
#include "spawn.h"
#include "transport.h"
#include "wait.h"

// What a worker has to end by itself when it has closed a connection.
static const int64_t kFarewell = NANOSECONDS_PER_SECOND;
// How long calls to a busy worker are gathered.
static const int64_t kGather = 20 * INT64_C(1000);

enum {
  DIRECT = 4,  // with more workers to look at, the loop's epoll is cheaper
  REAP = 2000  // ms for a killed process to go when all is closed
};

// A worker's process. Lives from local_start until its handles are closed.
struct process {
  struct local *local;
  uint32_t worker, generation;
  char *name;
  pid_t pid;
  int pidfd;
  uv_poll_t exit;  // the pidfd; its memory is the process's
  struct transport *data, *control;
  struct log *log;
  struct page *page;
  uint32_t device;   // GPU that it alone uses if there are enough; or DEVICE_NONE
  bool lost_device;  // it said that this has failed
  bool is_orderly;   // it ended of itself, and well
  int failure;       // errno: it could not be started
  bool watched;      // `exit` is a handle
  bool reaped;       // its pid means nothing any more
  bool is_hostile;   // sent what is no frame
  bool is_parked;
  bool is_killed;
  int64_t doom;  // when it is killed because a connection has ended; INT64_MAX: not

  uint64_t due;      // calls not answered yet
  bool was_idle;     // when the first of the calls that wait to be written came
  bool dirty;        // in local->dirty
  int64_t flushed;   // when
  size_t due_place;  // in local->due, from 1
};

struct list {
  struct process **items;
  size_t count, capacity;
};

struct local {
  uv_loop_t *loop;
  char *executable;
  struct local_events events;
  void *owner;
  struct process **processes;  // by worker
  struct devices *devices;
  uint32_t count;
  struct list due, dirty;
  int64_t alarm;
  uint64_t messages;
};

static void list_add(struct list *list, struct process *process) {
  if (list->count == list->capacity) {
    list->capacity = list->capacity ? 2 * list->capacity : 8;
    list->items = xrealloc(list->items, list->capacity * sizeof *list->items);
  }
  list->items[list->count++] = process;
}

static void set_alarm(struct local *local, int64_t at) {
  if (at < local->alarm) local->alarm = at;
}

static struct process *process_of(const struct local *local, uint32_t worker) {
  return worker < local->count ? local->processes[worker] : NULL;
}

// ---- answers that are due ----

static void due_more(struct process *process) {
  if (process->due++) return;
  list_add(&process->local->due, process);
  process->due_place = process->local->due.count;
}

static void due_none(struct process *process) {
  struct list *list = &process->local->due;
  if (!process->due_place) return;
  struct process *last = list->items[--list->count];
  list->items[process->due_place - 1] = last;
  last->due_place = process->due_place;
  process->due_place = 0;
  process->due = 0;
}

static void due_less(struct process *process) {
  if (process->due > 1)
    process->due--;
  else
    due_none(process);
}

// ---- life of a process ----

static void on_closed(uv_handle_t *handle) {
  struct process *process = handle->data;
  free(process->name);
  free(process);
}

static void leave_device(struct process *process) {
  struct device_end end = {
      .is_lost = process->lost_device,
      .is_orderly = process->is_orderly,
      .free_bytes = process->page ? atomic_load(&process->page->device_free) : 0};
  if (!devices_give_back(process->local->devices, process->device, &end)) return;
  char text[128];
  snprintf(text, sizeof text,
           "device %u of this machine is lost: it is given to no worker any more", process->device);
  log_line(process->name, text);
}

// Takes it out of all lists and closes what it has.
static void release(struct process *process) {
  struct local *local = process->local;
  due_none(process);
  leave_device(process);
  if (local->processes[process->worker] == process) local->processes[process->worker] = NULL;
  for (size_t i = 0; process->dirty && i < local->dirty.count; i++) {
    if (local->dirty.items[i] != process) continue;
    local->dirty.items[i] = local->dirty.items[--local->dirty.count];
    process->dirty = false;
  }
  transport_close(process->data);
  transport_close(process->control);
  log_close(process->log);
  page_close(process->page);
  if (process->watched) uv_close((uv_handle_t *)&process->exit, on_closed);
  if (process->pidfd >= 0) close(process->pidfd);
  if (process->watched) return;
  free(process->name);
  free(process);
}

static uint64_t entered_of(const struct process *process) {
  return process->page ? atomic_load(&process->page->entered) : 0;
}

static void lose(struct process *process, enum lost_reason reason, int code) {
  struct local *local = process->local;
  uint32_t worker = process->worker, generation = process->generation;
  uint64_t last = entered_of(process);
  const char *said = process->log ? log_last(process->log) : "";
  process->is_orderly = reason == LOST_EXIT && !code;
  release(process);
  local->events.lost(local->owner, worker, generation, reason, code, last, said);
}

static void kill_process(struct process *process) {
  process->is_killed = true;
  // A process that was not reaped keeps its number, and so does its group.
  if (process->pid > 0 && !process->reaped) kill(-process->pid, SIGKILL);
}

// True: it has ended. What it has started in its group ends with it.
static bool reap(struct process *process, enum lost_reason *reason, int *code) {
  siginfo_t info = {0};
  *reason = LOST_EXIT;
  *code = -1;
  if (!waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG | WNOWAIT)) {
    if (!info.si_pid) return false;
    kill_process(process);
    *reason = info.si_code == CLD_EXITED ? LOST_EXIT : LOST_SIGNAL;
    *code = info.si_status;
    waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG);
  }
  // Else ECHILD: a host that ignores SIGCHLD, or waits for all children, was first.
  process->reaped = true;
  return true;
}

// Answers that it had not written yet.
static void recover(struct process *process) {
  const unsigned char *bytes;
  size_t size = page_rest(process->page, transport_received(process->data), &bytes);
  if (size && !process->is_hostile) transport_feed(process->data, bytes, size);
}

static void on_exit_seen(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  struct process *process = poll->data;
  enum lost_reason reason;
  int code;
  if (!reap(process, &reason, &code)) return;
  uv_poll_stop(poll);
  // All it ever sent lies in this process's sockets.
  transport_drain(process->data);
  recover(process);
  transport_drain(process->control);
  log_drain(process->log);
  if (process->is_hostile) reason = LOST_FRAME;
  lose(process, reason, process->is_hostile ? 0 : code);
}

// ---- connections ----

static void on_message(void *owner, struct message *message) {
  struct process *process = owner;
  struct local *local = process->local;
  local->messages++;
  if (message->type == MESSAGE_RESULT || message->type == MESSAGE_ERROR ||
      message->type == MESSAGE_GIVE_BACK)
    due_less(process);
  if (message->type == MESSAGE_GOODBYE && message->reason == PHASE_GPU_LOST)
    process->lost_device = true;
  local->events.message(local->owner, process->worker, process->generation, message);
}

static void on_connection_ended(void *owner, int error, const char *why) {
  struct process *process = owner;
  if (process->reaped) return;
  due_none(process);
  if (error < 0 && error >= FRAME_MEMORY) {
    char text[256];
    snprintf(text, sizeof text, "is ended: %s", why);
    log_line(process->name, text);
    process->is_hostile = true;
    kill_process(process);
  } else if (process->doom == INT64_MAX) {
    process->doom = wait_now() + kFarewell;
    set_alarm(process->local, process->doom);
  }
}

static struct transport *connect_process(struct process *process, int fd) {
  static const struct transport_events events = {on_message, on_connection_ended};
  return transport_new(process->local->loop, fd, FRAME_OPEN, LIMIT_FRAME, &events, process);
}

// ---- start ----

enum { OURS, THEIRS };

// Both ends of what connects a worker; -1: not open.
struct ends {
  int data[2], control[2], output[2], page;
};

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void close_theirs(struct ends *ends) {
  close_fd(&ends->data[THEIRS]);
  close_fd(&ends->control[THEIRS]);
  close_fd(&ends->output[THEIRS]);
  close_fd(&ends->page);
}

static int open_pair(int pair[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) return -errno;
  pair[THEIRS] = spawn_clear(pair[THEIRS]);
  return pair[THEIRS] < 0 ? pair[THEIRS] : 0;
}

// More room than the usual 208 KiB: a large body then takes fewer turns between the two processes.
static int open_data(int pair[2]) {
  static const int room = 1024 * 1024;
  int error = open_pair(pair);
  if (error) return error;
  setsockopt(pair[OURS], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  setsockopt(pair[THEIRS], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  return 0;
}

static int open_output(int pair[2]) {
  if (pipe2(pair, O_CLOEXEC)) return -errno;
  pair[THEIRS] = spawn_clear(pair[THEIRS]);
  return pair[THEIRS] < 0 ? pair[THEIRS] : 0;
}

static int open_page(struct process *process, struct ends *ends) {
  process->page = page_create(&ends->page);
  if (!process->page) return -errno;
  devices_tell(process->local->devices, process->device, process->page);
  ends->page = spawn_clear(ends->page);
  return ends->page < 0 ? ends->page : 0;
}

static int spawn_with(struct process *process, struct ends *ends) {
  int error = open_data(ends->data);
  if (!error) error = open_pair(ends->control);
  if (!error) error = open_output(ends->output);
  if (!error) error = open_page(process, ends);
  if (error) return error;
  char devices[128];
  bool is_alone =
      process->device != DEVICE_NONE && places_device(process->device, devices, sizeof devices);
  struct spawn spawn = {.executable = process->local->executable,
                        .devices = is_alone ? devices : NULL,
                        .data = ends->data[THEIRS],
                        .control = ends->control[THEIRS],
                        .page = ends->page,
                        .output = ends->output[THEIRS]};
  return spawn_process(&spawn, &process->pid, &process->pidfd);
}

static void on_line(void *owner, const char *text, size_t size) {
  const struct process *process = owner;
  process->local->events.line(process->local->owner, process->worker, text, size);
}

static int watch(struct process *process, struct ends *ends) {
  uv_loop_t *loop = process->local->loop;
  process->data = connect_process(process, ends->data[OURS]);
  process->control = connect_process(process, ends->control[OURS]);
  process->log = log_new(loop, ends->output[OURS], process->name, &process->local->alarm);
  ends->data[OURS] = ends->control[OURS] = ends->output[OURS] = -1;
  if (!process->data || !process->control || !process->log) return -ENOMEM;
  if (process->local->events.line) log_tee(process->log, on_line, process);
  int error = uv_poll_init(loop, &process->exit, process->pidfd);
  if (error) return error;
  process->exit.data = process;
  process->watched = true;
  return uv_poll_start(&process->exit, UV_READABLE, on_exit_seen);
}

static int launch(struct process *process) {
  struct ends ends = {{-1, -1}, {-1, -1}, {-1, -1}, -1};
  int error = spawn_with(process, &ends);
  close_theirs(&ends);
  if (!error) error = watch(process, &ends);
  close_fd(&ends.data[OURS]);
  close_fd(&ends.control[OURS]);
  close_fd(&ends.output[OURS]);
  if (!error || process->pid <= 0) return error;
  enum lost_reason reason;
  int code;
  kill_process(process);
  while (!reap(process, &reason, &code)) poll(NULL, 0, 1);
  return error;
}

static void add_process(struct local *local, struct process *process) {
  uint32_t worker = process->worker;
  if (worker >= local->count) {
    local->processes = xrealloc(local->processes, (worker + 1) * sizeof *local->processes);
    memset(local->processes + local->count, 0,
           (worker + 1 - local->count) * sizeof *local->processes);
    local->count = worker + 1;
  }
  assert(!local->processes[worker]);
  local->processes[worker] = process;
}

void local_start(struct local *local, uint32_t worker, uint32_t generation, uint64_t epoch,
                 const char *name, struct payload *start) {
  struct process *process = xcalloc(1, sizeof *process);
  *process = (struct process){.local = local,
                              .worker = worker,
                              .generation = generation,
                              .name = strdup(name),
                              .pidfd = -1,
                              .doom = INT64_MAX};
  if (!process->name) abort();
  add_process(local, process);
  bool has_place = devices_take(local->devices, &process->device);
  process->failure = has_place ? -launch(process) : ENODEV;
  if (process->failure) {
    set_alarm(local, 0);
    return;
  }
  struct message message = {.type = MESSAGE_START,
                            .worker = worker,
                            .generation = generation,
                            .epoch = epoch,
                            .body = payload_ref(start)};
  transport_send(process->control, &message);
  transport_flush(process->control);
}

// ---- messages ----

// Of those that are no calls.
static bool is_data(const struct message *message) {
  enum message_type type = (enum message_type)message->type;
  return type == MESSAGE_RESULT || type == MESSAGE_ERROR || type == MESSAGE_ITEM ||
         type == MESSAGE_PROGRESS || type == MESSAGE_CREDIT;
}

void local_send(struct local *local, uint32_t worker, struct message *message) {
  struct process *process = process_of(local, worker);
  if (!process || process->failure) {
    payload_unref(message->body);
    return;
  }
  if (!process->dirty) {
    process->dirty = true;
    process->was_idle = false;
    list_add(&local->dirty, process);
  }
  if (message->type != MESSAGE_CALL) {
    transport_send(is_data(message) ? process->data : process->control, message);
    return;
  }
  if (!process->due) process->was_idle = true;
  due_more(process);
  transport_send(process->data, message);
}

static void flush(struct process *process) {
  process->dirty = false;
  transport_flush(process->data);
  transport_flush(process->control);
}

void local_flush(struct local *local) {
  for (size_t i = 0; i < local->dirty.count; i++) flush(local->dirty.items[i]);
  local->dirty.count = 0;
}

void local_push(struct local *local, int64_t now) {
  size_t kept = 0;
  for (size_t i = 0; i < local->dirty.count; i++) {
    struct process *process = local->dirty.items[i];
    if (process->was_idle || now - process->flushed > kGather) {
      flush(process);
      process->flushed = now;
    } else {
      local->dirty.items[kept++] = process;
    }
  }
  local->dirty.count = kept;
}

int local_poll(struct local *local) {
  uint64_t before = local->messages;
  if (local->due.count > DIRECT) {
    uv_run(local->loop, UV_RUN_NOWAIT);
  } else {
    // Answers change the list; one that is missed is found by the next look.
    for (size_t i = 0; i < local->due.count; i++) transport_receive(local->due.items[i]->data);
  }
  return (int)(local->messages - before);
}

// ---- calls taken back ----

bool local_recall(struct local *local, uint32_t worker, uint32_t generation, uint64_t sequence,
                  uint64_t *entering) {
  struct process *process = process_of(local, worker);
  if (!process || process->generation != generation || !process->page) return false;
  *entering = page_recall(process->page, sequence);
  return true;
}

bool local_withdraw(struct local *local, uint32_t worker, uint32_t generation, uint64_t sequence) {
  struct process *process = process_of(local, worker);
  return process && process->generation == generation && process->page &&
         page_withdraw(process->page, sequence);
}

void local_forget(struct local *local, uint32_t worker, uint32_t count) {
  struct process *process = process_of(local, worker);
  for (; process && process->due_place && count; count--) due_less(process);
}

// ---- the rest ----

void local_kill(struct local *local, uint32_t worker, uint32_t generation) {
  struct process *process = process_of(local, worker);
  if (process && process->generation == generation) kill_process(process);
}

void local_park(struct local *local, uint32_t worker, uint32_t generation, bool parked) {
  struct process *process = process_of(local, worker);
  if (process && process->generation == generation) process->is_parked = parked;
}

bool local_process(const struct local *local, uint32_t worker, struct local_process *out) {
  const struct process *process = process_of(local, worker);
  if (!process) return false;
  *out = (struct local_process){.generation = process->generation,
                                .device = process->device,
                                .has_device = process->device != DEVICE_NONE,
                                .is_parked = process->is_parked,
                                .is_ending = process->is_killed || process->doom != INT64_MAX,
                                .failure = process->failure,
                                .pid = process->pid};
  return true;
}

int64_t local_deadline(const struct local *local) {
  return local->alarm;
}

void local_tick(struct local *local, int64_t now) {
  local->alarm = INT64_MAX;
  for (uint32_t i = 0; i < local->count; i++) {
    struct process *process = local->processes[i];
    if (!process) continue;
    if (process->failure) {
      lose(process, LOST_START, process->failure);
      continue;
    }
    if (process->doom <= now) {
      kill_process(process);
      process->doom = INT64_MAX;
    }
    set_alarm(local, process->doom);
    log_tick(process->log, now);
  }
}

uint32_t local_count(const struct local *local) {
  return local->count;
}

bool local_entered(const struct local *local, uint32_t worker, uint32_t *generation,
                   uint64_t *entered) {
  const struct process *process = process_of(local, worker);
  if (!process) return false;
  *generation = process->generation;
  *entered = entered_of(process);
  return true;
}

pid_t local_pid(const struct local *local, uint32_t worker) {
  const struct process *process = process_of(local, worker);
  return process ? process->pid : 0;
}

struct local *local_new(uv_loop_t *loop, const char *executable, const struct local_events *events,
                        void *owner) {
  struct local *local = xcalloc(1, sizeof *local);
  local->loop = loop;
  local->executable = strdup(executable);
  if (!local->executable) abort();
  local->events = *events;
  local->owner = owner;
  local->alarm = INT64_MAX;
  local->devices = devices_new();
  return local;
}

static void wait_for_end(struct process *process, int64_t until) {
  enum lost_reason reason;
  int code;
  int64_t left;
  while (!reap(process, &reason, &code) && (left = until - wait_now()) > 0) {
    struct pollfd ended = {.fd = process->pidfd, .events = POLLIN};
    poll(&ended, 1, (int)(left / NANOSECONDS_PER_MILLISECOND) + 1);
  }
  log_drain(process->log);
}

void local_close(struct local *local) {
  for (uint32_t i = 0; i < local->count; i++)
    if (local->processes[i]) kill_process(local->processes[i]);
  int64_t until = wait_now() + REAP * NANOSECONDS_PER_MILLISECOND;
  for (uint32_t i = 0; i < local->count; i++) {
    struct process *process = local->processes[i];
    if (!process) continue;
    if (!process->failure) wait_for_end(process, until);
    release(process);
  }
}

void local_free(struct local *local) {
  if (!local) return;
  free(local->due.items);
  free(local->dirty.items);
  free(local->processes);
  devices_free(local->devices);
  free(local->executable);
  free(local);
}

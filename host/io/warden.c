#define _GNU_SOURCE
#include "warden.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/frame.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "../core/worker.h"
#include "wait.h"

// `current` is a sequence times two, plus this bit.
enum { STOPPING = 1 };

// Between two signals to a call that does not stop.
static const int kAgainMs = 5;
// How often a doomed worker tries to send its last words.
static const int kFarewellTries = 20;
// Between warden_look and the look.
static const int64_t kLook = NANOSECONDS_PER_MILLISECOND;
// How long a call that asks whether it is cancelled has to end by itself.
static const int64_t kPatience = NANOSECONDS_PER_SECOND;
// How long contexts have for their exits when the router is gone.
static const int64_t kAlone = NANOSECONDS_PER_SECOND;

struct warden {
  struct warden_options options;
  _Atomic uint64_t current;
  _Atomic uint64_t patient;  // a sequence: that call ends by itself when it is claimed
  _Atomic uint32_t cancels;  // kept in `worker`
  _Atomic bool draining, alone;
  _Atomic bool look;              // is wanted
  _Atomic int64_t doom;           // when the process ends; INT64_MAX: not of itself
  int out_ready, executor_ready;  // eventfds: wake the warden, wake the executor
  pthread_t thread;
  pthread_mutex_t lock;  // of what follows
  pthread_cond_t changed;
  struct worker *worker;
  struct buffer out;
  struct message start, parting;
  bool has_parting;
  int doom_code;
  bool started, stopping;
};

// ---- the executor's side ----

void warden_enter(struct warden *warden, uint64_t sequence) {
  atomic_store(&warden->current, sequence << 1);
}

bool warden_leave(struct warden *warden) {
  uint64_t current = atomic_load(&warden->current) & ~(uint64_t)STOPPING;
  if (atomic_compare_exchange_strong(&warden->current, &current, 0)) return true;
  atomic_store(&warden->current, 0);
  return false;
}

static bool claim(struct warden *warden, uint64_t sequence) {
  uint64_t running = sequence << 1;
  return atomic_compare_exchange_strong(&warden->current, &running, running | STOPPING);
}

void warden_patient(struct warden *warden, uint64_t sequence) {
  atomic_store(&warden->patient, sequence);
}

void warden_claim(struct warden *warden) {
  claim(warden, atomic_load(&warden->current) >> 1);
  eventfd_write(warden->out_ready, 1);
}

bool warden_stopping(const struct warden *warden) {
  return atomic_load(&warden->current) & STOPPING;
}

bool warden_cancelled(struct warden *warden, uint64_t sequence, enum cancel_reason *reason) {
  if (!atomic_load(&warden->cancels)) return false;
  pthread_mutex_lock(&warden->lock);
  bool found = worker_take(warden->worker, sequence, reason);
  atomic_store(&warden->cancels, worker_cancels(warden->worker));
  pthread_mutex_unlock(&warden->lock);
  return found;
}

bool warden_next_cancel(struct warden *warden, bool (*suspended)(void *owner, uint64_t sequence),
                        void *owner, uint64_t *sequence, enum cancel_reason *reason) {
  if (!atomic_load(&warden->cancels)) return false;
  pthread_mutex_lock(&warden->lock);
  bool found = worker_match(warden->worker, suspended, owner, sequence, reason);
  atomic_store(&warden->cancels, worker_cancels(warden->worker));
  pthread_mutex_unlock(&warden->lock);
  return found;
}

int warden_fd(const struct warden *warden) {
  return warden->executor_ready;
}

void warden_woken(struct warden *warden) {
  eventfd_t count;
  eventfd_read(warden->executor_ready, &count);
}

bool warden_draining(const struct warden *warden) {
  return atomic_load(&warden->draining);
}

bool warden_alone(const struct warden *warden) {
  return atomic_load(&warden->alone);
}

void warden_look(struct warden *warden) {
  if (!atomic_load(&warden->look) && !atomic_exchange(&warden->look, true))
    eventfd_write(warden->out_ready, 1);
}

void warden_doom(struct warden *warden, int64_t at, int code, struct message *parting) {
  pthread_mutex_lock(&warden->lock);
  if (warden->has_parting) payload_unref(warden->parting.body);
  warden->has_parting = parting;
  if (parting) warden->parting = *parting;
  warden->doom_code = code;
  pthread_mutex_unlock(&warden->lock);
  atomic_store(&warden->doom, at);
  eventfd_write(warden->out_ready, 1);
}

void warden_send(struct warden *warden, struct message *message) {
  pthread_mutex_lock(&warden->lock);
  frame_append(&warden->out, message);
  pthread_mutex_unlock(&warden->lock);
  payload_unref(message->body);
  message->body = NULL;
  eventfd_write(warden->out_ready, 1);
}

// ---- the warden's side ----

// Kept first, then looked whether it runs: an executor that enters it meanwhile looks after it has
// entered. One of the two sees the other. False: the router sends more than any router does.
static bool on_cancel(struct warden *warden, const struct message *message) {
  enum cancel_reason reason = (enum cancel_reason)message->reason;
  pthread_mutex_lock(&warden->lock);
  bool kept = worker_cancel(warden->worker, message->sequence, reason);
  atomic_store(&warden->cancels, worker_cancels(warden->worker));
  if (kept && claim(warden, message->sequence)) {
    worker_take(warden->worker, message->sequence, &reason);
    atomic_store(&warden->cancels, worker_cancels(warden->worker));
  }
  pthread_mutex_unlock(&warden->lock);
  eventfd_write(warden->executor_ready, 1);
  return kept;
}

static void drain(struct warden *warden) {
  atomic_store(&warden->draining, true);
  eventfd_write(warden->executor_ready, 1);
  // The executor may wait for the lock of the benchmark; a call that runs is left in peace.
  if (!atomic_load(&warden->current)) warden->options.interrupt(warden->options.owner);
}

static bool on_start(struct warden *warden, struct message *message) {
  pthread_mutex_lock(&warden->lock);
  bool first = !warden->started;
  if (first) {
    warden->start = *message;  // the body waits for the executor
    message->body = NULL;
    warden->started = true;
    pthread_cond_broadcast(&warden->changed);
  }
  pthread_mutex_unlock(&warden->lock);
  return first;
}

static void on_ping(struct warden *warden, const struct message *message) {
  struct message pong = {.type = MESSAGE_PONG, .sequence = message->sequence};
  warden_send(warden, &pong);
}

// False: this is not how a router speaks.
static bool on_message(struct warden *warden, struct message *message) {
  switch (message->type) {
    case MESSAGE_START:
      return on_start(warden, message);
    case MESSAGE_CANCEL:
      return on_cancel(warden, message);
    case MESSAGE_DRAIN:
      drain(warden);
      return true;
    case MESSAGE_PING:
      on_ping(warden, message);
      return true;
    case MESSAGE_GIVE_BACK:
      warden->options.look(warden->options.owner);
      return true;
    default:
      return false;
  }
}

// False: the connection has ended, or carries no frames.
static bool receive(struct warden *warden, struct reader *reader) {
  size_t size;
  unsigned char *space = reader_space(reader, &size);
  ssize_t n = space ? recv(warden->options.control, space, size, MSG_DONTWAIT) : -1;
  if (n < 0 && space && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  reader_received(reader, (size_t)n);
  struct message message;
  int result = FRAME_MORE;
  bool good = true;
  while (good && (result = reader_next(reader, &message)) == FRAME_OK) {
    good = on_message(warden, &message);
    payload_unref(message.body);
  }
  return good && result == FRAME_MORE;
}

// True: nothing is left to be sent.
static bool send_out(struct warden *warden) {
  pthread_mutex_lock(&warden->lock);
  while (warden->out.size) {
    ssize_t n = send(warden->options.control, warden->out.bytes, warden->out.size,
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) buffer_clear(&warden->out);  // nobody will read it
    if (n < 0) break;
    buffer_consume(&warden->out, (size_t)n);
  }
  bool sent = !warden->out.size;
  pthread_mutex_unlock(&warden->lock);
  return sent;
}

static void end(struct warden *warden) {
  atomic_store(&warden->alone, true);
  pthread_mutex_lock(&warden->lock);
  pthread_cond_broadcast(&warden->changed);
  pthread_mutex_unlock(&warden->lock);
  uint64_t current = atomic_load(&warden->current);
  if (current) claim(warden, current >> 1);
  drain(warden);
}

static bool is_stopping(struct warden *warden) {
  pthread_mutex_lock(&warden->lock);
  bool stopping = warden->stopping;
  pthread_mutex_unlock(&warden->lock);
  return stopping;
}

// How long to wait for whatever comes, in poll's way.
static int patience(const struct warden *warden, int64_t until) {
  if (warden_stopping(warden)) return kAgainMs;
  if (until == INT64_MAX) return -1;
  int64_t left = until - wait_now();
  return left < 0 ? 0 : (int)(left / NANOSECONDS_PER_MILLISECOND) + 1;
}

// Returns when a look is due.
static int64_t look(struct warden *warden, int64_t at) {
  if (at == INT64_MAX) return atomic_load(&warden->look) ? wait_now() + kLook : at;
  if (wait_now() < at) return at;
  atomic_store(&warden->look, false);
  warden->options.look(warden->options.owner);
  return INT64_MAX;
}

// The instant of its doom has come: whatever holds the executor up holds it no more.
static void fulfil(struct warden *warden) {
  pthread_mutex_lock(&warden->lock);
  struct message parting = warden->parting;
  bool has_parting = warden->has_parting;
  int code = warden->doom_code;
  warden->has_parting = false;
  pthread_mutex_unlock(&warden->lock);
  if (has_parting) warden_send(warden, &parting);
  for (int i = 0; i < kFarewellTries && !send_out(warden); i++) {
    struct pollfd full = {.fd = warden->options.control, .events = POLLOUT};
    poll(&full, 1, kAgainMs);
  }
  _exit(code);
}

// The claim that was seen last, and since when.
struct claim {
  uint64_t current;
  int64_t since;
};

// Whether a claimed call runs that is to be interrupted now.
static bool is_due(const struct warden *warden, struct claim *last) {
  uint64_t current = atomic_load(&warden->current);
  if (!(current & STOPPING)) return false;
  if (last->current != current) *last = (struct claim){current, wait_now()};
  return atomic_load(&warden->patient) != current >> 1 || wait_now() - last->since >= kPatience;
}

static void *guard(void *argument) {
  struct warden *warden = argument;
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  bool connected = true;
  int64_t kill_at = INT64_MAX, look_at = INT64_MAX;
  struct claim last = {0, 0};
  for (;;) {
    bool sent = !connected || send_out(warden);
    if (sent && is_stopping(warden)) break;
    struct pollfd fds[2] = {{.fd = warden->out_ready, .events = POLLIN},
                            {.fd = connected ? warden->options.control : -1,
                             .events = (short)(POLLIN | (sent ? 0 : POLLOUT))}};
    int64_t doom = atomic_load(&warden->doom), until = kill_at < look_at ? kill_at : look_at;
    poll(fds, 2, patience(warden, until < doom ? until : doom));
    if (wait_now() >= kill_at) kill(0, SIGKILL);
    if (wait_now() >= atomic_load(&warden->doom)) fulfil(warden);
    eventfd_t count;
    if (fds[0].revents) eventfd_read(warden->out_ready, &count);
    if (connected && (fds[1].revents & ~POLLOUT) && !receive(warden, reader)) {
      connected = false;
      kill_at = wait_now() + kAlone;
      end(warden);
    }
    if (is_due(warden, &last)) warden->options.interrupt(warden->options.owner);
    look_at = look(warden, look_at);
  }
  reader_free(reader);
  return NULL;
}

// ---- life ----

int warden_start(struct warden **out, const struct warden_options *options) {
  struct warden *warden = xcalloc(1, sizeof *warden);
  warden->options = *options;
  warden->worker = worker_new();
  warden->doom = INT64_MAX;
  warden->out_ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  warden->executor_ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  pthread_mutex_init(&warden->lock, NULL);
  pthread_cond_init(&warden->changed, NULL);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&warden->thread, NULL, guard, warden);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  *out = warden;
  return -error;
}

bool warden_wait_start(struct warden *warden, struct message *message) {
  pthread_mutex_lock(&warden->lock);
  while (!warden->started && !warden_alone(warden))
    pthread_cond_wait(&warden->changed, &warden->lock);
  bool started = warden->started;
  if (started) *message = warden->start;
  warden->start.body = NULL;
  pthread_mutex_unlock(&warden->lock);
  return started;
}

void warden_stop(struct warden *warden) {
  pthread_mutex_lock(&warden->lock);
  warden->stopping = true;
  pthread_mutex_unlock(&warden->lock);
  eventfd_write(warden->out_ready, 1);
  pthread_join(warden->thread, NULL);
  close(warden->options.control);
  close(warden->out_ready);
  close(warden->executor_ready);
  worker_free(warden->worker);
  payload_unref(warden->start.body);
  if (warden->has_parting) payload_unref(warden->parting.body);
  buffer_free(&warden->out);
  pthread_mutex_destroy(&warden->lock);
  pthread_cond_destroy(&warden->changed);
  free(warden);
}

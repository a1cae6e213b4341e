// Checks of host/io/connection.c through a session: a router that is played by a thread.
#define _GNU_SOURCE
#include "../../../host/io/connection.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../../host/core/cursor.h"
#include "../../../host/core/error.h"
#include "../../../host/core/files.h"
#include "../../../host/io/session.h"
#include "../../../host/io/wait.h"
#include "frames.h"

#define SECOND INT64_C(1000000000)

static const char kManifest[] = "function f\n";
static const char kHash[] = "0123";

enum welcome { WELCOME, CHANGED, OTHER_MANIFEST, SILENT, HANG_UP, OTHER_VERSION };

// The router: one thread that serves one connection after the other.
struct router {
  char folder[64], path[108];
  int listener;
  pthread_t thread;
  enum welcome welcome;
  int answer;     // how many calls of a connection are answered; then nothing is read
  int64_t pause;  // after a connection has come
  bool drains;    // with the first call
  atomic_int accepted, calls, cancels;
  _Atomic int64_t accepted_at;
  atomic_bool hang_up;  // closes the connection
  int fd;
  struct reader *reader;
  uint64_t ids[4096];  // of all calls that came
};

// ---- what the router does ----

static void say(struct router *router, struct message message) {
  struct buffer out = BUFFER_EMPTY;
  frame_append(&out, &message);
  payload_unref(message.body);
  for (size_t at = 0; at < out.size;) {
    ssize_t sent = send(router->fd, out.bytes + at, out.size - at, MSG_NOSIGNAL);
    if (sent < 0) break;
    at += (size_t)sent;
  }
  buffer_free(&out);
}

// False: the client has gone, or the router hangs up.
static bool hear(struct router *router, struct message *message) {
  while (reader_next(router->reader, message) == FRAME_MORE) {
    struct pollfd ready = {.fd = router->fd, .events = POLLIN};
    size_t room;
    unsigned char *space = reader_space(router->reader, &room);
    while (!atomic_load(&router->hang_up) && poll(&ready, 1, 5) == 0) continue;
    if (atomic_load(&router->hang_up)) return false;
    ssize_t size = recv(router->fd, space, room, 0);
    if (size <= 0) return false;
    reader_received(router->reader, (size_t)size);
  }
  return true;
}

static bool text_is(struct cursor map, const char *key, const char *expected) {
  struct cursor value;
  const unsigned char *text;
  size_t size;
  return cursor_find(map, key, &value) && cursor_str(&value, &text, &size) &&
         size == strlen(expected) && !memcmp(text, expected, size);
}

static void expect_hello(const struct message *hello) {
  EXPECT_EQUAL(MESSAGE_HELLO, hello->type);
  EXPECT_EQUAL(ROLE_CLIENT, hello->role);
  EXPECT_EQUAL(LIMIT_FRAME, hello->limit);
  struct cursor map = cursor_of(hello->body->bytes, hello->body->size), value;
  size_t count;
  uint64_t pid;
  EXPECT(cursor_array(&map, &count) && count == 1);
  EXPECT(text_is(map, "name", "checks") && text_is(map, "tag", "blue") &&
         text_is(map, "hash", kHash));
  EXPECT(cursor_find(map, "pid", &value) && cursor_uint(&value, &pid));
  EXPECT_EQUAL(getpid(), pid);
}

static struct payload *welcome_body(const char *manifest) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 1);
  pack_text(&body, "manifest");
  pack_text(&body, manifest);
  struct payload *payload = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return payload;
}

static struct payload *files_body(const char *digest) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 1);
  pack_text(&body, "deploy.lua");
  pack_text(&body, digest);
  struct payload *payload = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return payload;
}

static struct payload *changed_body(void) {
  struct error_writer writer;
  struct payload *files = files_body("01234567");
  error_begin(&writer, ERROR_DEPLOYMENT_CHANGED, EXECUTED_NO, false, "router");
  error_message(&writer, "it runs " FILES_OTHER);
  struct payload *error = files_end(&writer, files);
  payload_unref(files);
  return error;
}

// True: it goes on.
static bool greet(struct router *router) {
  struct message hello;
  struct buffer out = BUFFER_EMPTY;
  frame_preface(&out);
  if (router->welcome == OTHER_VERSION) out.bytes[8] = out.bytes[9] = 99;
  ssize_t sent = send(router->fd, out.bytes, out.size, MSG_NOSIGNAL);
  EXPECT_EQUAL(out.size, sent);
  buffer_free(&out);
  if (!hear(router, &hello)) return false;
  expect_hello(&hello);
  payload_unref(hello.body);
  if (router->welcome == HANG_UP) return false;
  if (router->welcome == SILENT) return true;
  say(router, (struct message){.type = MESSAGE_HELLO,
                               .role = ROLE_CLIENT,
                               .limit = LIMIT_FRAME,
                               .body = payload_copy("\x91\x80", 2)});
  if (router->welcome == CHANGED)
    say(router, (struct message){.type = MESSAGE_ERROR, .attempt = 1, .body = changed_body()});
  else
    say(router,
        (struct message){.type = MESSAGE_WELCOME,
                         .epoch = 7,
                         .body = welcome_body(router->welcome == WELCOME ? kManifest : "other\n")});
  return true;
}

static void until_hung_up(struct router *router) {
  while (!atomic_load(&router->hang_up)) poll(NULL, 0, 5);
}

static void serve(struct router *router) {
  struct message message;
  int left = router->answer;
  while (left && hear(router, &message)) {
    bool is_call = message.type == MESSAGE_CALL;
    if (message.type == MESSAGE_CANCEL) atomic_fetch_add(&router->cancels, 1);
    if (!is_call) {
      payload_unref(message.body);
      continue;
    }
    router->ids[atomic_fetch_add(&router->calls, 1)] = message.id.counter;
    if (router->drains) say(router, (struct message){.type = MESSAGE_DRAIN, .remaining = SECOND});
    say(router, (struct message){.type = MESSAGE_RESULT,
                                 .id = message.id,
                                 .attempt = 1,
                                 .epoch = 7,
                                 .body = message.body});
    left--;
  }
  if (!left && !router->drains) until_hung_up(router);
}

static void *run(void *owner) {
  struct router *router = owner;
  int fd;
  while ((fd = accept(router->listener, NULL, NULL)) >= 0) {
    atomic_store(&router->hang_up, false);
    atomic_store(&router->accepted_at, wait_now());
    atomic_fetch_add(&router->accepted, 1);
    router->fd = fd;
    router->reader = reader_new(FRAME_PREFACE, LIMIT_FRAME);
    if (greet(router)) serve(router);
    if (router->welcome == OTHER_VERSION) until_hung_up(router);
    reader_free(router->reader);
    close(fd);
  }
  return NULL;
}

static void router_listen(struct router *router) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, router->path);
  router->listener = socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT(!bind(router->listener, (struct sockaddr *)&address, sizeof address));
  EXPECT(!listen(router->listener, 16));
  EXPECT(!pthread_create(&router->thread, NULL, run, router));
}

static void router_start(struct router *router) {
  strcpy(router->folder, "/tmp/router.XXXXXX");
  EXPECT(mkdtemp(router->folder) != NULL);
  snprintf(router->path, sizeof router->path, "%s/router.sock", router->folder);
  router_listen(router);
}

// As if it were killed: connections end, nobody listens.
static void router_stop(struct router *router) {
  shutdown(router->listener, SHUT_RDWR);
  atomic_store(&router->hang_up, true);
  pthread_join(router->thread, NULL);
  close(router->listener);
  unlink(router->path);
}

static void router_end(struct router *router) {
  router_stop(router);
  rmdir(router->folder);
}

// ---- the client ----

struct client_side {
  struct session *session;
  uint32_t deployment;
};

static struct payload *join(struct client_side *side, const char *router) {
  struct router_function function = {.concurrency = 1, .timeout = 2 * SECOND};
  struct payload *start = bin_body(1), *failure = NULL;
  struct router_deployment_options options = {.name = "checks",
                                              .functions = &function,
                                              .function_count = 1,
                                              .manifest = kManifest,
                                              .manifest_size = sizeof kManifest - 1,
                                              .start = start,
                                              .workers = 1};
  struct session_bundle bundle = {.tag = "blue", .hash = kHash, .files = files_body("01234568")};
  setenv("FARSIDE_ROUTER", router, 1);
  setenv("FARSIDE_BIN", "/nonexistent/farside", 1);  // so that falling back shows
  if (!side->session) EXPECT_EQUAL(0, session_open(&side->session));
  side->deployment = session_join(side->session, &options, &bundle, &failure);
  EXPECT((side->deployment == ROUTER_NONE) == (failure != NULL));
  payload_unref(start);
  payload_unref(bundle.files);
  return failure;
}

static void join_router(struct client_side *side, const struct router *router) {
  char text[128];
  snprintf(text, sizeof text, "unix:%s", router->path);
  struct payload *failure = join(side, text);
  if (failure) fwrite(failure->bytes, 1, failure->size, stdout);
  EXPECT(!failure);
  EXPECT(!strcmp(router->path, session_served_at(side->session, side->deployment)));
}

static void expect_name(const struct payload *body, const char *name, const char *executed) {
  struct cursor map = cursor_of(body->bytes, body->size);
  size_t count;
  EXPECT(cursor_array(&map, &count));
  if (!text_is(map, "name", name) || !text_is(map, "executed", executed))
    fwrite(body->bytes, 1, body->size, stdout);
  EXPECT(text_is(map, "name", name) && text_is(map, "executed", executed));
}

// Whoever has lost its router is told which one it was.
static void expect_epoch(const struct payload *body, const char *name) {
  struct cursor map = cursor_of(body->bytes, body->size);
  size_t count;
  EXPECT(cursor_array(&map, &count));
  EXPECT_EQUAL(!strcmp(name, "RouterLost"), text_is(map, "epoch", "0000000000000007"));
}

static void expect_failure(const char *router, const char *name) {
  struct client_side side = {0};
  struct payload *failure = join(&side, router);
  EXPECT(failure != NULL);
  expect_name(failure, name, "no");
  payload_unref(failure);
  session_close(side.session);
}

static uint64_t call_with(struct client_side *side, int64_t timeout, size_t size) {
  struct call_options options = {
      .deployment = side->deployment, .workload = 100, .timeout = timeout};
  uint64_t call;
  EXPECT_EQUAL(CLIENT_OK, session_call(side->session, &options, bin_body(size), &call));
  return call;
}

static void wait_done(struct client_side *side, uint64_t call) {
  int64_t until = wait_now() + 10 * SECOND;
  enum session_wait result;
  do result = session_wait(side->session, call, ROUTER_NONE, until);
  while (result == SESSION_OTHER);
  EXPECT_EQUAL(SESSION_DONE, result);
}

static void take_result(struct client_side *side, uint64_t call, size_t size) {
  struct completion completion;
  struct payload *sent = bin_body(size);
  wait_done(side, call);
  EXPECT(session_take(side->session, call, &completion));
  if (!completion.ok) fwrite(completion.body->bytes, 1, completion.body->size, stdout);
  EXPECT(completion.ok);
  EXPECT_EQUAL(sent->size, completion.body->size);
  EXPECT(!memcmp(sent->bytes, completion.body->bytes, sent->size));
  payload_unref(completion.body);
  payload_unref(sent);
}

static void take_error(struct client_side *side, uint64_t call, const char *name,
                       const char *executed) {
  struct completion completion;
  wait_done(side, call);
  EXPECT(session_take(side->session, call, &completion));
  EXPECT(!completion.ok);
  expect_name(completion.body, name, executed);
  expect_epoch(completion.body, name);
  payload_unref(completion.body);
}

static void wait_calls(const struct router *router, int count) {
  int64_t until = wait_now() + 10 * SECOND;
  while (atomic_load(&router->calls) < count) {
    EXPECT(wait_now() < until);
    poll(NULL, 0, 1);
  }
}

// ---- joining ----

static void joins(void) {
  struct router router = {.answer = -1};
  struct client_side side = {0};
  struct deployment_status status;
  router_start(&router);
  join_router(&side, &router);
  take_result(&side, call_with(&side, 0, 10), 10);
  take_result(&side, call_with(&side, SECOND, 3000000), 3000000);
  EXPECT(session_status(side.session, side.deployment, &status));
  EXPECT_EQUAL(DEPLOYMENT_READY, status.state);
  EXPECT_EQUAL(2, status.calls);
  EXPECT_EQUAL(0, status.queued + status.running + status.places);
  session_close(side.session);
  router_end(&router);
}

static void never_falls_back(void) {
  expect_failure("unix:/nonexistent/router.sock", "ConnectFailed");
  expect_failure("tcp:1.2.3.4", "ConfigError");
  expect_failure("unix:", "ConfigError");
  expect_failure("embedded", "ConfigError");  // without an executable
  struct router router = {.welcome = HANG_UP};
  char text[128];
  router_start(&router);
  snprintf(text, sizeof text, "unix:%s", router.path);
  expect_failure(text, "ConnectFailed");
  router_end(&router);
}

static void is_refused(void) {
  const enum welcome welcomes[] = {CHANGED, OTHER_MANIFEST, OTHER_VERSION};
  for (int i = 0; i < 3; i++) {
    struct router router = {.welcome = welcomes[i]};
    char text[128];
    router_start(&router);
    snprintf(text, sizeof text, "unix:%s", router.path);
    expect_failure(text, welcomes[i] == OTHER_VERSION ? "VersionMismatch" : "DeploymentChanged");
    router_end(&router);
  }
}

static void joins_again_after_a_refusal(void) {
  struct router router = {.answer = -1, .welcome = CHANGED};
  struct client_side side = {0};
  char text[128];
  router_start(&router);
  snprintf(text, sizeof text, "unix:%s", router.path);
  struct payload *failure = join(&side, text);
  struct cursor map = cursor_of(failure->bytes, failure->size);
  size_t count;
  EXPECT(cursor_array(&map, &count));
  EXPECT(text_is(map, "message", "it runs " FILES_OTHER ": deploy.lua (changed)"));
  payload_unref(failure);
  router_stop(&router);
  router.welcome = WELCOME;
  router_listen(&router);
  join_router(&side, &router);
  take_result(&side, call_with(&side, 0, 10), 10);
  session_close(side.session);
  router_end(&router);
}

// ---- losses ----

static void loses_calls(void) {
  enum { CALLS = 20 };
  struct router router = {.answer = 5};
  struct client_side side = {0};
  uint64_t calls[CALLS];
  router_start(&router);
  join_router(&side, &router);
  for (int i = 0; i < CALLS; i++) calls[i] = call_with(&side, 0, 10);
  for (int i = 0; i < 5; i++) take_result(&side, calls[i], 10);
  int64_t from = wait_now();
  router_stop(&router);
  for (int i = 5; i < CALLS; i++) take_error(&side, calls[i], "RouterLost", "maybe");
  EXPECT(wait_now() - from < SECOND);
  uint64_t later = call_with(&side, 5 * SECOND, 10);
  router.answer = -1;
  router_listen(&router);
  take_result(&side, later, 10);
  EXPECT_EQUAL(6, router.calls);
  session_close(side.session);
  router_end(&router);
}

// The router reads nothing: the socket is full of the first calls, the last ones cannot have left.
static void sends_again(void) {
  enum { CALLS = 64, SIZE = 15000 };
  struct router router = {.answer = 0};
  struct client_side side = {0};
  uint64_t calls[CALLS];
  int maybe = 0, ok = 0;
  router_start(&router);
  join_router(&side, &router);
  for (int i = 0; i < CALLS; i++) calls[i] = call_with(&side, 8 * SECOND, SIZE);
  EXPECT_EQUAL(SESSION_TIMEOUT,
               session_wait(side.session, 0, ROUTER_NONE, wait_now() + SECOND / 100));
  router_stop(&router);
  router.answer = -1;
  router_listen(&router);
  for (int i = 0; i < CALLS; i++) {
    struct completion completion;
    wait_done(&side, calls[i]);
    EXPECT(session_take(side.session, calls[i], &completion));
    if (!completion.ok) expect_name(completion.body, "RouterLost", "maybe");
    *(completion.ok ? &ok : &maybe) += 1;
    EXPECT(!ok || completion.ok);  // in their order
    payload_unref(completion.body);
  }
  EXPECT(maybe > 0 && ok > 0);
  EXPECT_EQUAL(ok, router.calls);
  for (int i = 0; i < ok; i++) EXPECT_EQUAL(calls[maybe + i], router.ids[i]);
  session_close(side.session);
  router_end(&router);
}

static void ends_what_waits(void) {
  struct router router = {.answer = -1};
  struct client_side side = {0};
  router_start(&router);
  join_router(&side, &router);
  router_stop(&router);
  uint64_t first = call_with(&side, SECOND / 5, 10), second = call_with(&side, 0, 10);
  uint64_t third = call_with(&side, 0, 10);
  EXPECT(session_cancel(side.session, third));
  take_error(&side, third, "Cancelled", "no");
  int64_t from = wait_now();
  take_error(&side, first, "RouterLost", "no");
  take_error(&side, second, "RouterLost", "no");  // after the two seconds of its function
  EXPECT(wait_now() - from > SECOND && wait_now() - from < 4 * SECOND);
  session_close(side.session);
  rmdir(router.folder);
}

static void drains(void) {
  struct router router = {.answer = 1, .drains = true};
  struct client_side side = {0};
  router_start(&router);
  join_router(&side, &router);
  for (int i = 0; i < 3; i++) take_result(&side, call_with(&side, 5 * SECOND, 10), 10);
  EXPECT_EQUAL(3, router.accepted);
  session_close(side.session);
  router_end(&router);
}

static void comes_back(void) {
  struct router router = {.answer = -1};
  struct client_side side = {0};
  router_start(&router);
  join_router(&side, &router);
  take_result(&side, call_with(&side, 0, 10), 10);
  atomic_store(&router.hang_up, true);
  while (atomic_load(&router.accepted) < 2)
    session_wait(side.session, 0, ROUTER_NONE, wait_now() + SECOND / 100);
  take_result(&side, call_with(&side, 5 * SECOND, 10), 10);
  session_close(side.session);
  router_end(&router);
}

// Nobody reads, so nobody says that a call was cancelled.
static void gives_up_an_idle_router(void) {
  struct router router = {.answer = 0};
  struct client_side side = {0};
  router_start(&router);
  join_router(&side, &router);
  uint64_t call = call_with(&side, 0, 10);
  int64_t from = wait_now();
  session_cancel_all(side.session);
  EXPECT(wait_now() - from >= SECOND && wait_now() - from < 3 * SECOND);
  EXPECT_EQUAL(1, session_done(side.session));
  take_error(&side, call, "RouterLost", "maybe");
  session_close(side.session);
  router_end(&router);
}

// The keeper sends what was called, and reads what was answered, and connects again.
static void goes_on_while_nobody_waits(void) {
  struct router router = {.answer = -1};
  struct client_side side = {0};
  router_start(&router);
  join_router(&side, &router);
  for (int i = 0; i < 3; i++) call_with(&side, 0, 10);
  int64_t until = wait_now() + 5 * SECOND;
  while (session_done(side.session) < 3) EXPECT(wait_now() < until);
  router_stop(&router);
  call_with(&side, 5 * SECOND, 10);
  router_listen(&router);
  wait_calls(&router, 4);
  while (session_done(side.session) < 4) EXPECT(wait_now() < until);
  session_close(side.session);
  router_end(&router);
}

struct caller {
  struct client_side *side;
  int done;
};

static void *call_often(void *owner) {
  struct caller *caller = owner;
  for (int i = 0; i < 300; i++) take_result(caller->side, call_with(caller->side, 0, 10), 10);
  return NULL;
}

static void is_shared_by_threads(void) {
  struct router router = {.answer = -1};
  struct client_side side = {0};
  struct caller caller = {.side = &side};
  pthread_t threads[3];
  router_start(&router);
  join_router(&side, &router);
  for (int i = 0; i < 3; i++) EXPECT(!pthread_create(&threads[i], NULL, call_often, &caller));
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  EXPECT_EQUAL(900, router.calls);
  session_close(side.session);
  router_end(&router);
}

static const struct check checks[] = {
    {"carries calls to a served router", joins},
    {"is the router that was asked for, or an error", never_falls_back},
    {"is refused by a router of other files, functions or versions", is_refused},
    {"is made again after a refusal", joins_again_after_a_refusal},
    {"R1: ends the calls of a router that is gone with maybe", loses_calls},
    {"R1: sends calls again that provably never left", sends_again},
    {"ends calls that wait for a router in vain with no", ends_what_waits},
    {"R3: leaves a router that drains for its successor", drains},
    {"is made again when it was lost without a call", comes_back},
    {"gives up calls whose router does not hear of their cancel", gives_up_an_idle_router},
    {"is kept going while nobody waits", goes_on_while_nobody_waits},
    {"is shared by threads", is_shared_by_threads},
};

CHECK_MAIN(checks)

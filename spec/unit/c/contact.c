// Checks of host/core/contact.c.
#include "../../../host/core/contact.h"

#include "../../../host/core/cursor.h"
#include "../../../host/core/error.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "check.h"

#define SECONDS(n) ((int64_t)((n)*1e9))

enum { SIZE = 100, EPOCH = 77 };  // bytes of a call; of the router

// Function 1 is idempotent.
static struct contact *contact_make(uint64_t seed) {
  static const struct contact_function functions[] = {{0, false}, {0, true}};
  return contact_new("/run/x.sock", functions, 2, seed);
}

static struct message call_of(uint64_t number, int64_t timeout) {
  return (struct message){.type = MESSAGE_CALL,
                          .id = {1, number},
                          .remaining = timeout,
                          .body = payload_copy("\x90", 1)};
}

// Whether the call goes out at once.
static bool call_at(struct contact *contact, uint64_t number, int64_t timeout, uint64_t at,
                    int64_t now) {
  struct message message = call_of(number, timeout);
  bool goes = contact_call(contact, &message, at, now);
  if (goes) payload_unref(message.body);
  return goes;
}

static bool cancel(struct contact *contact, uint64_t number) {
  struct message message = {.type = MESSAGE_CANCEL, .id = {1, number}};
  return contact_control(contact, &message);
}

static void open_at(struct contact *contact, int64_t now) {
  EXPECT(contact_due(contact, now));
  contact_opened(contact, EPOCH);
}

static struct contact *opened(void) {
  struct contact *contact = contact_make(5);
  open_at(contact, 0);
  return contact;
}

// The next call that waited goes out; its number, or 0.
static uint64_t next(struct contact *contact, uint64_t at, int64_t now, int64_t *remaining) {
  struct message message;
  if (!contact_next(contact, at, &message, now)) return 0;
  if (remaining) *remaining = message.remaining;
  payload_unref(message.body);
  return message.id.counter;
}

static void expect_text(const struct message *message, const char *key, const char *expected) {
  struct cursor map = cursor_of(message->body->bytes, message->body->size), value;
  const unsigned char *text;
  size_t size;
  EXPECT(cursor_array(&map, &size) && cursor_find(map, key, &value));
  EXPECT(cursor_str(&value, &text, &size));
  if (size != strlen(expected) || memcmp(text, expected, size))
    printf("%s: %.*s\n", key, (int)size, (const char *)text);
  EXPECT(size == strlen(expected) && !memcmp(text, expected, size));
}

static void expect_answer(struct contact *contact, uint64_t number, const char *name) {
  struct message message;
  EXPECT(contact_answer(contact, &message));
  EXPECT_EQUAL(MESSAGE_ERROR, message.type);
  EXPECT_EQUAL(number, message.id.counter);
  expect_text(&message, "name", name);
  expect_text(&message, "executed", "no");
  if (!strcmp(name, "RouterLost")) expect_text(&message, "epoch", "000000000000004d");
  payload_unref(message.body);
}

// The router says that a call has ended. Whether the client is told.
static bool end(struct contact *contact, uint64_t number, struct payload *error) {
  struct message message = {
      .type = error ? MESSAGE_ERROR : MESSAGE_RESULT, .id = {1, number}, .body = error};
  bool is_told = contact_ended(contact, &message, SECONDS(1));
  payload_unref(error);
  return is_told;
}

static void expect_no_answer(struct contact *contact) {
  struct message message;
  EXPECT(!contact_answer(contact, &message));
}

// When the next attempt is made after this one has failed.
static int64_t fail_once(struct contact *contact, int64_t now) {
  int64_t due = contact_deadline(contact);
  if (due < now) due = now;
  EXPECT(contact_due(contact, due));
  contact_lost(contact, 0, "Connection refused", due);
  return due;
}

static struct payload *refusal(bool retryable) {
  struct error_writer writer;
  error_begin(&writer, retryable ? ERROR_DRAINING : ERROR_DEPLOYMENT_CHANGED, EXECUTED_NO,
              retryable, "router");
  return error_end(&writer);
}

// ---- calls ----

static void keeps_calls_until_welcome(void) {
  struct contact *contact = contact_make(5);
  int64_t remaining;
  EXPECT(!call_at(contact, 1, SECONDS(10), 0, 0));
  EXPECT(!call_at(contact, 2, 0, 0, SECONDS(1)));
  EXPECT_EQUAL(2, contact_waiting(contact));
  EXPECT_EQUAL(0, next(contact, 0, SECONDS(1), NULL));
  open_at(contact, SECONDS(3));
  EXPECT_EQUAL(1, next(contact, 0, SECONDS(3), &remaining));
  EXPECT_EQUAL(SECONDS(7), remaining);  // the wait counts
  EXPECT_EQUAL(2, next(contact, SIZE, SECONDS(3), &remaining));
  EXPECT_EQUAL(0, remaining);  // there the clock starts when a worker is ready
  EXPECT_EQUAL(0, next(contact, 2 * SIZE, SECONDS(3), NULL));
  EXPECT(call_at(contact, 3, 0, 2 * SIZE, SECONDS(3)));
  contact_free(contact);
}

static void sends_again_what_never_left(void) {
  struct contact *contact = opened();
  for (uint64_t i = 0; i < 400; i++) EXPECT(call_at(contact, i + 1, SECONDS(10), i * SIZE, 0));
  for (uint64_t i = 50; i < 60; i++) end(contact, i + 1, NULL);
  EXPECT_EQUAL(390, contact_out(contact));
  // One byte of the call 101 was taken, none of 102.
  contact_lost(contact, 100 * SIZE + 1, "gone", SECONDS(1));
  EXPECT_EQUAL(299, contact_waiting(contact));
  EXPECT_EQUAL(0, contact_out(contact));
  EXPECT(!call_at(contact, 500, SECONDS(10), 0, SECONDS(1)));
  open_at(contact, SECONDS(4));
  int64_t remaining;
  for (uint64_t i = 101; i < 400; i++) {
    EXPECT_EQUAL(i + 1, next(contact, (i - 101) * SIZE, SECONDS(4), &remaining));
    EXPECT_EQUAL(SECONDS(6), remaining);
  }
  // And again, before those that came later.
  contact_lost(contact, 298 * SIZE, "gone", SECONDS(5));
  open_at(contact, SECONDS(8));
  EXPECT_EQUAL(400, next(contact, 0, SECONDS(8), &remaining));
  EXPECT_EQUAL(SECONDS(2), remaining);
  EXPECT_EQUAL(500, next(contact, SIZE, SECONDS(8), NULL));
  EXPECT_EQUAL(0, next(contact, SIZE, SECONDS(8), NULL));
  contact_free(contact);
}

static void keeps_keys(void) {
  struct contact *contact = contact_make(5);
  char key[] = "key";
  struct message message = call_of(1, 0), sent;
  message.key = key;
  message.key_size = 3;
  EXPECT(!contact_call(contact, &message, 0, 0));
  memset(key, 'x', 3);
  for (int i = 0; i < 2; i++) {
    open_at(contact, SECONDS(5 * i));
    EXPECT(contact_next(contact, 0, &sent, SECONDS(5 * i)));
    EXPECT(sent.key_size == 3 && !memcmp(sent.key, "key", 3));
    payload_unref(sent.body);
    contact_lost(contact, 0, "gone", SECONDS(5 * i));
  }
  contact_free(contact);
}

static void ends_calls_whose_time_is_up(void) {
  struct contact *contact = contact_make(5);
  call_at(contact, 1, SECONDS(1), 0, 0);
  fail_once(contact, 0);
  contact_tick(contact, SECONDS(1) - 1);
  expect_no_answer(contact);
  contact_tick(contact, SECONDS(1));
  expect_answer(contact, 1, "ConnectFailed");
  open_at(contact, SECONDS(3));
  call_at(contact, 2, 0, 0, SECONDS(3));
  contact_lost(contact, 0, "gone", SECONDS(3));
  contact_tick(contact, SECONDS(303) - 1);
  expect_no_answer(contact);
  contact_tick(contact, SECONDS(303));
  expect_answer(contact, 2, "RouterLost");
  EXPECT_EQUAL(0, contact_waiting(contact));
  contact_free(contact);
}

static void cancels_what_waits(void) {
  struct contact *contact = opened();
  call_at(contact, 1, 0, 0, 0);
  call_at(contact, 2, 0, SIZE, 0);
  call_at(contact, 3, 0, 2 * SIZE, 0);
  EXPECT(cancel(contact, 2));
  contact_lost(contact, 0, "gone", 0);
  expect_answer(contact, 2, "Cancelled");
  EXPECT(!cancel(contact, 1));
  expect_answer(contact, 1, "Cancelled");
  EXPECT(!cancel(contact, 9));  // it was out and has ended with the connection
  expect_no_answer(contact);
  open_at(contact, SECONDS(1));
  EXPECT_EQUAL(3, next(contact, 0, SECONDS(1), NULL));
  EXPECT_EQUAL(0, next(contact, SIZE, SECONDS(1), NULL));
  EXPECT(cancel(contact, 3));
  contact_free(contact);
}

static void ends_calls_that_are_refused(void) {
  struct contact *contact = contact_make(5);
  call_at(contact, 1, 0, 0, 0);
  EXPECT(contact_due(contact, 0));
  contact_refused(contact, refusal(false), true, 0, 0);
  expect_answer(contact, 1, "DeploymentChanged");
  EXPECT(!call_at(contact, 2, 0, 0, 0));
  expect_answer(contact, 2, "DeploymentChanged");
  EXPECT_EQUAL(0, contact_waiting(contact));
  open_at(contact, SECONDS(3));
  EXPECT(call_at(contact, 3, 0, 0, SECONDS(3)));
  contact_lost(contact, 0, "gone", SECONDS(3));
  EXPECT_EQUAL(1, contact_waiting(contact));
  contact_free(contact);
}

static void waits_while_it_is_put_off(void) {
  struct contact *contact = contact_make(5);
  call_at(contact, 1, 0, 0, 0);
  EXPECT(contact_due(contact, 0));
  contact_refused(contact, refusal(true), false, SECONDS(4), 0);
  expect_no_answer(contact);
  EXPECT(!contact_due(contact, SECONDS(4)));
  open_at(contact, SECONDS(4.05));
  EXPECT_EQUAL(1, next(contact, 0, SECONDS(4.05), NULL));
  contact_free(contact);
}

static void believes_no_pause_beyond_its_bounds(void) {
  const int64_t asked[] = {INT64_MIN, -1, INT64_MAX}, least[] = {0, 0, LIMIT_DEADLINE};
  for (int i = 0; i < 3; i++) {
    struct contact *contact = contact_make(5);
    EXPECT(contact_due(contact, SECONDS(1)));
    contact_refused(contact, refusal(true), false, asked[i], SECONDS(1));
    int64_t pause = contact_deadline(contact) - SECONDS(1);
    EXPECT(pause >= least[i] && pause < least[i] + SECONDS(0.05));
    contact_free(contact);
  }
}

// All that a full router has put off for a second at the same instant.
static void comes_back_spread_when_put_off(void) {
  enum { CLIENTS = 1000 };
  int early = 0;
  for (uint64_t i = 0; i < CLIENTS; i++) {
    struct contact *contact = contact_make(i * UINT64_C(0x9e3779b97f4a7c15) + 1);
    EXPECT(contact_due(contact, 0));
    contact_refused(contact, refusal(true), false, SECONDS(1), 0);
    int64_t due = contact_deadline(contact);
    EXPECT(due >= SECONDS(1) && due < SECONDS(1.05));
    early += due < SECONDS(1.025);
    contact_free(contact);
  }
  EXPECT(early > CLIENTS * 4 / 10 && early < CLIENTS * 6 / 10);
}

static void keeps_new_calls_of_one_that_drains(void) {
  struct contact *contact = opened();
  EXPECT(call_at(contact, 1, 0, 0, 0));
  contact_drained(contact);
  EXPECT(!call_at(contact, 2, 0, SIZE, 0));
  EXPECT_EQUAL(0, next(contact, SIZE, 0, NULL));
  EXPECT(cancel(contact, 1));
  contact_lost(contact, SIZE, "gone", 0);
  EXPECT_EQUAL(1, contact_waiting(contact));
  open_at(contact, SECONDS(1));
  EXPECT_EQUAL(2, next(contact, 0, SECONDS(1), NULL));
  contact_free(contact);
}

static void moves_calls_that_are_given_back(void) {
  struct contact *contact = opened();
  for (uint64_t i = 1; i <= 4; i++) EXPECT(call_at(contact, i, 0, i * SIZE, 0));
  cancel(contact, 4);
  contact_drained(contact);
  EXPECT(!call_at(contact, 5, 0, 0, 0));
  EXPECT(!end(contact, 3, refusal(true)));
  EXPECT(!end(contact, 2, refusal(true)));
  EXPECT(end(contact, 4, refusal(true)));
  EXPECT(end(contact, 1, NULL));
  EXPECT(end(contact, 1, refusal(true)));  // a second end is not this side's to judge
  expect_no_answer(contact);
  contact_lost(contact, 5 * SIZE, "gone", SECONDS(1));
  open_at(contact, SECONDS(2));
  EXPECT_EQUAL(2, next(contact, 0, SECONDS(2), NULL));
  EXPECT_EQUAL(3, next(contact, 0, SECONDS(2), NULL));
  EXPECT_EQUAL(5, next(contact, 0, SECONDS(2), NULL));
  EXPECT_EQUAL(0, next(contact, 0, SECONDS(2), NULL));
  contact_free(contact);
}

static void idempotent_call(struct contact *contact, uint64_t number, uint32_t flags) {
  struct message message = call_of(number, 0);
  message.function = 1;
  message.flags = flags;
  EXPECT(contact_call(contact, &message, (number - 1) * SIZE, 0));
  payload_unref(message.body);
}

static void runs_idempotent_calls_again(void) {
  struct contact *contact = opened();
  idempotent_call(contact, 1, 0);
  idempotent_call(contact, 2, CALL_STREAM);
  idempotent_call(contact, 3, 0);
  contact_lost(contact, 3 * SIZE, "gone", 0);
  EXPECT_EQUAL(2, contact_waiting(contact));
  for (int i = 1; i < 3; i++) {
    open_at(contact, SECONDS(3 * i));
    EXPECT_EQUAL(1, next(contact, 0, SECONDS(3 * i), NULL));
    EXPECT(i > 1 || next(contact, SIZE, SECONDS(3 * i), NULL) == 3);
    EXPECT(i > 1 || cancel(contact, 3));
    contact_lost(contact, 2 * SIZE, "gone", SECONDS(3 * i));
    struct message message;
    EXPECT_EQUAL(i == 1, contact_answer(contact, &message));
    if (i > 1) continue;
    expect_text(&message, "name", "Cancelled");
    expect_text(&message, "executed", "maybe");
    payload_unref(message.body);
  }
  EXPECT_EQUAL(0, contact_waiting(contact));
  contact_free(contact);
}

// ---- attempts ----

// 2,000 clients lose a router that stays away for ten seconds; with it comes back a tenth of them
// in any tenth of two seconds.
static void spreads_attempts(void) {
  enum { CLIENTS = 2000, SLOTS = 10 };
  int count[SLOTS] = {0};
  for (uint64_t i = 0; i < CLIENTS; i++) {
    struct contact *contact = contact_make((i + 1) * UINT64_C(0x9e3779b97f4a7c15));
    open_at(contact, 0);
    contact_lost(contact, 0, "gone", 0);
    while (contact_deadline(contact) < SECONDS(10)) fail_once(contact, 0);
    int64_t after = contact_deadline(contact) - SECONDS(10);
    EXPECT(after < SECONDS(2));
    count[after * SLOTS / SECONDS(2)]++;
    contact_free(contact);
  }
  // Those that wait at an instant have long pauses, so more of them end soon than late.
  for (int i = 0; i < SLOTS; i++) EXPECT(count[i] < 2 * CLIENTS / SLOTS + 50);
  EXPECT(count[SLOTS - 1] > 0);
}

static void backs_off(void) {
  int64_t first = 0, tenth = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    struct contact *contact = contact_make((i + 1) * UINT64_C(0x9e3779b97f4a7c15));
    int64_t before = fail_once(contact, 0), pause = 0;
    for (int k = 1; k <= 10; k++) {
      pause = contact_deadline(contact) - before;
      EXPECT(pause < SECONDS(2));
      if (k == 1) first += pause;
      before = fail_once(contact, before);
    }
    tenth += pause;
    contact_free(contact);
  }
  EXPECT(first / 1000 > SECONDS(0.02) && first / 1000 < SECONDS(0.03));
  EXPECT(tenth / 1000 > SECONDS(0.9) && tenth / 1000 < SECONDS(1.1));
}

static void gives_up_a_silent_router(void) {
  struct contact *contact = contact_make(5);
  EXPECT_EQUAL(0, contact_deadline(contact));
  EXPECT(contact_due(contact, 0));
  EXPECT(!contact_due(contact, 0));
  EXPECT_EQUAL(LIMIT_HANDSHAKE, contact_deadline(contact));
  EXPECT(!contact_is_late(contact, LIMIT_HANDSHAKE - 1));
  EXPECT(contact_is_late(contact, LIMIT_HANDSHAKE));
  contact_opened(contact, EPOCH);
  EXPECT(!contact_is_late(contact, LIMIT_HANDSHAKE));
  EXPECT_EQUAL(INT64_MAX, contact_deadline(contact));
  contact_free(contact);
}

static const struct check checks[] = {
    {"keeps calls until a router welcomes it", keeps_calls_until_welcome},
    {"R1: sends again what never left, in order, and nothing else", sends_again_what_never_left},
    {"keeps idempotency keys with the calls", keeps_keys},
    {"ends calls whose time is up, and says that they did not run", ends_calls_whose_time_is_up},
    {"cancels calls that wait", cancels_what_waits},
    {"ends calls of a router that refuses them", ends_calls_that_are_refused},
    {"waits as long as a router asks for", waits_while_it_is_put_off},
    {"believes no pause beyond its bounds", believes_no_pause_beyond_its_bounds},
    {"C10: comes back spread when a router puts many off", comes_back_spread_when_put_off},
    {"R3: keeps new calls while a router drains", keeps_new_calls_of_one_that_drains},
    {"R3: moves calls that a router gives back to its successor", moves_calls_that_are_given_back},
    {"runs calls of idempotent functions three times at most", runs_idempotent_calls_again},
    {"C10: spreads attempts over two seconds", spreads_attempts},
    {"C10: backs off", backs_off},
    {"gives up a router that does not answer", gives_up_a_silent_router},
};

CHECK_MAIN(checks)

// Checks of host/core/client.c.
#include "../../../host/core/client.h"

#include "../../../host/core/credit.h"
#include "../../../host/core/cursor.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "check.h"

enum { SESSION = 9 };

#define SECONDS(n) ((int64_t)(n)*NANOSECONDS_PER_SECOND)

static uint64_t call(struct client *client, int64_t timeout, struct message *message) {
  struct call_options options = {.timeout = timeout, .workload = 1, .tag = 7};
  struct message unwanted;
  uint64_t number;
  struct payload *body = payload_copy("\x90", 1);
  if (!message) message = &unwanted;
  EXPECT_EQUAL(CLIENT_OK, client_call(client, &options, body, 0, message, &number));
  if (message == &unwanted) payload_unref(message->body);
  return number;
}

static void answer(struct client *client, uint64_t number, enum message_type type) {
  struct message message = {.type = (uint8_t)type, .id = {SESSION, number}, .elapsed = 5};
  message.body = payload_copy("\x91\x05", 2);
  client_message(client, &message, 0);
}

static bool is_error(const struct completion *completion, const char *name, const char *executed) {
  struct cursor map = cursor_of(completion->body->parts[0].bytes, completion->body->size), value;
  const char *const expected[] = {name, executed};
  const char *const keys[] = {"name", "executed"};
  size_t size;
  if (completion->ok || !cursor_array(&map, &size)) return false;
  for (int i = 0; i < 2; i++) {
    const unsigned char *bytes;
    if (!cursor_find(map, keys[i], &value) || !cursor_str(&value, &bytes, &size)) return false;
    if (size != strlen(expected[i]) || memcmp(bytes, expected[i], size)) return false;
  }
  return true;
}

static bool has_epoch(const struct completion *completion, const char *expected) {
  struct cursor map = cursor_of(completion->body->parts[0].bytes, completion->body->size), value;
  const unsigned char *text;
  size_t size;
  if (!cursor_array(&map, &size) || !cursor_find(map, "epoch", &value)) return !expected;
  return expected && cursor_str(&value, &text, &size) && size == strlen(expected) &&
         !memcmp(text, expected, size);
}

static void makes_calls(void) {
  struct client *client = client_new(SESSION);
  struct message message;
  uint64_t number = call(client, SECONDS(2), &message);
  EXPECT_EQUAL(MESSAGE_CALL, message.type);
  EXPECT_EQUAL(SESSION, message.id.session);
  EXPECT_EQUAL(number, message.id.counter);
  EXPECT_EQUAL(1, message.attempt);
  EXPECT_EQUAL(SECONDS(2), message.remaining);
  EXPECT(!(message.flags & CALL_DEFAULT_DEADLINE));
  payload_unref(message.body);
  call(client, 0, &message);
  EXPECT(message.flags & CALL_DEFAULT_DEADLINE);
  payload_unref(message.body);
  EXPECT_EQUAL(2, client_pending(client));
  client_free(client);
}

static void numbers(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint64_t first = call(client, SECONDS(2), NULL), second = call(client, SECONDS(2), NULL);
  EXPECT(first && second && first != second);
  answer(client, first, MESSAGE_RESULT);
  EXPECT(client_take(client, first, &completion));
  payload_unref(completion.body);
  uint64_t third = call(client, SECONDS(2), NULL);
  EXPECT(third != first && third != second && third < UINT64_C(1) << 53);
  answer(client, first, MESSAGE_RESULT);
  EXPECT_EQUAL(2, client_pending(client));
  client_free(client);
}

static void ends_once(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint64_t number = call(client, SECONDS(2), NULL);
  EXPECT(!client_take(client, number, &completion));
  answer(client, number, MESSAGE_RESULT);
  answer(client, number, MESSAGE_ERROR);
  EXPECT_EQUAL(0, client_pending(client));
  EXPECT_EQUAL(1, client_done(client));
  EXPECT(client_take(client, number, &completion));
  EXPECT(completion.ok && completion.tag == 7 && completion.elapsed == 5);
  EXPECT_EQUAL(number, completion.call);
  payload_unref(completion.body);
  EXPECT(!client_take(client, number, &completion));
  answer(client, number, MESSAGE_RESULT);
  EXPECT_EQUAL(0, client_done(client));
  client_free(client);
}

static void in_order(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint64_t calls[3];
  for (int i = 0; i < 3; i++) calls[i] = call(client, SECONDS(2), NULL);
  for (int i = 2; i >= 0; i--) answer(client, calls[i], i == 1 ? MESSAGE_ERROR : MESSAGE_RESULT);
  for (int i = 2; i >= 0; i--) {
    EXPECT(client_next(client, &completion));
    EXPECT_EQUAL(calls[i], completion.call);
    EXPECT_EQUAL(i != 1, completion.ok);
    payload_unref(completion.body);
  }
  EXPECT(!client_next(client, &completion));
  client_free(client);
}

static void strangers(void) {
  struct client *client = client_new(SESSION);
  uint64_t number = call(client, SECONDS(2), NULL);
  answer(client, number + 1, MESSAGE_RESULT);
  answer(client, 0, MESSAGE_RESULT);
  answer(client, UINT64_MAX, MESSAGE_RESULT);
  answer(client, number, MESSAGE_READY);
  EXPECT_EQUAL(1, client_pending(client));
  client_free(client);
}

static void cancels(void) {
  struct client *client = client_new(SESSION);
  struct message message;
  uint64_t number = call(client, SECONDS(2), NULL);
  EXPECT(client_cancel(client, number, &message));
  EXPECT_EQUAL(MESSAGE_CANCEL, message.type);
  EXPECT_EQUAL(number, message.id.counter);
  EXPECT_EQUAL(CANCEL_CLIENT, message.reason);
  EXPECT_EQUAL(1, client_pending(client));
  answer(client, number, MESSAGE_ERROR);
  EXPECT(!client_cancel(client, number, &message));
  EXPECT(!client_cancel(client, number + 1, &message));
  client_free(client);
}

static void backstop(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint64_t number = call(client, SECONDS(2), NULL);
  EXPECT_EQUAL(SECONDS(3), client_deadline(client));
  client_tick(client, SECONDS(3) - 1);
  EXPECT_EQUAL(1, client_pending(client));
  client_tick(client, SECONDS(3));
  EXPECT(client_take(client, number, &completion));
  EXPECT(is_error(&completion, "DeadlineExceeded", "maybe"));
  payload_unref(completion.body);
  EXPECT_EQUAL(INT64_MAX, client_deadline(client));
  client_free(client);
}

static void loses_router(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint64_t ended = call(client, SECONDS(2), NULL);
  call(client, 0, NULL);
  call(client, SECONDS(2), NULL);
  answer(client, ended, MESSAGE_RESULT);
  client_lost(client, 0);
  EXPECT_EQUAL(0, client_pending(client));
  EXPECT(client_next(client, &completion) && completion.ok);
  payload_unref(completion.body);
  for (int i = 0; i < 2; i++) {
    EXPECT(client_next(client, &completion));
    EXPECT(is_error(&completion, "RouterLost", "maybe"));
    EXPECT(has_epoch(&completion, NULL));
    payload_unref(completion.body);
  }
  client_free(client);
}

static uint64_t call_in(struct client *client, uint32_t deployment) {
  struct call_options options = {.timeout = SECONDS(2), .deployment = deployment};
  struct message message;
  uint64_t number;
  EXPECT_EQUAL(CLIENT_OK,
               client_call(client, &options, payload_copy("\x90", 1), 0, &message, &number));
  payload_unref(message.body);
  return number;
}

static void loses_one_of_its_routers(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint64_t other = call_in(client, 0), lost = call_in(client, 1), spared = call_in(client, 1);
  uint32_t deployment;
  EXPECT(client_deployment(client, spared, &deployment) && deployment == 1);
  client_spare(client, spared);
  client_lost_deployment(client, 1, UINT64_C(0xfedcba9876543210), 0);
  EXPECT_EQUAL(2, client_pending(client));
  EXPECT(client_next(client, &completion) && completion.call == lost);
  EXPECT(is_error(&completion, "RouterLost", "maybe"));
  EXPECT(has_epoch(&completion, "fedcba9876543210"));
  payload_unref(completion.body);
  EXPECT(!client_deployment(client, lost, &deployment));
  client_lost_deployment(client, 1, 5, 0);  // it was spared once
  EXPECT(client_next(client, &completion) && completion.call == spared);
  EXPECT(has_epoch(&completion, "0000000000000005"));
  payload_unref(completion.body);
  answer(client, other, MESSAGE_RESULT);
  EXPECT(client_next(client, &completion) && completion.ok);
  payload_unref(completion.body);
  client_free(client);
}

static void limit(void) {
  struct client *client = client_new(SESSION);
  struct call_options options = {.timeout = 1};
  struct message message;
  struct completion completion;
  uint64_t number = 0, refused;
  for (int i = 0; i < LIMIT_IN_FLIGHT; i++) number = call(client, SECONDS(2), NULL);
  EXPECT_EQUAL(CLIENT_BUSY,
               client_call(client, &options, payload_copy("\x90", 1), 0, &message, &refused));
  EXPECT_EQUAL(LIMIT_IN_FLIGHT, client_pending(client));
  answer(client, number, MESSAGE_RESULT);
  call(client, SECONDS(2), NULL);
  EXPECT(client_next(client, &completion));
  payload_unref(completion.body);
  client_free(client);
}

static void frees_all(void) {
  struct client *client = client_new(SESSION);
  answer(client, call(client, SECONDS(2), NULL), MESSAGE_RESULT);
  call(client, SECONDS(2), NULL);
  client_free(client);
  client_free(NULL);
}

// ---- streams ----

enum { ITEM = 1000 };

static uint64_t stream(struct client *client, uint32_t window) {
  struct call_options options = {
      .timeout = SECONDS(2), .flags = CALL_STREAM | CALL_PROGRESS, .window = window, .tag = 7};
  struct message message;
  uint64_t number;
  EXPECT_EQUAL(CLIENT_OK, client_call(client, &options, NULL, 0, &message, &number));
  EXPECT_EQUAL(window, message.credit);
  return number;
}

static void get_item(struct client *client, uint64_t number, unsigned char first) {
  struct message message = {.type = MESSAGE_ITEM, .id = {SESSION, number}};
  message.body = payload_new(ITEM);
  memset(message.body->bytes, first, ITEM);
  client_message(client, &message, 0);
}

static void get_progress(struct client *client, uint64_t number, double n) {
  struct message message = {.type = MESSAGE_PROGRESS, .id = {SESSION, number}, .n = n};
  client_message(client, &message, 0);
}

// The first byte of the next item, or -1. `credit` becomes what is given back.
static int take_item(struct client *client, uint64_t number, uint32_t *credit) {
  struct payload *body;
  struct message message;
  uint64_t tag;
  *credit = 0;
  if (!client_item(client, number, &body, &tag, &message)) return -1;
  int first = body->bytes[0];
  EXPECT_EQUAL(7, tag);
  payload_unref(body);
  if (message.type) {
    EXPECT_EQUAL(MESSAGE_CREDIT, message.type);
    EXPECT_EQUAL(number, message.id.counter);
    *credit = message.credit;
  }
  return first;
}

static void items(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  uint32_t credit;
  uint64_t number = stream(client, 100 * 1000);
  for (unsigned char i = 0; i < 40; i++) get_item(client, number, i);
  answer(client, number, MESSAGE_RESULT);
  EXPECT_EQUAL(0, client_pending(client));
  for (int i = 0; i < 40; i++) {
    EXPECT(!client_ended(client, number) && !client_take(client, number, &completion));
    EXPECT_EQUAL(i, take_item(client, number, &credit));
  }
  EXPECT_EQUAL(-1, take_item(client, number, &credit));
  EXPECT(client_ended(client, number));
  get_item(client, number, 40);
  EXPECT_EQUAL(-1, take_item(client, number, &credit));
  EXPECT(client_take(client, number, &completion) && completion.ok);
  payload_unref(completion.body);
  client_free(client);
}

static void gives_credit(void) {
  struct client *client = client_new(SESSION);
  uint32_t credit, window = (uint32_t)(10 * credit_cost(ITEM));
  uint64_t number = stream(client, window), given = 0;
  for (int i = 0; i < 100; i++) {
    get_item(client, number, 1);
    EXPECT_EQUAL(1, take_item(client, number, &credit));
    EXPECT_EQUAL(i % 5 == 4 ? window / 2 : 0, credit);
    given += credit;
  }
  EXPECT_EQUAL(100 * credit_cost(ITEM), given);
  // One item that is larger than the window comes back at once.
  number = stream(client, 1);
  get_item(client, number, 1);
  EXPECT_EQUAL(1, take_item(client, number, &credit));
  EXPECT_EQUAL(credit_cost(ITEM), credit);
  client_free(client);
}

static void news(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  struct news got;
  uint32_t credit;
  uint64_t number = stream(client, 0);
  get_item(client, number, 1);
  EXPECT(client_news(client, &got) && got.has_item && !got.has_progress);
  get_item(client, number, 1);
  EXPECT(!client_news(client, &got));  // nobody has asked for it
  EXPECT_EQUAL(1, take_item(client, number, &credit));
  EXPECT_EQUAL(1, take_item(client, number, &credit));
  EXPECT_EQUAL(-1, take_item(client, number, &credit));
  get_item(client, number, 2);
  get_item(client, number, 3);
  get_progress(client, number, 1);
  get_progress(client, number, 2);
  EXPECT_EQUAL(1, client_told(client));
  EXPECT(client_news(client, &got) && got.call == number && got.tag == 7);
  EXPECT(got.has_item && got.has_progress && got.n == 2);
  EXPECT(!client_news(client, &got));
  EXPECT_EQUAL(2, take_item(client, number, &credit));
  EXPECT_EQUAL(3, take_item(client, number, &credit));
  get_progress(client, number, 3);
  answer(client, number, MESSAGE_ERROR);
  EXPECT(!client_next(client, &completion));  // the progress comes first
  EXPECT(client_news(client, &got) && got.has_progress && !got.has_item && got.n == 3);
  EXPECT(client_next(client, &completion) && !completion.ok);
  payload_unref(completion.body);
  client_free(client);
}

static void drops_items(void) {
  struct client *client = client_new(SESSION);
  struct completion completion;
  struct message message;
  struct news got;
  uint32_t credit;
  uint64_t number = stream(client, 0), ended = stream(client, 0), plain = call(client, 0, NULL);
  EXPECT_EQUAL(-1, take_item(client, number, &credit));
  get_item(client, number, 1);
  get_progress(client, number, 1);
  EXPECT(client_cancel(client, number, &message));
  get_item(client, number, 1);
  get_progress(client, number, 1);
  EXPECT(!client_news(client, &got));
  EXPECT_EQUAL(-1, take_item(client, number, &credit));
  answer(client, number, MESSAGE_ERROR);
  EXPECT(client_take(client, number, &completion));
  payload_unref(completion.body);
  get_item(client, ended, 1);
  answer(client, ended, MESSAGE_RESULT);
  EXPECT(!client_cancel(client, ended, &message));
  EXPECT(client_take(client, ended, &completion));
  payload_unref(completion.body);
  get_item(client, plain, 1);  // which is no stream
  EXPECT_EQUAL(-1, take_item(client, plain, &credit));
  client_free(client);
}

static void frees_items(void) {
  struct client *client = client_new(SESSION);
  uint64_t number = stream(client, 0);
  for (int i = 0; i < 100; i++) get_item(client, number, 1);
  client_lost(client, 0);
  client_free(client);
}

static const struct check checks[] = {
    {"makes calls with an id, an attempt and the time they have", makes_calls},
    {"gives no number twice, also where it uses a place again", numbers},
    {"ends a call once", ends_once},
    {"hands out what has ended in the order in which it ended", in_order},
    {"drops what belongs to no call", strangers},
    {"cancels a call that has not ended", cancels},
    {"ends a call itself when the router is silent for a second after the deadline", backstop},
    {"ends all calls in RouterLost when the connection is gone", loses_router},
    {"loses the calls of one router, but those that were not sent", loses_one_of_its_routers},
    {"refuses the call that is one too many", limit},
    {"frees what was not taken", frees_all},
    {"keeps the items of a stream in order, and ends it when they were taken", items},
    {"gives credit back in portions of half a window", gives_credit},
    {"has news for who waits for an item, and the latest progress before the end", news},
    {"drops the items of a stream that is cancelled", drops_items},
    {"frees items that were not taken", frees_items},
};
CHECK_MAIN(checks)

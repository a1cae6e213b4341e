// Checks of host/core/gate.c.
#include "../../../host/core/gate.h"

#include <string.h>

#include "../../../host/core/error.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "check.h"

enum { MiB = 1024 * 1024 };

static const int64_t kSecond = NANOSECONDS_PER_SECOND;

// A gate, and what it said last.
struct post {
  struct gate gate;
  struct hello hello;
  const char *why;
};

static struct post post_open(void) {
  struct post post = {0};
  gate_open(&post.gate, kSecond);
  return post;
}

static struct payload *hello_body(const char *key, const char *text) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 1);
  pack_text(&body, key);
  pack_text(&body, text);
  struct payload *payload = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return payload;
}

static enum gate_verdict judge(struct post *post, enum message_type type, enum role role,
                               struct payload *body) {
  struct message message = {.type = (uint8_t)type, .role = (uint8_t)role, .body = body};
  enum gate_verdict verdict =
      gate_message(&post->gate, &message, &post->hello, &post->why, kSecond);
  payload_unref(body);
  return verdict;
}

static void lets_each_role_say_what_is_its_own(void) {
  for (int type = MESSAGE_HELLO; type < MESSAGE_TYPES; type++) {
    struct post client = post_open(), operator_post = post_open(), nobody = post_open();
    gate_welcome(&client.gate, ROLE_CLIENT);
    gate_welcome(&operator_post.gate, ROLE_OPERATOR);
    enum gate_verdict of_client = GATE_REFUSE, of_operator = GATE_REFUSE;
    if (type == MESSAGE_CALL || type == MESSAGE_CANCEL || type == MESSAGE_CREDIT)
      of_client = GATE_PASS;
    if (type == MESSAGE_REQUEST) of_operator = GATE_ANSWER;
    if (type == MESSAGE_PONG) of_client = of_operator = GATE_IGNORE;
    EXPECT_EQUAL(of_client, judge(&client, (enum message_type)type, ROLE_CLIENT, NULL));
    EXPECT_EQUAL(of_operator, judge(&operator_post, (enum message_type)type, ROLE_CLIENT, NULL));
    if (of_client == GATE_REFUSE) EXPECT(client.why && client.gate.state == GATE_CLOSED);
    EXPECT_EQUAL(GATE_REFUSE, judge(&nobody, (enum message_type)type, ROLE_CLIENT, NULL));
    EXPECT_EQUAL(GATE_REFUSE, judge(&nobody, MESSAGE_CALL, ROLE_CLIENT, NULL));
  }
}

static void lets_nothing_pass_after_a_refusal(void) {
  struct post post = post_open();
  judge(&post, MESSAGE_CALL, ROLE_CLIENT, NULL);
  for (int type = MESSAGE_HELLO; type < MESSAGE_TYPES; type++) {
    EXPECT_EQUAL(GATE_REFUSE, judge(&post, (enum message_type)type, ROLE_CLIENT, NULL));
    EXPECT(post.why && post.gate.state == GATE_CLOSED);
  }
}

static void greets_clients_and_operators_alone(void) {
  for (int role = ROLE_CLIENT; role <= ROLE_ROUTER; role++) {
    struct post post = post_open();
    bool welcome = role == ROLE_CLIENT || role == ROLE_OPERATOR;
    EXPECT_EQUAL(welcome ? GATE_GREET : GATE_REFUSE,
                 judge(&post, MESSAGE_HELLO, (enum role)role, hello_body("name", "square")));
  }
  struct post post = post_open();
  judge(&post, MESSAGE_HELLO, ROLE_CLIENT, hello_body("name", "square"));
  EXPECT(!strcmp(post.hello.name, "square") && !strcmp(post.hello.tag, "default"));
  EXPECT(!*post.hello.hash);
}

static void refuses_names_that_do_not_fit(void) {
  char name[GATE_NAME + 2];
  memset(name, 'a', sizeof name);
  name[GATE_NAME + 1] = 0;
  struct post post = post_open();
  EXPECT_EQUAL(GATE_REFUSE, judge(&post, MESSAGE_HELLO, ROLE_CLIENT, hello_body("name", name)));
  EXPECT(strstr(post.why, "at most 128 bytes"));
  name[GATE_NAME] = 0;
  post = post_open();
  EXPECT_EQUAL(GATE_GREET, judge(&post, MESSAGE_HELLO, ROLE_CLIENT, hello_body("tag", name)));
  EXPECT(!strcmp(post.hello.tag, name));
}

static void gives_the_handshake_its_time(void) {
  struct post post = post_open();
  EXPECT(!gate_late(&post.gate, kSecond + LIMIT_HANDSHAKE - 1));
  EXPECT(gate_late(&post.gate, kSecond + LIMIT_HANDSHAKE));
  EXPECT_EQUAL(kSecond + LIMIT_HANDSHAKE, post.gate.due);
  gate_welcome(&post.gate, ROLE_CLIENT);
  EXPECT(!gate_late(&post.gate, INT64_MAX));
  EXPECT_EQUAL(INT64_MAX, post.gate.due);
}

static struct gate open_gate(void) {
  struct gate gate;
  gate_open(&gate, 0);
  gate_welcome(&gate, ROLE_CLIENT);
  return gate;
}

static void pauses_and_cuts_by_what_is_queued_behind_the_largest(void) {
  struct gate gate = open_gate();
  gate_sent(&gate, 60 * MiB, 1);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 60 * MiB, 1));
  gate_sent(&gate, 8 * MiB, 1);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 68 * MiB, 1));
  gate_sent(&gate, 1, 1);
  EXPECT_EQUAL(GATE_PAUSE, gate_flow(&gate, 68 * MiB + 1, 1));
  EXPECT_EQUAL(GATE_PAUSE, gate_flow(&gate, 64 * MiB + 1, 2));
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 64 * MiB, 3));
  gate_sent(&gate, 60 * MiB, 3);
  EXPECT_EQUAL(GATE_PAUSE, gate_flow(&gate, 124 * MiB, 3));
  gate_sent(&gate, 1, 3);
  EXPECT_EQUAL(GATE_CUT, gate_flow(&gate, 124 * MiB + 1, 3));
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 0, 4));
  gate_sent(&gate, 1, 4);
  gate_sent(&gate, 8 * MiB + 1, 4);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 8 * MiB + 2, 4));
}

static void cuts_who_takes_nothing_for_ten_seconds(void) {
  struct gate gate = open_gate();
  gate_sent(&gate, 100, kSecond);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 100, kSecond));
  EXPECT_EQUAL(kSecond + LIMIT_PROGRESS, gate.due);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 99, 5 * kSecond));
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 99, 5 * kSecond + LIMIT_PROGRESS - 1));
  EXPECT_EQUAL(GATE_CUT, gate_flow(&gate, 99, 5 * kSecond + LIMIT_PROGRESS));
  gate = open_gate();
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 0, 1000 * kSecond));
  EXPECT_EQUAL(INT64_MAX, gate.due);
  gate_sent(&gate, 5, 2000 * kSecond);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 5, 2000 * kSecond));
}

static uint32_t cancels_until_held(struct gate *gate, int64_t now, uint32_t most) {
  struct message cancel = {.type = MESSAGE_CANCEL};
  struct hello hello;
  const char *why;
  for (uint32_t count = 0; count < most; count++) {
    if (gate_is_held(gate, now)) return count;
    EXPECT_EQUAL(GATE_PASS, gate_message(gate, &cancel, &hello, &why, now));
  }
  return most;
}

static void holds_who_cancels_too_much(void) {
  struct gate gate = open_gate();
  // As many as may be in flight at once, then 200 a second.
  EXPECT_EQUAL(LIMIT_IN_FLIGHT + 1, cancels_until_held(&gate, kSecond, 5000));
  EXPECT_EQUAL(GATE_PAUSE, gate_flow(&gate, 0, kSecond));
  EXPECT_EQUAL(kSecond + kSecond / LIMIT_CANCELS, gate.due);
  EXPECT_EQUAL(GATE_READ, gate_flow(&gate, 0, kSecond + kSecond / LIMIT_CANCELS));
  EXPECT_EQUAL(LIMIT_CANCELS, cancels_until_held(&gate, 2 * kSecond, 5000));
  // At that rate nobody is held.
  gate = open_gate();
  for (int64_t i = 0; i < 5000; i++)
    EXPECT_EQUAL(1, cancels_until_held(&gate, i * kSecond / LIMIT_CANCELS, 1));
}

static void says_why_it_turns_away_while_the_handshake_lasts(void) {
  struct post post = post_open();
  gate_turn_away(&post.gate);
  gate_sent(&post.gate, 4 * MiB, 2 * kSecond);
  // Nothing more is read, and what was read already says nothing.
  EXPECT_EQUAL(GATE_PAUSE, gate_flow(&post.gate, 3 * MiB, 2 * kSecond));
  EXPECT_EQUAL(GATE_IGNORE, judge(&post, MESSAGE_HELLO, ROLE_CLIENT, hello_body("name", "a")));
  EXPECT_EQUAL(GATE_IGNORE, judge(&post, MESSAGE_PONG, 0, NULL));
  // However little it takes at a time.
  EXPECT_EQUAL(kSecond + LIMIT_HANDSHAKE, post.gate.due);
  EXPECT(!gate_late(&post.gate, kSecond + LIMIT_HANDSHAKE - 1));
  EXPECT(gate_late(&post.gate, kSecond + LIMIT_HANDSHAKE));
  EXPECT_EQUAL(GATE_END, gate_flow(&post.gate, 0, 3 * kSecond));
}

static void finds_the_nearest_word(void) {
  const char *const words[] = {"square", "cube", "shapes"};
  EXPECT_EQUAL(0, gate_nearest("sqare", words, 3));
  EXPECT_EQUAL(1, gate_nearest("cubes", words, 3));
  EXPECT_EQUAL(2, gate_nearest("shape", words, 3));
  EXPECT_EQUAL(3, gate_nearest("elephant", words, 3));
  EXPECT_EQUAL(0, gate_nearest("x", words, 0));
}

static const struct check checks[] = {
    {"lets nothing pass after a refusal", lets_nothing_pass_after_a_refusal},
    {"lets each role say what is its own", lets_each_role_say_what_is_its_own},
    {"greets clients and operators alone", greets_clients_and_operators_alone},
    {"refuses names that do not fit", refuses_names_that_do_not_fit},
    {"gives the handshake its time", gives_the_handshake_its_time},
    {"C3: pauses and cuts by what is queued behind the largest frame",
     pauses_and_cuts_by_what_is_queued_behind_the_largest},
    {"C3: cuts who takes nothing for ten seconds", cuts_who_takes_nothing_for_ten_seconds},
    {"C5: holds who cancels too much", holds_who_cancels_too_much},
    {"says why it turns away, while the handshake lasts",
     says_why_it_turns_away_while_the_handshake_lasts},
    {"finds the nearest word", finds_the_nearest_word},
};

CHECK_MAIN(checks)

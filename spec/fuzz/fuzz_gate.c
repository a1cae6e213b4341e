// Fuzzes host/core/gate.c behind host/core/frame.c, as the served router reads a connection: any
// bytes, cut anywhere, with any pressure on what is sent.
//
// Nothing passes before a HELLO was greeted, and then only what the role may say; after a refusal
// nothing does. Who names no deployment is turned away here, and nothing that he says counts.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/frame.h"
#include "../../host/core/gate.h"
#include "../../host/core/limits.h"
#include "../../host/core/payload.h"

struct peer {
  struct gate gate;
  struct reader *reader;
  enum role role;  // 0: not let in
  bool closed, is_turned_away;
  int64_t now;
};

static void expect(bool condition) {
  if (!condition) abort();
}

static void greet(struct peer *peer, const struct hello *hello) {
  expect(!peer->role && (hello->role == ROLE_CLIENT || hello->role == ROLE_OPERATOR));
  expect(strlen(hello->name) <= GATE_NAME && strlen(hello->tag) <= GATE_NAME);
  expect(*hello->tag && strlen(hello->hash) <= GATE_HASH);
  if (!*hello->name) {
    peer->is_turned_away = true;
    gate_turn_away(&peer->gate);
    return;
  }
  peer->role = hello->role;
  gate_welcome(&peer->gate, hello->role);
}

static void judge(struct peer *peer, const struct message *message) {
  struct hello hello;
  const char *why;
  enum message_type type = (enum message_type)message->type;
  switch (gate_message(&peer->gate, message, &hello, &why, peer->now)) {
    case GATE_GREET:
      expect(type == MESSAGE_HELLO && !peer->closed);
      greet(peer, &hello);
      break;
    case GATE_PASS:
      expect(peer->role == ROLE_CLIENT && !peer->closed);
      expect(type == MESSAGE_CALL || type == MESSAGE_CANCEL || type == MESSAGE_CREDIT);
      break;
    case GATE_ANSWER:
      expect(peer->role == ROLE_OPERATOR && type == MESSAGE_REQUEST && !peer->closed);
      break;
    case GATE_IGNORE:
      expect(peer->is_turned_away || (peer->role && type == MESSAGE_PONG));
      break;
    case GATE_REFUSE:
      peer->closed = true;
      break;
  }
}

static void press(struct peer *peer, unsigned char amount) {
  size_t size = (size_t)amount * 65536;
  gate_sent(&peer->gate, size, peer->now);
  size_t queued = peer->gate.queued / (1 + amount % 3);
  enum gate_flow flow = gate_flow(&peer->gate, queued, peer->now);
  if (!queued) expect(flow != GATE_CUT);
  if (peer->is_turned_away) expect(flow != GATE_READ && peer->gate.due == LIMIT_HANDSHAKE);
  expect((flow == GATE_END) <= (peer->is_turned_away && !queued));
  if (queued > LIMIT_QUEUED_CUT + (size_t)UINT8_MAX * 65536) expect(flow == GATE_CUT);
  expect(!peer->closed || peer->gate.state == GATE_CLOSED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct peer peer = {.reader = reader_new(FRAME_PREFACE, LIMIT_FRAME)};
  gate_open(&peer.gate, 0);
  while (size > 1) {
    size_t part = data[0] % 64 + 1u, room;
    peer.now += (int64_t)data[0] * NANOSECONDS_PER_MILLISECOND;
    press(&peer, data[0]);
    data++, size--;
    if (part > size) part = size;
    unsigned char *space = reader_space(peer.reader, &room);
    if (part > room) part = room;
    memcpy(space, data, part);
    reader_received(peer.reader, part);
    data += part, size -= part;
    struct message message;
    while (reader_next(peer.reader, &message) == FRAME_OK) {
      judge(&peer, &message);
      payload_unref(message.body);
    }
  }
  reader_free(peer.reader);
  return 0;
}

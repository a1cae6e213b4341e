// What a router lets one connection of a client or an operator do: the handshake, what each role
// may send, and what happens to a peer that does not read.
//
//   HELLO --GREET--> CLIENT    CALL, CANCEL, CREDIT
//                    OPERATOR  REQUEST
//
// Pure: the owner of the socket tells what came, what was queued and what was written, and does
// what it is told to. There is no other way to a router than through here.
//
// HELLO has a map as its body. Unknown keys are passed over.
//
//   name, tag   of the deployment; without a name: the one whose socket this is. Without a tag:
//               "default"
//   hash        of the deployment's files as the client has them, hex; none: any version will do;
//               of others: see files.h
//   pid         of the client, for people
//
// The router's own HELLO (ROLE_ROUTER) has version and pid. WELCOME has name, tag, hash, manifest.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

enum { GATE_NAME = 128, GATE_HASH = 64 };  // bytes of these at most

enum gate_state { GATE_HELLO, GATE_CLIENT, GATE_OPERATOR, GATE_TURNED_AWAY, GATE_CLOSED };

struct gate {
  enum gate_state state;
  int64_t due;         // see gate_late; INT64_MAX: never
  size_t queued;       // bytes, as told last
  size_t largest;      // frame since nothing was queued
  int64_t written_at;  // when some of it was taken last
  bool paused;
  int64_t cancels_until;  // the instant at which all cancels so far would have come, evenly spread
};

/// The handshake begins.
void gate_open(struct gate *gate, int64_t now);

/// What a HELLO said. Texts end with a zero.
struct hello {
  enum role role;
  uint32_t limit;  // the largest frame the peer accepts
  uint64_t pid;    // 0: not said
  char name[GATE_NAME + 1], tag[GATE_NAME + 1];
  char hash[GATE_HASH + 1];  // "": none
};

enum gate_verdict {
  GATE_GREET,   // `*hello` is filled in: gate_welcome, or an error and the end
  GATE_PASS,    // a client's: for the router
  GATE_ANSWER,  // an operator's request
  GATE_IGNORE,
  GATE_REFUSE,  // an error, of which `*why` is the sentence, and the end
};

/// Judges what came. The body stays the caller's. Who cancels more than LIMIT_CANCELS calls a
/// second, beyond as many as he may have in flight, is not read from until that is so no more: see
/// gate_flow.
enum gate_verdict gate_message(struct gate *gate, const struct message *message,
                               struct hello *hello, const char **why, int64_t now);
/// Whether nothing more is to be read at once because of that.
bool gate_is_held(const struct gate *gate, int64_t now);
/// The peer is let in.
void gate_welcome(struct gate *gate, enum role role);
/// It is not, and is told why: it has what is left of the time for the handshake to read that, and
/// nothing that it says counts.
void gate_turn_away(struct gate *gate);

/// A frame of `size` bytes was queued.
void gate_sent(struct gate *gate, size_t size, int64_t now);

enum gate_flow {
  GATE_READ,
  GATE_PAUSE,  // it does not read what it is sent, or cancels too much: nothing is read from it
  GATE_CUT,    // SlowReader
  GATE_END,    // it was turned away, and has been told all
};

/// `queued` bytes were not written yet, after it was tried. More than LIMIT_QUEUED_PAUSE behind the
/// largest frame pause the peer until half of that is left. More than LIMIT_QUEUED_CUT, or none
/// written for LIMIT_PROGRESS, cut it.
enum gate_flow gate_flow(struct gate *gate, size_t queued, int64_t now);

/// Whether the handshake has taken too long. gate_flow, too, is to be asked when `due` has
/// come.
bool gate_late(const struct gate *gate, int64_t now);

/// Which one of `count` words is nearest to `word`, by how many letters differ; `count`: none is
/// near.
size_t gate_nearest(const char *word, const char *const *words, size_t count);

// What the peers say to each other, decoded. frame.h turns messages into bytes and back; an
// embedded router passes them as they are.
//
// clang-format off
//   connection = preface, then frames in both directions
//   preface    = "FARSIDE\n", u8 lowest version, u8 highest version, u16 big-endian flags (0)
//   frame      = u32 big-endian length of the rest | header | body
//   header     = one msgpack array, at most 4 KiB: [type, ...] as listed below; elements beyond
//                those are ignored
//   body       = msgpack array: arguments, results, an error map, ...; opaque, only the ends
//                decode it
//
// Both peers send the preface first and then HELLO; a version both speak is agreed on by taking the
// lower of the two highest ones, or the connection ends with one sentence that names both ranges.
// A router answers the HELLO of a client or an operator with WELCOME, or with an ERROR whose id is
// zero, and the end of the connection.
//
//   type       header after the type                        body
//   HELLO      role, features, limit of frames              [map]  see gate.h
//   WELCOME    epoch, features                              [map] or -  what the client connected
//                                                                  to: name, tag, hash, manifest
//   START      worker, generation, epoch                    [map]  what a worker needs to load the
//                                                                  deployment
//   READY      generation                                   [manifest, {[function index] = score}]
//   CALL       id, attempt, epoch, sequence, function,      [arguments...]
//              remaining ms, workload, priority, flags,
//              {rare} or nothing
//              rare: "queue" ms it may wait, "attempts" at most, "parent" id of the call that
//              made it, "window" bytes of items that may be out, see credit.h, "key" bin of
//              1..255 bytes, see router_key.h, "batch" calls of the same batch that follow this one
//   STARTED    id, attempt, sequence                        -
//   RESULT     id, attempt, epoch, sequence, elapsed us     [results...]
//   ERROR      id, attempt, epoch, sequence, elapsed us     [map]  an error, see error.h
//   CANCEL     id, attempt, sequence, reason                -
//   GIVE_BACK  id, attempt, epoch, sequence                 -      the function was not entered; to
//                                                                  a worker: what was handed ahead
//                                                                  up to it was taken back, what is
//                                                                  answered is to be sent
//   ITEM       id, attempt, epoch, sequence                 [values...]  of a call that streams
//   CREDIT     id, attempt, sequence, bytes                 -      its reader has consumed them
//   PROGRESS   id, attempt, epoch, sequence, n, total       -      total: nil if not known
//   LOG        -                                            [text, worker, deployment]  a line that
//                                                                  a worker wrote, to operators
//   PING PONG  sequence                                     -
//   SCORE      function, score                              -
//   DRAIN      milliseconds for it                          -
//   GOODBYE    exit code, phase                             [map] or -  why a worker ends by itself
//   RECYCLE    function, bytes                              -      the worker has so many resident
//                                                                  after a call, more than the
//                                                                  function's max_rss; said once
//   REQUEST    sequence                                     [name, {options}]  of an operator
//   REPLY      sequence                                     [true, value] or [false, an error map]
// clang-format on
//
// Function numbers, deployments and workers count from 0, attempts from 1. id is a bin of 16 bytes:
// session, counter, both big-endian. Workloads and scores are finite and not negative.
#pragma once

#include <stdint.h>

struct buffer;
struct cursor;
struct payload;

enum { PROTOCOL_VERSION_LOWEST = 1, PROTOCOL_VERSION = 1 };  // spoken by this side

enum message_type {
  MESSAGE_HELLO = 1,
  MESSAGE_WELCOME,
  MESSAGE_START,
  MESSAGE_READY,
  MESSAGE_CALL,
  MESSAGE_STARTED,
  MESSAGE_RESULT,
  MESSAGE_ERROR,
  MESSAGE_CANCEL,
  MESSAGE_GIVE_BACK,
  MESSAGE_ITEM,
  MESSAGE_CREDIT,
  MESSAGE_PROGRESS,
  MESSAGE_LOG = 15,  // 14 is not in use
  MESSAGE_PING,
  MESSAGE_PONG,
  MESSAGE_SCORE,
  MESSAGE_DRAIN,
  MESSAGE_GOODBYE,
  MESSAGE_RECYCLE,
  MESSAGE_REQUEST,
  MESSAGE_REPLY,
  MESSAGE_TYPES  // one past the last
};

enum role { ROLE_CLIENT = 1, ROLE_WORKER_DATA, ROLE_WORKER_CONTROL, ROLE_OPERATOR, ROLE_ROUTER };

enum call_flags {
  CALL_DEFAULT_DEADLINE = 1,  // no timeout was given: the clock starts when the deployment is ready
  CALL_IDEMPOTENT = 2,
  CALL_STREAM = 4,    // its items are awaited: before that nobody may send any
  CALL_PROGRESS = 8,  // somebody listens to its progress
  CALL_BATCH = 16,    // to a worker: one of a batch, which is whole when none of its calls follows
  CALL_AHEAD = 32,    // to a worker: it begins when all before it have ended, unless taken back
};

enum cancel_reason { CANCEL_CLIENT = 1, CANCEL_DEADLINE, CANCEL_SHUTDOWN };

enum phase {
  PHASE_NONE,
  PHASE_BUNDLE,
  PHASE_CONTEXT,
  PHASE_BENCHMARK,
  PHASE_CRASH_LOOP,
  PHASE_TAINTED,
  PHASE_NO_DEVICE,    // there is no GPU that it could use
  PHASE_UNSUPPORTED,  // there is, but the driver or the library does not fit it
  PHASE_GPU_FAULT,    // its GPU has failed it; another process can use it
  PHASE_GPU_LOST      // nobody can
};

struct call_id {
  uint64_t session;
  uint64_t counter;
};

/// One message. Only the fields listed for its type mean anything.
struct message {
  uint8_t type;  // enum message_type
  uint8_t role;  // HELLO: enum role
  uint8_t priority;
  uint8_t reason;  // CANCEL: enum cancel_reason; GOODBYE: enum phase
  uint32_t flags;  // CALL: enum call_flags; HELLO, WELCOME: feature bits
  struct call_id id;
  uint32_t attempt;   // counts from 1
  uint32_t function;  // index into the manifest
  uint64_t epoch;     // of the router; results of another one are fenced
  uint64_t sequence;  // of a dispatch to a worker, growing over the router's life; PING, PONG,
                      // REQUEST and REPLY: their own count
  int64_t remaining;  // CALL, DRAIN: nanoseconds left; whole milliseconds, rounded up, on the wire
  int64_t elapsed;  // RESULT, ERROR: nanoseconds in the function; whole microseconds, rounded down,
                    // on the wire
  double workload;  // CALL; SCORE: the score
  uint32_t credit;  // CALL: the window, 0: the default; CREDIT: bytes that were consumed
  union {
    struct {                  // CALL
      uint32_t attempts;      // how many there may be; 0: what the function allows
      int64_t queue_timeout;  // nanoseconds it may wait for a worker; 0: until its deadline
      struct call_id parent;  // of the call in which it was made; zero: none
      uint32_t batch;         // how many of the same batch follow
      uint32_t key_size;      // at most LIMIT_KEY
      const char *key;        // `key_size` bytes, none with 0. Not owned: they last as long as what
                              // the message was read from, a reader's buffer until it is filled
                              // again.
    };
    struct {
      uint32_t worker;      // START
      uint32_t generation;  // START, READY
      uint32_t limit;       // HELLO: the largest frame this side accepts
      int32_t code;         // GOODBYE: exit code
    };
    struct {
      double n, total;  // PROGRESS: not negative; total 0: not known
    };
    uint64_t resident;  // RECYCLE: bytes
  };
  struct payload *body;  // or NULL. A reader gives one reference to whoever gets the message.
};

enum body_rule { BODY_NONE, BODY_NEEDED, BODY_OPTIONAL };

/// Whether messages of `type` have a body.
enum body_rule message_body(enum message_type type);

/// "CALL" and so on.
const char *message_name(enum message_type type);

/// Appends the header of `message`.
void message_pack(const struct message *message, struct buffer *out);

enum message_result { MESSAGE_OK = 0, MESSAGE_BAD = -1 };

/// Reads a header that was scanned. On an error `header` stands at what is wrong, and `*field` is
/// its name.
int message_read(struct message *message, struct cursor *header, const char **field);

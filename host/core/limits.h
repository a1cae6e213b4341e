// The limits every part of Farside agrees on. Sizes in bytes, times in nanoseconds.
#pragma once

#include <stdint.h>

#define NANOSECONDS_PER_SECOND INT64_C(1000000000)
#define NANOSECONDS_PER_MILLISECOND INT64_C(1000000)

enum {
  LIMIT_UNAUTHENTICATED = 4 * 1024,       // a frame before the handshake is done
  LIMIT_HEADER = 4 * 1024,                // the header array of any frame
  LIMIT_HEADER_DEPTH = 32,                // nesting in a header
  LIMIT_DEPTH = 64,                       // nesting in a body
  LIMIT_FRAME = 64 * 1024 * 1024,         // length of a frame, without its own four bytes
  LIMIT_ELEMENTS = 8 * 1000 * 1000,       // values in one body
  LIMIT_COST = 256 * 1024 * 1024,         // decoded size of one body in Lua, see scan.h
  LIMIT_IN_FLIGHT = 1024,                 // calls of one client that have not ended; see router.h
  LIMIT_QUEUE = 10000,                    // calls waiting in one deployment
  LIMIT_QUEUE_BYTES = 256 * 1024 * 1024,  // their payloads together
  LIMIT_FUNCTIONS = 1024,                 // in one deployment
  LIMIT_WORKERS = 1024,                   // in one deployment
  LIMIT_CONCURRENCY = 1024,               // of one function
  LIMIT_ATTEMPTS = 3,                     // of an idempotent call; deaths that make a call poison
  LIMIT_TRIALS = 11,                      // attempts that an error lists
  LIMIT_SUSPECTS = 256,                   // arguments under which workers died, of one deployment
  LIMIT_BATCH = 1024,                     // calls in the batches of one function on one worker
  LIMIT_ERROR_MESSAGE = 1024,
  LIMIT_ERROR_DATA = 64 * 1024,
  LIMIT_ERROR_TRACEBACK = 16 * 1024,
  LIMIT_ERROR_CAUSES = 8,
  LIMIT_KEY = 255,                      // bytes of an idempotency key
  LIMIT_KEYS = 65536,                   // of one deployment: in flight or with a kept outcome
  LIMIT_KEPT_BYTES = 64 * 1024 * 1024,  // the kept outcomes of one deployment together
  LIMIT_WINDOW = 64 * 1024 * 1024,  // of a stream: bytes of items that its reader has not consumed
  LIMIT_WINDOW_DEFAULT = 256 * 1024,
  LIMIT_ITEM_COST = 320,      // what an item counts beside its bytes: the memory that it takes
  LIMIT_CONNECTIONS = 10000,  // to a router
  LIMIT_HANDSHAKES = 256,     // of them: not let in yet
  LIMIT_WHYS = 10000,         // decisions that a served router keeps, see router_why.h
  LIMIT_CANCELS = 200,        // of a connection, a second; see gate.h
  LIMIT_QUEUED_PAUSE = 8 * 1024 * 1024,  // to a peer, behind its largest frame; gate.h
  LIMIT_QUEUED_CUT = 64 * 1024 * 1024,
  LIMIT_FILES = 4 * 1024 * 1024,  // of the files of a deployment, as a router tells them; files.h
  LIMIT_BAD_ANSWERS = 10,         // answers of a worker nobody asked for, then it is ejected
};

#define LIMIT_PROGRESS (10 * NANOSECONDS_PER_SECOND)  // of a peer that is written to
#define LIMIT_HANDSHAKE (5 * NANOSECONDS_PER_SECOND)
#define LIMIT_DEADLINE_DEFAULT (300 * NANOSECONDS_PER_SECOND)
#define LIMIT_DEADLINE (24 * 3600 * NANOSECONDS_PER_SECOND)
#define LIMIT_READY (720 * NANOSECONDS_PER_SECOND)
#define LIMIT_START (600 * NANOSECONDS_PER_SECOND)
#define LIMIT_BENCHMARK (120 * NANOSECONDS_PER_SECOND)
#define LIMIT_FULL (30 * NANOSECONDS_PER_SECOND)  // predicted wait at which a worker is full
#define LIMIT_GRACE (2 * NANOSECONDS_PER_SECOND)
#define LIMIT_CONTEXT_EXIT (10 * NANOSECONDS_PER_SECOND)
#define LIMIT_RESULT_TTL (60 * NANOSECONDS_PER_SECOND)  // how long an outcome is kept for its key
#define LIMIT_DRAIN (30 * NANOSECONDS_PER_SECOND)

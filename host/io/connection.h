// A client's connection to a served router, on the session's loop: connects, says HELLO, carries
// calls and what becomes of them, and connects again when it was lost. What is decided about that
// is decided in core/contact.h.
//
// Everything with the loop's baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/contact.h"

struct connection;
struct loop;

struct connection_events {
  /// RESULT, ERROR, ITEM or PROGRESS of a call; takes over the body.
  void (*message)(void *owner, struct message *message, int64_t now);
  /// Calls that were sent have lost their router, all but those that connection_waiting names.
  void (*lost)(void *owner, struct connection *connection, int64_t now);
  void *owner;
};

struct connection_options {
  const char *path;             // of the router's socket
  struct payload *hello;        // the body of HELLO; one reference is taken
  const struct payload *files;  // of this side, [{[path] = their hash}], or NULL; copied
  const char *manifest;         // what this side's script declares
  size_t manifest_size;
  const struct contact_function *functions;
  uint32_t function_count;
  uint64_t seed;
};

/// Copies the options. Nothing is tried yet.
struct connection *connection_new(struct loop *loop, const struct connection_options *options,
                                  const struct connection_events *events);

/// Makes the first attempt, at once. Negative errno with a sentence in `why` if nobody is there.
int connection_begin(struct connection *connection, int64_t now, char *why, size_t size);

enum connection_state {
  CONNECTION_TRYING,   // nothing is known yet of this attempt
  CONNECTION_OPEN,     // the router serves this client
  CONNECTION_REFUSED,  // the router does not take it, see connection_refusal
  CONNECTION_LOST,     // there is none; it is tried again
};
enum connection_state connection_state(const struct connection *connection);
/// Why the last attempt or connection ended: the body of the router's ERROR, not owned, or NULL;
/// and one sentence.
const struct payload *connection_refusal(const struct connection *connection);
const char *connection_why(const struct connection *connection);
const char *connection_path(const struct connection *connection);
/// As contact_epoch.
uint64_t connection_epoch(const struct connection *connection);

/// CALL, CANCEL or CREDIT; takes over the body.
void connection_send(struct connection *connection, struct message *message, int64_t now);
/// Writes what was sent since the last flush; _push: if no answer was due, or the last was a while
/// ago.
void connection_flush(struct connection *connection);
void connection_push(struct connection *connection, int64_t now);
/// Reads what is there, if an answer is due.
void connection_poll(struct connection *connection);

/// Returns the next instant it wants to be called at.
int64_t connection_turn(struct connection *connection, int64_t now);

/// Calls for each call that waits for a connection.
void connection_waiting(const struct connection *connection,
                        void (*each)(void *owner, uint64_t call), void *owner);
/// How many calls wait for a connection, and how many are with the router.
void connection_count(const struct connection *connection, size_t *waiting, size_t *out);
bool connection_is_draining(const struct connection *connection);

/// Writes what the socket takes, then closes it, without events; then the loop has to turn before
/// it is freed.
void connection_close(struct connection *connection);
void connection_free(struct connection *connection);

// A client's contact with a served router: whether there is a connection, when the next one is
// tried, which calls wait for it, and what becomes of those that are out when one is lost.
//
//   closed --due--> connecting --WELCOME--> open --DRAIN--> draining
//     ^                 |                     |                |
//     +-----------------+---------------------+----------------+   lost, or refused
//
// Pure. The shell connects, carries messages, and tells how many bytes of what it sent the kernel
// has taken. Each call is kept until it has ended. When a connection is lost, a call of which the
// kernel took not one byte has provably not run and waits for the next connection; so does one of
// an idempotent function, which may run again, LIMIT_ATTEMPTS times in all. The others are the
// client core's to end, see client_lost_deployment. A call that a router gives back because it
// drains waits for its successor.
//
// After a loss the pause before an attempt is drawn from 0 to a bound that doubles with each failed
// one, from 50 ms to 2 s ("full jitter" in M. Brooker, "Exponential Backoff And Jitter", 2015): so
// the clients of a router that was away for some seconds come back spread over 2 s. What is sent
// again then has no budget, unlike the retries of a router (router_retry.c): the router that had
// those calls is gone or has cancelled them, so they come in place of themselves, and they are no
// more than a client may have in flight.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct contact;

enum contact_state { CONTACT_CLOSED, CONTACT_CONNECTING, CONTACT_OPEN, CONTACT_DRAINING };

struct contact_function {
  int64_t patience;  // nanoseconds that a call without a timeout waits for a connection; 0: default
  bool is_idempotent;
};

/// `address` is for people. Both are copied. Ends the process when memory runs out.
struct contact *contact_new(const char *address, const struct contact_function *functions,
                            uint32_t function_count, uint64_t seed);
/// Frees it and the calls it keeps. NULL is allowed.
void contact_free(struct contact *contact);

enum contact_state contact_state(const struct contact *contact);

/// Whether an attempt is due; then it has begun: the shell connects, says HELLO and tells one of
/// the following.
bool contact_due(struct contact *contact, int64_t now);
/// WELCOME has come, of a router with this epoch: contact_next has the calls that waited.
void contact_opened(struct contact *contact, uint64_t epoch);
/// The epoch of the router that there was last; 0: none yet.
uint64_t contact_epoch(const struct contact *contact);
/// DRAIN has come: new calls wait for the next connection, those that are out go on here.
void contact_drained(struct contact *contact);
/// The router does not take this client. `error` is the body of its ERROR, one reference. If it is
/// final (no later attempt will go better by itself), calls that wait and those to come end in it,
/// until a router welcomes the client; else they wait on. `pause`: nanoseconds the router asked
/// for, LIMIT_DEADLINE at most, before the one that is drawn begins.
void contact_refused(struct contact *contact, struct payload *error, bool is_final, int64_t pause,
                     int64_t now);
/// The connection has ended, or none could be made, for the reason `why`. `written` bytes of what
/// was sent on it were taken by the kernel.
void contact_lost(struct contact *contact, uint64_t written, const char *why, int64_t now);

/// A CALL of the client, numbered by client.h. True: it goes out now, from the byte `at` of this
/// connection on, and the body's reference stays the caller's. False: it was taken over and waits,
/// or is answered.
bool contact_call(struct contact *contact, const struct message *message, uint64_t at, int64_t now);
/// A CANCEL or CREDIT. False: not to be sent; a call that it cancels and that waits is answered.
bool contact_control(struct contact *contact, const struct message *message);
/// RESULT or ERROR of a call that is out. False: nothing to be told to the client, it waits again.
bool contact_ended(struct contact *contact, const struct message *message, int64_t now);

/// While it is open: the next call that waited, to be sent as by contact_call. False: none.
bool contact_next(struct contact *contact, uint64_t at, struct message *message, int64_t now);
/// An ERROR for the client core, of a call that has waited in vain. False: none.
bool contact_answer(struct contact *contact, struct message *message);

/// Calls for each call that waits, the oldest first.
void contact_each(const struct contact *contact, void (*each)(void *owner, uint64_t call),
                  void *owner);
/// Calls that wait, and those that are out.
size_t contact_waiting(const struct contact *contact);
size_t contact_out(const struct contact *contact);

/// What the clock brings: calls whose time is up. It has something to do at contact_deadline at the
/// latest (INT64_MAX: never), which is also when the next attempt is due and when a handshake has
/// taken too long (CONTACT_CONNECTING; the shell then closes the connection and tells
/// contact_lost).
void contact_tick(struct contact *contact, int64_t now);
int64_t contact_deadline(const struct contact *contact);
bool contact_is_late(const struct contact *contact, int64_t now);

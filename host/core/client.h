// The client's side of calls: gives them ids, remembers which have not ended, and ends each exactly
// once.
//
// Pure, like the router: the shell carries messages between the two (by function call when the
// router is embedded). The router answers every call at its deadline; should it fail to, the client
// ends the call itself one second later.
//
// The items of a stream are kept here until they are taken, at most the window and one item more;
// as they are, credit goes back. Such a call has ended for its maker when its items have been
// taken.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct client;
struct payload;

enum client_result {
  CLIENT_OK = 0,
  CLIENT_BUSY = -1,  // LIMIT_IN_FLIGHT or LIMIT_QUEUE calls have not ended: Overloaded
  CLIENT_MEMORY = -2,
};

/// How a call ended.
struct completion {
  uint64_t call;         // its number
  uint64_t tag;          // as given
  bool ok;               // `body` holds results; otherwise an error map
  struct payload *body;  // one reference
  int64_t elapsed;       // nanoseconds in the function, 0: not known
  uint64_t session;      // with `call` the id of the call
};

struct client *client_new(uint64_t session);
void client_free(struct client *client);

struct call_options {
  uint32_t deployment;
  uint32_t function;
  int64_t timeout;  // nanoseconds; 0: the default
  double workload;
  uint32_t flags;         // enum call_flags
  uint8_t priority;       // 0 is the least urgent
  int64_t queue_timeout;  // nanoseconds it may wait for a worker; 0: until its deadline
  uint32_t attempts;      // at most; 0: what the function allows
  uint32_t window;        // with CALL_STREAM, see credit.h; 0: the default
  struct call_id parent;  // the call it is made in; zero: none
  const char *key;        // idempotency key, `key_size` bytes that last until the message is sent
  uint32_t key_size;      // 0: none
  uint64_t tag;           // comes back in the completion
};

/// Begins a call: `*message` is what to send to the router; its body is `body`, whose reference
/// moves into it (also on error, where it is dropped).
/// `*call` is its number: never 0, below 2^53, its low 20 bits small and used again by later calls.
int client_call(struct client *client, const struct call_options *options, struct payload *body,
                int64_t now, struct message *message, uint64_t *call);

/// The message that cancels `call`; false: it has ended already. Items and progress of it that were
/// not taken are dropped.
bool client_cancel(struct client *client, uint64_t call, struct message *message);

/// A message of the router; takes over its body. What belongs to no call is dropped.
void client_message(struct client *client, struct message *message, int64_t now);

/// Ends all calls with RouterLost: the connection is gone.
void client_lost(struct client *client, int64_t now);
/// The same for the calls of one deployment, but for those that client_spare was told of since:
/// they were not sent. `epoch` is that of the router, 0: not known.
void client_lost_deployment(struct client *client, uint32_t deployment, uint64_t epoch,
                            int64_t now);
void client_spare(struct client *client, uint64_t call);

/// The deployment of a call that was not taken. False: there is none.
bool client_deployment(const struct client *client, uint64_t call, uint32_t *deployment);

void client_tick(struct client *client, int64_t now);
int64_t client_deadline(const struct client *client);

/// Takes the completion of `call`: true; false: it has not ended, or was taken.
bool client_take(struct client *client, uint64_t call, struct completion *completion);

/// Takes the completion that has waited longest. False: none.
bool client_next(struct client *client, struct completion *completion);

/// Takes the next item of `call`, and its tag. `*credit` is a message for the router if its type is
/// not 0. False: none is there; the next one will be news, as the first one is.
bool client_item(struct client *client, uint64_t call, struct payload **body, uint64_t *tag,
                 struct message *credit);

/// What has come for a call that has not ended.
struct news {
  uint64_t call, tag;
  bool has_item;      // for who has asked in vain for one
  bool has_progress;  // the latest; a call with CALL_PROGRESS does not end before it is taken
  double n, total;    // total 0: not known
};
/// Takes the news that have waited longest. False: none.
bool client_news(struct client *client, struct news *news);

/// Whether `call` has ended and was not taken.
bool client_ended(const struct client *client, uint64_t call);

/// Calls for each call that has not ended.
void client_each(const struct client *client, void (*each)(uint64_t call, void *owner),
                 void *owner);

/// Calls that have not ended / ended and not taken / of which there are news.
size_t client_pending(const struct client *client);
size_t client_done(const struct client *client);
size_t client_told(const struct client *client);

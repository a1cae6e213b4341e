// A console: an operator's end of a connection to a served router, blocking, without a loop, for the
// command line.
//
// Functions that wait return -EINTR after a signal, -ETIMEDOUT at the instant `until` (monotonic ns;
// INT64_MAX: none), and -ECONNRESET and other negative errnos once the connection has ended, with a
// sentence that console_why has; so has -ETIMEDOUT of a router that is silent.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct console;
struct payload;

/// Connects to the router at the socket `path` and is let in. `why` gets a sentence. -EPROTO: the
/// router refuses; then `*refusal` is the body of its error, or NULL if there is none.
int console_open(struct console **out, const char *path, int64_t until, struct payload **refusal,
                 char *why, size_t size);
/// NULL is allowed.
void console_close(struct console *self);

/// The body of the router's WELCOME.
struct payload *console_welcome(const struct console *self);

/// Sends a request. `options` is a body [{...}], or NULL. `*reply` is a body [true, value] or
/// [false, error], one reference.
int console_request(struct console *self, const char *name, const struct payload *options,
                    int64_t until, struct payload **reply);

/// The next line of a log that was asked for: the body of LOG, one reference.
int console_line(struct console *self, int64_t until, struct payload **line);

const char *console_why(const struct console *self);
/// Of the router.
uint64_t console_epoch(const struct console *self);

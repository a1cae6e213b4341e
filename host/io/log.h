// What a worker prints: read from a pipe, and written to this process's stderr line by line with
// the worker's name in front.
//
// The pipe is always read, however much comes, so that no worker waits for its reader: beyond
// 1 MiB a second, and what a stderr that is stuck does not take, is dropped and counted. Lines
// longer than 4 KiB are cut. With the baton.
#pragma once

#include <stdint.h>
#include <uv.h>

struct log;

/// Reads from `fd`, which is taken over. `name` is copied. `*alarm` is an instant (monotonic ns)
/// that is lowered when log_tick is wanted then. NULL: libuv refused, and the fd is closed.
struct log *log_new(uv_loop_t *loop, int fd, const char *name, int64_t *alarm);

/// Tells `line` of every line too, before it is written, without its end.
void log_tee(struct log *log, void (*line)(void *owner, const char *text, size_t size),
             void *owner);

/// The last line that came, also if it was dropped; "": none did. Until log_close and the loop's next
/// turn.
const char *log_last(const struct log *log);

/// Reads what is there (some megabytes at most) and writes all of it, the last line even if it does
/// not end: for a worker that is gone.
void log_drain(struct log *log);

/// Says how much was dropped, if it is time, and lowers the alarm for the next time.
void log_tick(struct log *log, int64_t now);

/// Memory goes when the loop has turned. NULL is allowed.
void log_close(struct log *log);

/// Writes one line of the host's own: "[name] text".
void log_line(const char *name, const char *text);

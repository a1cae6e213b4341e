// Errors by name: what they are called, whether a call that ends in one ran, and how they travel.
//
// On the wire an error is one map: name, code, message, executed, retryable, retry_after, where,
// function, deployment, worker, attempt, attempts, elapsed_ms, deadline_ms, cause, data, traceback
// and the fields of its kind. Whoever notices the error writes it; nobody on the way changes it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

struct payload;

enum error_name {
  ERROR_REMOTE_ERROR,
  ERROR_CANCELLED,
  ERROR_DEADLINE_EXCEEDED,
  ERROR_BAD_ARGUMENTS,
  ERROR_NOT_SERIALIZABLE,
  ERROR_UNKNOWN_CLASS,
  ERROR_ARGUMENT_TOO_LARGE,
  ERROR_RESULT_TOO_LARGE,
  ERROR_NO_SUCH_DEPLOYMENT,
  ERROR_NO_SUCH_FUNCTION,
  ERROR_DUPLICATE_ID,
  ERROR_PERMISSION_DENIED,
  ERROR_OVERLOADED,
  ERROR_NOT_READY,
  ERROR_DRAINING,
  ERROR_DEPLOYMENT_CHANGED,
  ERROR_DEPLOYMENT_FAILED,
  ERROR_WORKER_LOST,
  ERROR_GPU_FAULT,
  ERROR_POISON_CALL,
  ERROR_ROUTER_LOST,
  ERROR_CONNECT_FAILED,
  ERROR_SLOW_READER,
  ERROR_BAD_FRAME,
  ERROR_FRAME_TOO_LARGE,
  ERROR_VERSION_MISMATCH,
  ERROR_UNSUPPORTED,
  ERROR_ENGINE_ERROR,
  ERROR_CONFIG_ERROR,
  ERROR_INTERNAL,
  ERROR_UNKNOWN,
  ERROR_NAMES  // how many
};

enum executed { EXECUTED_NO, EXECUTED_MAYBE, EXECUTED_YES };

/// "DeadlineExceeded" and so on.
const char *error_text(enum error_name name);

/// The number gRPC uses for this kind of error.
int error_code(enum error_name name);

/// Writes the map of one error field by field: begin, any fields, end. The buffer then holds a body
/// (an array of one map).
struct error_writer {
  struct buffer buffer;
  size_t count_at;  // where the number of fields stands
  uint16_t fields;
};

void error_begin(struct error_writer *writer, enum error_name name, enum executed executed,
                 bool retryable, const char *where);
/// printf-like; cut at LIMIT_ERROR_MESSAGE on a UTF-8 border.
void error_message(struct error_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void error_string(struct error_writer *writer, const char *key, const char *value);
/// Packs a text as errors hold it, of `limit` bytes at most: one that is no UTF-8 (a path may be
/// none) travels as the same bytes, as values do.
void error_pack(struct buffer *buffer, const char *text, size_t size, size_t limit);
void error_number(struct error_writer *writer, const char *key, double value);
/// Adds "epoch", which life of which router it was, as the text of error_epoch_text; 0, not known:
/// nothing.
void error_epoch(struct error_writer *writer, uint64_t epoch);
enum { ERROR_EPOCH = 17 };
/// Writes an epoch as people see it, 16 hexadecimal digits.
void error_epoch_text(uint64_t epoch, char text[ERROR_EPOCH]);
/// Adds a field whose value, exactly one, the caller packs into the result.
struct buffer *error_value(struct error_writer *writer, const char *key);
/// An attempt that came before: which worker had it, what became of it, how long it took.
struct trial {
  uint32_t worker;
  double milliseconds;
  char outcome[36];  // "signal 9", "exit 1", "heartbeat", or the name of an error
};
/// Puts a list of attempts under "attempts".
void error_trials(struct error_writer *writer, const struct trial *trials, uint32_t count);
/// Puts the map of another error (a body made by this writer or by a worker) under "cause". Deeper
/// than LIMIT_ERROR_CAUSES or no map: left out.
void error_cause(struct error_writer *writer, const struct payload *cause);
/// What the body of an error says under `key`, a text. False: nothing. NULL is allowed.
bool error_says(const struct payload *body, const char *key, const unsigned char **text,
                size_t *size);
/// The finished body, one reference for the caller. The writer is empty afterwards. Ends the
/// process when memory runs out.
struct payload *error_end(struct error_writer *writer);

// Messages to bytes and back (the wire format stands above message.h). Pure: the owner of a socket
// asks where to read to, reads, and takes the messages that are complete.
//
// A reader allocates at most what it has received plus 1 MiB: the buffer of a large frame grows as
// its bytes come, never by the length it declares.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "message.h"

enum frame_result {
  FRAME_OK = 0,
  FRAME_MORE = 1,        // not complete yet
  FRAME_TOO_LARGE = -1,  // FrameTooLarge; also before the handshake allows more than 4 KiB
  FRAME_BAD = -2,        // BadFrame, with a reason and an offset
  FRAME_VERSION = -3,    // VersionMismatch
  FRAME_MEMORY = -4,
};

/// States of a connection. A limit holds for each; an embedded or inherited connection starts in
/// FRAME_OPEN.
enum frame_state { FRAME_PREFACE, FRAME_HELLO, FRAME_OPEN, FRAME_CLOSED };

struct reader;

/// A reader in `state`; `limit` bytes is the largest frame it accepts once open. Ends the process
/// when memory runs out.
struct reader *reader_new(enum frame_state state, uint32_t limit);

/// Frees it and what it holds. NULL is allowed.
void reader_free(struct reader *reader);

/// Where the next bytes go: `*size` > 0 bytes at the result, valid until the next call on the
/// reader. To be asked after reader_next has said that it needs more, or an error: then what comes
/// is dropped. NULL: no memory, which reader_next says again.
unsigned char *reader_space(struct reader *reader, size_t *size);

/// `size` bytes were put there.
void reader_received(struct reader *reader, size_t size);

/// Bytes of a frame that has come in part, beside the reader's own.
size_t reader_held(const struct reader *reader);

/// Takes the next complete message: FRAME_OK; the body, scanned, is one reference the caller owns.
/// FRAME_MORE: read on. After an error the reader is closed and answers the same error again. In
/// FRAME_PREFACE the preface is consumed and checked first; HELLO must follow and opens the reader:
/// what it says is the caller's to judge. There is no other HELLO, and none where a reader starts
/// open.
int reader_next(struct reader *reader, struct message *message);

/// Why the last error happened: one sentence for a person, and for FRAME_BAD the reason and the
/// offset in the stream.
const char *reader_error(const struct reader *reader, const char **reason, uint64_t *offset);

/// Appends the preface.
void frame_preface(struct buffer *out);

/// Appends length and header of `message`; the parts of its body have to follow. There is a body
/// exactly where message.h asks for one.
void frame_header(struct buffer *out, const struct message *message);

/// Appends the whole frame, body included. For small bodies.
void frame_append(struct buffer *out, const struct message *message);

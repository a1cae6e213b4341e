// A connected socket that carries messages: bytes through a stream, a reader for what comes, a
// queue for what goes.
//
// Sending only queues; transport_flush writes everything in one vectored write, so that a turn of
// the loop costs one system call per peer however many calls it carried. Small bodies are gathered;
// large ones are written from where they lie, so that the queue itself is small whatever it refers
// to: how much may be queued is decided by who sends. What was handed to the kernel is known
// exactly. Everything on the thread that holds the loop's baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../core/frame.h"
#include "../core/message.h"

struct stream;
struct transport;

struct transport_events {
  /// A message came; takes over its body. May close the transport.
  void (*message)(void *owner, struct message *message);
  /// Nothing comes any more, all that came was delivered: 0 the peer ended it, else a frame_result
  /// or negative errno (below all of those), with one sentence. Once.
  void (*closed)(void *owner, int error, const char *why);
};

/// Takes over the connected socket `fd` and makes it non-blocking. Ends the process when memory
/// runs out; NULL: libuv refused, and the socket is closed.
struct transport *transport_new(uv_loop_t *loop, int fd, enum frame_state state, uint32_t limit,
                                const struct transport_events *events, void *owner);

/// Queues a frame; takes over the body's reference. Nothing happens once closed, or when the peer
/// takes nothing any more.
void transport_send(struct transport *transport, struct message *message);

/// Writes what is queued as far as the socket takes it; the rest follows when it can. Returns false
/// when nothing was queued.
bool transport_flush(struct transport *transport);

/// Reads what is there without waiting and delivers it, at most some megabytes. Returns how many
/// messages came.
int transport_receive(struct transport *transport);

/// Reads all that is there: for a peer that is known to be gone.
void transport_drain(struct transport *transport);

/// Bytes that came so far.
uint64_t transport_received(const struct transport *transport);

/// Delivers bytes that came by another way, after all that came by the socket.
void transport_feed(struct transport *transport, const unsigned char *bytes, size_t size);

/// Bytes queued and not yet taken by the kernel.
size_t transport_queued(const struct transport *transport);

/// What it holds, queued bytes and those of a frame that has come in part, counts in `*sum` from now
/// on until it is closed.
void transport_count_in(struct transport *transport, uint64_t *sum);

/// Bytes that the kernel has taken so far, of all that was sent.
uint64_t transport_written(const struct transport *transport);
/// Reads nothing more, or reads on: for a peer that does not read either.
void transport_pause(struct transport *transport, bool paused);

/// Closes the socket now, without the closed event; memory goes when the loop has turned.
void transport_close(struct transport *transport);

// Where the bytes of a connection come from and go to: a socket, or a layer above one (TLS).
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream {
  /// Up to `size` bytes that are there. 0: the peer has ended it; negative errno, -EAGAIN: nothing
  /// is there now.
  ssize_t (*read)(struct stream *stream, void *bytes, size_t size);
  /// Writes as much as is taken now and returns how much; negative errno, -EAGAIN: nothing now.
  ssize_t (*write)(struct stream *stream, const struct iovec *parts, int count);
  /// Closes and frees it.
  void (*close)(struct stream *stream);
  int fd;  // to be waited for
};

/// Over a connected socket, which is made non-blocking and taken over. Writing to a peer that is
/// gone is an error, not a signal. Ends the process when memory runs out.
struct stream *stream_socket(int fd);

#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/memory.h"

static ssize_t socket_read(struct stream *stream, void *bytes, size_t size) {
  ssize_t got;
  do got = recv(stream->fd, bytes, size, MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

static ssize_t socket_write(struct stream *stream, const struct iovec *parts, int count) {
  struct msghdr header = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
  ssize_t sent;
  do sent = sendmsg(stream->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

static void socket_close(struct stream *stream) {
  close(stream->fd);
  free(stream);
}

struct stream *stream_socket(int fd) {
  struct stream *stream = xcalloc(1, sizeof *stream);
  *stream = (struct stream){socket_read, socket_write, socket_close, fd};
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return stream;
}

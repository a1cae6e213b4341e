// For programs with their own loop: a descriptor that says when there is something to do or to take.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "embedded_state.h"

void embedded_tell(struct embedded *embedded) {
  if (embedded->poll_fd < 0 || embedded->told || !embedded_waiting(embedded)) return;
  embedded->told = true;
  eventfd_write(embedded->ended_fd, 1);
}

void embedded_untell(struct embedded *embedded) {
  if (!embedded->told || embedded_waiting(embedded)) return;
  eventfd_t count;
  embedded->told = false;
  eventfd_read(embedded->ended_fd, &count);
}

static int add_to_poll(struct embedded *embedded, int fd) {
  struct epoll_event event = {.events = EPOLLIN};
  return epoll_ctl(embedded->poll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_poll(struct embedded *embedded) {
  embedded->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (embedded->ended_fd < 0) return -errno;
  embedded->poll_fd = epoll_create1(EPOLL_CLOEXEC);
  int error = embedded->poll_fd < 0 ? -errno : 0;
  if (!error) error = add_to_poll(embedded, embedded->ended_fd);
  if (!error) error = add_to_poll(embedded, loop_fd(embedded->loop));
  if (!error) {
    embedded_tell(embedded);
    return 0;
  }
  if (embedded->poll_fd >= 0) close(embedded->poll_fd);
  close(embedded->ended_fd);
  embedded->poll_fd = embedded->ended_fd = -1;
  return error;
}

int embedded_fd(struct embedded *embedded) {
  loop_acquire(embedded->loop);
  int error = embedded->poll_fd < 0 ? open_poll(embedded) : 0;
  int fd = error ? error : embedded->poll_fd;
  loop_release(embedded->loop);
  return fd;
}

void embedded_turn(struct embedded *embedded) {
  loop_acquire(embedded->loop);
  loop_turn(embedded->loop);
  loop_release(embedded->loop);
}

// For programs with their own loop: a descriptor that says when there is something to do or to take.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "session_state.h"

void session_tell(struct session *session) {
  if (session->poll_fd < 0 || session->told || !session_waiting(session)) return;
  session->told = true;
  eventfd_write(session->ended_fd, 1);
}

void session_untell(struct session *session) {
  if (!session->told || session_waiting(session)) return;
  eventfd_t count;
  session->told = false;
  eventfd_read(session->ended_fd, &count);
}

static int add_to_poll(struct session *session, int fd) {
  struct epoll_event event = {.events = EPOLLIN};
  return epoll_ctl(session->poll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_poll(struct session *session) {
  session->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (session->ended_fd < 0) return -errno;
  session->poll_fd = epoll_create1(EPOLL_CLOEXEC);
  int error = session->poll_fd < 0 ? -errno : 0;
  if (!error) error = add_to_poll(session, session->ended_fd);
  if (!error) error = add_to_poll(session, loop_fd(session->loop));
  if (!error) {
    session_tell(session);
    return 0;
  }
  if (session->poll_fd >= 0) close(session->poll_fd);
  close(session->ended_fd);
  session->poll_fd = session->ended_fd = -1;
  return error;
}

int session_fd(struct session *session) {
  loop_acquire(session->loop);
  int error = session->poll_fd < 0 ? open_poll(session) : 0;
  int fd = error ? error : session->poll_fd;
  loop_release(session->loop);
  return fd;
}

void session_turn(struct session *session) {
  loop_acquire(session->loop);
  loop_turn(session->loop);
  loop_release(session->loop);
}

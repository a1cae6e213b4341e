// Checks of host/io/address.c and sha256.c. Each has a folder of its own for XDG_RUNTIME_DIR.
#define _GNU_SOURCE
#include "../../../host/io/address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../../host/core/limits.h"
#include "../../../host/io/sha256.h"
#include "check.h"

struct room {
  char base[64], path[ADDRESS_SIZE], why[400];
};

static void room_open(struct room *room) {
  *room = (struct room){.base = "/tmp/farside-address-XXXXXX"};
  EXPECT(mkdtemp(room->base));
  EXPECT(!setenv("XDG_RUNTIME_DIR", room->base, 1));
}

static void room_close(struct room *room) {
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", room->base);
  EXPECT(system(command) == 0);
}

static int folder(struct room *room, bool make) {
  return address_folder(make, room->path, room->why, sizeof room->why);
}

static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof address) && !listen(fd, 8));
  return fd;
}

static void digests_are_those_of_the_standard(void) {
  char text[SHA256_TEXT];
  sha256_of("abc", 3, text);
  EXPECT(!strcmp(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
  struct sha256 *sha256 = sha256_new();
  sha256_add(sha256, "a", 1);
  sha256_add(sha256, "bc", 2);
  sha256_end(sha256, text);
  EXPECT(!strcmp(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
  sha256_of("", 0, text);
  EXPECT(!strcmp(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
  EXPECT(!sha256_file("/dev/null", text));
  EXPECT(!strcmp(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
  EXPECT_EQUAL(-ENOENT, sha256_file("/nowhere", text));
  EXPECT_EQUAL(-EISDIR, sha256_file("/", text));
}

static void the_folder_is_made_for_its_owner_alone(void) {
  struct room room;
  room_open(&room);
  EXPECT_EQUAL(-ENOENT, folder(&room, false));
  EXPECT(!strcmp(room.why, ""));
  umask(0);
  EXPECT_EQUAL(0, folder(&room, true));
  struct stat status;
  EXPECT(!stat(room.path, &status));
  EXPECT_EQUAL(0700, status.st_mode & 07777);
  EXPECT_EQUAL(0, folder(&room, true));
  EXPECT_EQUAL(0, folder(&room, false));
  room_close(&room);
}

static void a_folder_open_to_others_is_refused(void) {
  struct room room;
  room_open(&room);
  EXPECT_EQUAL(0, folder(&room, true));
  EXPECT(!chmod(room.path, 0750));
  EXPECT_EQUAL(-EPERM, folder(&room, true));
  EXPECT(strstr(room.why, "has mode 0750 where 0700 is expected; try: chmod 700 /tmp/farside-add"));
  room_close(&room);
}

static void a_folder_of_another_user_is_refused(void) {
  struct room room;
  if (geteuid()) return;
  room_open(&room);
  EXPECT_EQUAL(0, folder(&room, true));
  EXPECT(!chown(room.path, 12345, 12345));
  EXPECT_EQUAL(-EPERM, folder(&room, true));
  EXPECT(strstr(room.why, "belongs to user 12345 where 0 is expected; set XDG_RUNTIME_DIR"));
  room_close(&room);
}

static void a_symbolic_link_is_not_followed(void) {
  struct room room;
  room_open(&room);
  char link[ADDRESS_SIZE];
  EXPECT_EQUAL(0, folder(&room, true));
  snprintf(link, sizeof link, "%s", room.path);
  snprintf(room.path, sizeof room.path, "%s/other", room.base);
  EXPECT(!rename(link, room.path) && !symlink("other", link));
  EXPECT(folder(&room, true) < 0);
  EXPECT(strstr(room.why, "is expected to be a folder and is a"));
  room_close(&room);
}

static void a_runtime_folder_that_is_too_long_or_not_there_is_refused(void) {
  struct room room = {0};
  char path[120];
  memset(path, 'a', sizeof path);
  path[0] = '/';
  path[sizeof path - 1] = 0;
  EXPECT(!setenv("XDG_RUNTIME_DIR", path, 1));
  EXPECT_EQUAL(-EINVAL, folder(&room, true));
  EXPECT(strstr(room.why, "an absolute path of at most 61 bytes, got '/aaa"));
  EXPECT(!setenv("XDG_RUNTIME_DIR", "here", 1));
  EXPECT_EQUAL(-EINVAL, folder(&room, true));
  EXPECT(!setenv("XDG_RUNTIME_DIR", "/nowhere", 1));
  EXPECT_EQUAL(-ENOENT, folder(&room, false));
  EXPECT_EQUAL(-ENOENT, folder(&room, true));
  EXPECT(strstr(room.why, "/nowhere, which XDG_RUNTIME_DIR names, cannot be opened"));
}

static void without_a_runtime_folder_it_lies_in_tmp(void) {
  struct room room = {0};
  char expected[ADDRESS_SIZE];
  EXPECT(!unsetenv("XDG_RUNTIME_DIR"));
  int error = folder(&room, false);
  EXPECT(!error || error == -ENOENT);
  snprintf(expected, sizeof expected, "/tmp/farside-%u", (unsigned)geteuid());
  EXPECT(!strncmp(room.path, expected, strlen(expected)));
}

static void path_of(const char *name, const char *tag, char path[ADDRESS_SIZE]) {
  char why[400];
  EXPECT_EQUAL(0, address_of(name, tag, true, path, why, sizeof why));
}

static void a_path_tells_name_and_tag_apart(void) {
  struct room room;
  char one[ADDRESS_SIZE], other[ADDRESS_SIZE];
  room_open(&room);
  path_of("square", "", one);
  path_of("square", NULL, other);
  EXPECT(!strcmp(one, other));
  EXPECT_EQUAL(strlen("/farside/.sock") + 32, strlen(one) - strlen(room.base));
  path_of("ab", "c", one);
  path_of("a", "bc", other);
  EXPECT(strcmp(one, other));
  // Of the bytes 0 0 0 1 "a" 0 0 0 0.
  path_of("a", "", one);
  EXPECT(strstr(one, "/farside/6a9f797717b7913c"));
  room_close(&room);
}

static void addresses_are_read_as_people_write_them(void) {
  char path[ADDRESS_SIZE], why[400], text[200];
  EXPECT_EQUAL(0, address_parse("unix:/tmp/x.sock", path, why, sizeof why));
  EXPECT(!strcmp(path, "/tmp/x.sock"));
  EXPECT_EQUAL(-EINVAL, address_parse("unix:", path, why, sizeof why));
  EXPECT_EQUAL(-EINVAL, address_parse("tcp:1", path, why, sizeof why));
  EXPECT(!strcmp(why, "the address of a router is expected as unix:PATH, got 'tcp:1'"));
  memset(text, 'a', sizeof text);
  memcpy(text, "unix:", 5);
  text[5 + ADDRESS_SIZE] = 0;
  EXPECT_EQUAL(-EINVAL, address_parse(text, path, why, sizeof why));
  EXPECT(strstr(why, "at most 107 bytes, got 108"));
  text[4 + ADDRESS_SIZE] = 0;
  EXPECT_EQUAL(0, address_parse(text, path, why, sizeof why));
  EXPECT_EQUAL(107, strlen(path));
}

struct seen {
  int count;
  char last[ADDRESS_SIZE];
};

static void note(void *owner, const char *path) {
  struct seen *seen = owner;
  EXPECT(strcmp(path, seen->last) > 0);
  snprintf(seen->last, sizeof seen->last, "%s", path);
  seen->count++;
}

static void sockets_are_listed_in_order(void) {
  struct room room;
  char path[ADDRESS_SIZE];
  struct seen seen = {0};
  room_open(&room);
  EXPECT_EQUAL(0, address_list(note, &seen, room.why, sizeof room.why));
  for (int i = 0; i < 5; i++) {
    char name[] = {(char)('a' + i), 0};
    path_of(name, NULL, path);
    close(listen_at(path));
  }
  EXPECT_EQUAL(0, folder(&room, true));
  snprintf(path, sizeof path, "%.80s/notes.sock", room.path);
  close(open(path, O_CREAT | O_WRONLY, 0600));
  EXPECT_EQUAL(0, address_list(note, &seen, room.why, sizeof room.why));
  EXPECT_EQUAL(5, seen.count);
  room_close(&room);
}

static void one_that_drains_is_listed_under_another_name(void) {
  struct room room;
  char path[ADDRESS_SIZE], ending[ADDRESS_SIZE], longest[ADDRESS_SIZE];
  struct seen seen = {0};
  room_open(&room);
  EXPECT_EQUAL(0, folder(&room, true));
  path_of("a", NULL, path);
  EXPECT_EQUAL(0, address_of_ending(path, ending));
  EXPECT_EQUAL(0, strcmp(ending + strlen(path) - strlen(".sock"), ".ending.sock"));
  close(listen_at(ending));
  EXPECT_EQUAL(0, address_list(note, &seen, room.why, sizeof room.why));
  EXPECT_EQUAL(1, seen.count);
  EXPECT_EQUAL(0, address_of_ending("/tmp/router", ending));
  EXPECT_EQUAL(0, strcmp(ending, "/tmp/router.ending.sock"));
  memset(longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  EXPECT_EQUAL(-ENAMETOOLONG, address_of_ending(longest, ending));
  room_close(&room);
}

static void one_connects_to_what_listens(void) {
  struct room room;
  char path[ADDRESS_SIZE];
  room_open(&room);
  path_of("a", NULL, path);
  EXPECT_EQUAL(-ENOENT, address_connect(path, NANOSECONDS_PER_SECOND, room.why, sizeof room.why));
  EXPECT(strstr(room.why, "no router can be reached at unix:/tmp/farside-address-"));
  int listener = listen_at(path);
  int fd = address_connect(path, NANOSECONDS_PER_SECOND, room.why, sizeof room.why);
  EXPECT(fd >= 0);
  close(fd);
  close(listener);
  EXPECT_EQUAL(-ECONNREFUSED,
               address_connect(path, NANOSECONDS_PER_SECOND, room.why, sizeof room.why));
  room_close(&room);
}

static void a_server_that_accepts_nothing_is_given_up(void) {
  struct room room;
  char path[ADDRESS_SIZE];
  int waiting[64], count = 0, fd;
  room_open(&room);
  path_of("a", NULL, path);
  int listener = listen_at(path);
  while ((fd = address_connect(path, NANOSECONDS_PER_MILLISECOND, room.why, sizeof room.why)) >=
         0) {
    EXPECT(count < 64);
    waiting[count++] = fd;
  }
  EXPECT_EQUAL(-EAGAIN, fd);
  EXPECT(strstr(room.why, "accepts no connection"));
  while (count) close(waiting[--count]);
  close(listener);
  room_close(&room);
}

static void a_peer_of_another_user_is_refused(void) {
  int pair[2];
  char why[200];
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  EXPECT_EQUAL(0, address_check_peer(pair[0], geteuid(), why, sizeof why));
  EXPECT_EQUAL(-EACCES, address_check_peer(pair[0], geteuid() + 1, why, sizeof why));
  EXPECT(strstr(why, "runs as user "));
  close(pair[0]);
  close(pair[1]);
}

static const struct check checks[] = {
    {"digests are those of the standard", digests_are_those_of_the_standard},
    {"makes a folder for this user alone", the_folder_is_made_for_its_owner_alone},
    {"S13: refuses a folder that is open to others", a_folder_open_to_others_is_refused},
    {"S13: refuses a folder of another user", a_folder_of_another_user_is_refused},
    {"S13: follows no symbolic link", a_symbolic_link_is_not_followed},
    {"refuses a runtime folder that is too long or not there",
     a_runtime_folder_that_is_too_long_or_not_there_is_refused},
    {"lies in tmp without a runtime folder", without_a_runtime_folder_it_lies_in_tmp},
    {"tells name and tag apart", a_path_tells_name_and_tag_apart},
    {"is read as people write it", addresses_are_read_as_people_write_them},
    {"lists sockets in order", sockets_are_listed_in_order},
    {"lists one that drains under another name", one_that_drains_is_listed_under_another_name},
    {"connects to what listens", one_connects_to_what_listens},
    {"gives a server up that accepts nothing", a_server_that_accepts_nothing_is_given_up},
    {"S13: refuses a peer of another user", a_peer_of_another_user_is_refused},
};

CHECK_MAIN(checks)

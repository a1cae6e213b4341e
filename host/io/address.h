// Where a served deployment is found: the path of its socket.
//
//   ${XDG_RUNTIME_DIR:-/tmp/farside-UID}/farside/HASH.sock
//
// HASH is the first 32 digits of the SHA-256 over name and tag, each behind its length. Nobody else
// may get into the folder: it belongs to this user and has mode 0700, which is checked by whoever
// uses it, and no part of the path below ${XDG_RUNTIME_DIR:-/tmp} may be a symbolic link. Beside the
// socket lies HASH.lock, see listener.h; a router that drains listens at HASH.ending.sock, for its
// operators, and leaves HASH.sock to the next one.
//
// All return 0 or a negative errno with a sentence in `why`, `size` bytes of it, that can be shown
// as it is.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { ADDRESS_SIZE = 108 };  // bytes of a path with its zero: what the kernel takes

/// The folder; made where it is missing if `make`, else -ENOENT without anything in `why`.
int address_folder(bool make, char path[ADDRESS_SIZE], char *why, size_t size);

/// The socket of a deployment, in that folder. `tag` NULL: "".
int address_of(const char *name, const char *tag, bool make, char path[ADDRESS_SIZE], char *why,
               size_t size);

/// Where a router that has listened at `path` listens while it drains. -ENAMETOOLONG: nowhere.
int address_of_ending(const char *path, char ending[ADDRESS_SIZE]);

/// "unix:PATH" as people write it, in FARSIDE_ROUTER or --router; -EINVAL for anything else.
int address_parse(const char *text, char path[ADDRESS_SIZE], char *why, size_t size);

/// Calls `found` with the path of every socket in the folder, in the order of their names, also of
/// routers that drain, and whether anybody listens there or not. No folder: none.
int address_list(void (*found)(void *owner, const char *path), void *owner, char *why, size_t size);

/// A connection to the socket `path`, whose other end belongs to this user; a blocking descriptor. A
/// server that accepts nothing is given up after `timeout` nanoseconds. -ENOENT and -ECONNREFUSED:
/// nobody serves there.
int address_connect(const char *path, int64_t timeout, char *why, size_t size);

/// -EACCES unless the process at the other end of the unix socket `fd` runs as user `uid`.
int address_check_peer(int fd, uid_t uid, char *why, size_t size);

// Compiled kernels on disk: files of this user's own folder, whose bytes are run. Each is named by
// 64 digits, those of all that went into it, and an extension.
//
// A file is written under another name first, so that one that is there is whole. Files are removed
// while others use them: who has opened or mapped one keeps it.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// Opens a file to be read and marks it as used now; `*size` is its size. Returns a descriptor, or a
/// negative errno; -EPERM: it is a link or no file, belongs to somebody else or may be written to by
/// others.
int cache_open(const char *path, size_t *size);

/// Puts a file of mode 0600 in its place, with one step. Returns 0 or a negative errno.
int cache_write(const char *path, const char *bytes, size_t size);

/// Waits for at most `patience` ns until nobody else, here or in another process, has the lock of
/// this number in a folder. It is given back by cache_unlock, and by the end of the process. Returns
/// a descriptor, -EAGAIN after that time, or another negative errno: there are no locks here.
int cache_lock(const char *folder, uint64_t number, int64_t patience);
void cache_unlock(int lock);

/// Removes the files that were not used for longest, until the others have at most `most` bytes
/// together; the newest stays. Nothing if another process does it now. Returns how many went, or a
/// negative errno.
int cache_prune(const char *folder, uint64_t most);

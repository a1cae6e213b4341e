// Folders of this user's own: the one that keeps compiled kernels, and temporary ones.
#pragma once

#include <stddef.h>

/// Writes the path of ${XDG_CACHE_HOME:-~/.cache}/farside/kernels, which is made with mode 0700
/// where it is not there. What lies in it is run, so it must belong to this user and be writable to
/// nobody else; the one above both must be one in which nobody else can put another in its place
/// (this user's or root's, and not writable to all unless it is sticky). Returns 0, or a negative
/// errno with a sentence in `why`.
int folder_cache(char *path, size_t size, char *why, size_t why_size);

/// Makes a new folder of mode 0700 in ${TMPDIR:-/tmp} and writes its path. Who asks removes it.
int folder_temporary(char *path, size_t size, char *why, size_t why_size);

// Puts the pairs of all maps of a body in one order, so that equal values have equal bytes: a table
// says in which order it was filled, and each process walks through it in an order of its own.
#pragma once

struct payload;

/// Takes over the body of an encoder and returns the sorted one, of a single part. NULL: no memory.
struct payload *codec_sort(struct payload *body);

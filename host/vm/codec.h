// Lua values to msgpack and back.
//
// clang-format off
//   nil, true, false                    the same
//   number, integral, |n| < 2^32        the shortest integer form (below -2^31: float64)
//   any other number                    float64, bit for bit (also -0, the infinities; any NaN
//                                       arrives as Lua's own NaN)
//   int64_t, uint64_t cdata             0xd3, 0xcf: always nine bytes, and only these become cdata
//                                       again
//   string                              str when it is UTF-8 of at most 64 KiB, else bin
//   table with keys 1..n and no other   array; an empty one too
//   any other table                     map; keys: strings, numbers, booleans
//   farside.null                        nil inside a container
//   farside.array{}, farside.map{}      array, map, also when empty; an empty map arrives as
//                                       farside.map{}
//   object of a registered class        ext 1: str name, map of its fields (raw; the constructor is
//                                       not called)
//   tensor                              ext 2: type, sizes, elements; see tensor.h
// clang-format on
//
// farside.null is the null light userdata, as in cjson: it compares equal to any other.
//
// A body is one array: its length is the number of values, so nils in the middle and at the end
// survive. A table met twice arrives as two copies. A cycle, a function, a thread, a userdata,
// other cdata, a table with the metatable of no registered class, and nesting deeper than
// LIMIT_DEPTH (the body and the frame around an object count) are refused, naming the path; and
// what the decoder's limits would refuse.
//
// What a tensor is, Lua says (farside.tensor, which is required when the first one comes): its
// metatable, and two functions of lua/farside/tensor/wire.lua. One that arrives with CODEC_REFER
// bytes or more is no copy: its elements lie in the payload, which lives as long as it.
//
// Metamethods are never called. Nothing raises except out of memory, and what a debug hook of the
// state raises while one of the helpers for numbers runs; neither leaks.
#pragma once

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

struct payload;

enum {
  CODEC_VALUES = 4096,      // in one body: they lie on the Lua stack
  CODEC_REFER = 16 * 1024,  // strings and tensors from this size on are referred to
};

/// Opens the codec in a Lua state: the null, array and map markers, the helpers for long arrays of
/// numbers. Pushes the codec's table (fields null, array, map, new_registry, tensors). Once per
/// state; needs the ffi library.
int codec_open(lua_State *L);

/// Encodes the `count` values from stack index `first` on as one body. `registry` is the stack
/// index of a class registry or 0. `names` is the index of a table of names for the path ({"x",
/// "y"}; values beyond it are called "argument 3"), or 0; `side` is "argument" or "result". Indices
/// are positive.
///
/// Returns the payload, one reference for the caller. If an owner is set, it refers to the first
/// few strings and tensors of CODEC_REFER bytes and more: they are anchored in a table of the Lua
/// registry until codec_release.
///
/// On refusal: NULL, and an error table {name =, message =, path =, type =, side =, executed =}
/// pushed. The name is NotSerializable or, without `type` but with `size`, `limit` and `unit`,
/// ArgumentTooLarge or ResultTooLarge. `path` starts with the side: "argument x.items[3]".
struct payload *codec_encode(lua_State *L, int first, int count, int registry, int names,
                             const char *side);

/// Pushes the values of a scanned body of one part and returns how many; or -1 with an error table
/// pushed: UnknownClass with `class`, BadFrame with `reason`. It has no `executed`: the caller knows
/// which side it is on. The payload belongs to the thread that runs L and is not written to any more:
/// tensors keep references of their own.
int codec_decode(lua_State *L, struct payload *payload, int registry);

/// Lets go of the strings anchored under `anchor`. Only the thread that runs L.
void codec_release(lua_State *L, uint64_t anchor);

/// Who is told, on whatever thread drops a payload's last reference, that its strings can go: the
/// callback stores `anchor` and the Lua thread calls codec_release later. Without one payloads are
/// single-part copies.
struct codec_owner {
  void (*release)(void *owner, uint64_t anchor);
  void *owner;
};

/// NULL: no owner from now on. Payloads made before keep theirs.
void codec_set_owner(lua_State *L, const struct codec_owner *owner);

/// Whether a registry, as codec_encode and codec_decode take them, lies at `index`.
int codec_is_registry(lua_State *L, int index);

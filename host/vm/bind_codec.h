// The codec as Lua sees it, for what carries values by other ways than calls: specs, benches, files.
#pragma once

#include <lua.h>

/// Opens the codec (codec.h) and pushes a table:
///   null, array(t), map(t), new_registry()
///   encode(registry|nil, ...) -> payload | nil, errtable
///   encode_as(side, names|nil, registry|nil, ...)   the same with side and names of codec_encode
///   decode(registry|nil, payload|string) -> true, values... | false, errtable
/// A payload has payload:tostring(), #payload in bytes, and payload:parts(), how many parts it has.
int bind_codec(lua_State *L);

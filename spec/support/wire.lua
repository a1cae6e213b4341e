--- A peer of a served router that speaks the protocol by hand, so that a spec can say what no client of Farside's would.
--
--   local peer = wire.connect(path)
--   peer:hello { name = 'square' }         -- preface and HELLO
--   peer:send({ 5, ... }, body)            -- header and body are msgpack of these tables
--   local header, body = peer:read(5)      -- the next frame, at most so many seconds; nil: the connection has ended
local bit = require 'bit'
local ffi = require 'ffi'

if not pcall(ffi.typeof, 'spec_sockaddr') then ffi.cdef [[
typedef struct { unsigned short family; char path[108]; } spec_sockaddr;
typedef struct { int fd; short events; short revents; } spec_wirefd;
int socket(int domain, int type, int protocol);
int connect(int fd, const spec_sockaddr *address, unsigned size);
long send(int fd, const void *bytes, size_t size, int flags);
long recv(int fd, void *bytes, size_t size, int flags);
int shutdown(int fd, int how);
]] end
if not pcall(function() return ffi.C.close end) then ffi.cdef 'int close(int fd);' end
if not pcall(function() return ffi.C.poll end) then ffi.cdef 'int poll(void *fds, unsigned long count, int timeout);' end

local C = ffi.C
local kNoSignal, kDontWait = 0x4000, 0x40
local kIn, kOut = 1, 4

local M = {
  HELLO = 1, WELCOME = 2, CALL = 5, RESULT = 7, ERROR = 8, CANCEL = 9, ITEM = 11, CREDIT = 12, LOG = 15, PING = 16, DRAIN = 19,
  REQUEST = 22, REPLY = 23, CLIENT = 1, OPERATOR = 4,
}

-- msgpack -------------------------------------------------------------------------------------------------------------

local function big(n, width)
  local bytes = {}
  for i = width - 1, 0, -1 do bytes[#bytes + 1] = string.char(math.floor(n / 256 ^ i) % 256) end
  return table.concat(bytes)
end

local Bin = {}

--- Bytes that travel as such.
function M.bin(bytes)
  return setmetatable({ bytes = bytes }, Bin)
end

--- A table that is a map though it may be empty.
local Map = {}
function M.map(fields)
  return setmetatable(fields, Map)
end

local pack

local function pack_number(n)
  if n % 1 ~= 0 then
    local bytes = ffi.string(ffi.new('double[1]', n), 8)
    return '\203' .. bytes:reverse()
  end
  if n < 128 then return string.char(n) end
  if n < 2 ^ 32 then return '\206' .. big(n, 4) end
  return '\207' .. big(n, 8)
end

local function pack_table(value)
  local parts = {}
  if getmetatable(value) == Bin then return '\198' .. big(#value.bytes, 4) .. value.bytes end
  if #value > 0 or (next(value) == nil and getmetatable(value) ~= Map) then
    for i, item in ipairs(value) do parts[i] = pack(item) end
    return '\221' .. big(#parts, 4) .. table.concat(parts)
  end
  for key, item in pairs(value) do parts[#parts + 1] = pack(key) .. pack(item) end
  return '\223' .. big(#parts, 4) .. table.concat(parts)
end

function pack(value)
  if type(value) == 'number' then return pack_number(value) end
  if type(value) == 'boolean' then return value and '\195' or '\194' end
  if type(value) == 'string' then return '\219' .. big(#value, 4) .. value end
  return pack_table(value)
end
M.pack = pack

local function load_big(text, at, width)
  local n = 0
  for i = at, at + width - 1 do n = n * 256 + text:byte(i) end
  return n
end

local unpack_value

local function unpack_many(text, at, count)
  local values = {}
  for i = 1, count do values[i], at = unpack_value(text, at) end
  return values, at
end

local function unpack_map(text, at, count)
  local map = {}
  for _ = 1, count do
    local key, value
    key, at = unpack_value(text, at)
    value, at = unpack_value(text, at)
    map[key] = value
  end
  return map, at
end

local function unpack_sized(text, at, width)
  local size = load_big(text, at, width)
  return text:sub(at + width, at + width + size - 1), at + width + size
end

local function unpack_float(text, at)
  local bytes = text:sub(at, at + 7):reverse()
  local number = ffi.new 'double[1]'
  ffi.copy(number, bytes, 8)
  return number[0], at + 8
end

--- The value at a position, and where the next one begins.
function unpack_value(text, at)
  local first = text:byte(at)
  at = at + 1
  if first <= 0x7f then return first, at end
  if first <= 0x8f then return unpack_map(text, at, first - 0x80) end
  if first <= 0x9f then return unpack_many(text, at, first - 0x90) end
  if first <= 0xbf then return text:sub(at, at + first - 0xa1), at + first - 0xa0 end
  if first == 0xc0 then return nil, at end
  if first <= 0xc3 then return first == 0xc3, at end
  if first <= 0xc6 then return unpack_sized(text, at, 2 ^ (first - 0xc4)) end
  if first == 0xcb then return unpack_float(text, at) end
  if first >= 0xcc and first <= 0xcf then
    local width = 2 ^ (first - 0xcc)
    return load_big(text, at, width), at + width
  end
  if first >= 0xd0 and first <= 0xd3 then
    local width = 2 ^ (first - 0xd0)
    local n = load_big(text, at, width)
    return n >= 256 ^ width / 2 and n - 256 ^ width or n, at + width
  end
  if first >= 0xd9 and first <= 0xdb then return unpack_sized(text, at, 2 ^ (first - 0xd9)) end
  if first == 0xdc or first == 0xdd then
    local width = first == 0xdc and 2 or 4
    return unpack_many(text, at + width, load_big(text, at, width))
  end
  if first == 0xde or first == 0xdf then
    local width = first == 0xde and 2 or 4
    return unpack_map(text, at + width, load_big(text, at, width))
  end
  if first >= 0xe0 then return first - 256, at end
  error(('the peer has sent the byte %02x'):format(first))
end
M.unpack = unpack_value

-- A connection --------------------------------------------------------------------------------------------------------

local Peer = {}
Peer.__index = Peer

--- Connects to a socket; nil: nobody listens there.
function M.connect(path)
  local fd = C.socket(1, bit.bor(1, 0x80000), 0)
  assert(fd >= 0, 'no socket')
  local address = ffi.new('spec_sockaddr', 1)
  ffi.copy(address.path, path)
  if C.connect(fd, address, ffi.sizeof(address)) ~= 0 then
    C.close(fd)
    return nil
  end
  return setmetatable({ fd = fd, bytes = '', has_preface = false }, Peer)
end

--- Sends bytes as they are. False: the other end does not take them within some seconds.
function Peer:write(bytes, seconds)
  while #bytes > 0 do
    local ready = ffi.new('spec_wirefd[1]', { { self.fd, kOut, 0 } })
    if C.poll(ffi.cast('void *', ready), 1, (seconds or 5) * 1000) <= 0 then return false end
    local size = tonumber(C.send(self.fd, bytes, #bytes, bit.bor(kNoSignal, kDontWait)))
    if size <= 0 then return false end
    bytes = bytes:sub(size + 1)
  end
  return true
end

function M.frame(header, body)
  local bytes = pack(header) .. (body and pack(body) or '')
  return big(#bytes, 4) .. bytes
end

function Peer:send(header, body)
  return self:write(M.frame(header, body))
end

--- Preface and HELLO, as a client without `role`.
function Peer:hello(fields, role)
  return self:write('FARSIDE\n\1\1\0\0' .. M.frame({ M.HELLO, role or M.CLIENT, 0, 64 * 1024 * 1024 },
    { M.map(fields or {}) }))
end

local buffer = ffi.new('char[?]', 65536)

--- Waits for bytes. False: the connection has ended; nil: none came.
function Peer:_more(seconds)
  local ready = ffi.new('spec_wirefd[1]', { { self.fd, kIn, 0 } })
  if C.poll(ffi.cast('void *', ready), 1, math.ceil(seconds * 1000)) <= 0 then return nil end
  local size = tonumber(C.recv(self.fd, buffer, 65536, kDontWait))
  if size <= 0 then return false end
  self.bytes = self.bytes .. ffi.string(buffer, size)
  return true
end

function Peer:_take()
  if not self.has_preface then
    if #self.bytes < 12 then return nil end
    assert(self.bytes:sub(1, 8) == 'FARSIDE\n', 'the peer has sent another preface')
    self.has_preface, self.bytes = true, self.bytes:sub(13)
  end
  if #self.bytes < 4 then return nil end
  local size = load_big(self.bytes, 1, 4)
  if #self.bytes < 4 + size then return nil end
  local frame = self.bytes:sub(5, 4 + size)
  self.bytes = self.bytes:sub(5 + size)
  local header, at = unpack_value(frame, 1)
  return header, at <= #frame and (unpack_value(frame, at)) or nil
end

--- The next frame, or nil and 'closed' or 'timeout'.
function Peer:read(seconds)
  while true do
    local header, body = self:_take()
    if header then return header, body end
    local more = self:_more(seconds or 5)
    if more == false then return nil, 'closed' end
    if more == nil then return nil, 'timeout' end
  end
end

--- The next frame of a type, passing over others.
function Peer:await(type, seconds)
  while true do
    local header, body = self:read(seconds)
    if not header or header[1] == type then return header, body end
  end
end

--- A CALL of the function with that number, to be written; `n` is its id.
function Peer:call_frame(n, number, arguments, milliseconds)
  local id = M.bin(('%08d'):format(self.fd) .. big(n, 8))
  return M.frame({ M.CALL, id, 1, 0, 0, number, milliseconds or 20000, 1, 0, 0 }, arguments)
end

function Peer:call(...)
  return self:write(self:call_frame(...))
end

--- A CANCEL of call n, to be written.
function Peer:cancel_frame(n)
  return M.frame { M.CANCEL, M.bin(('%08d'):format(self.fd) .. big(n, 8)), 1, 0, 1 }
end

--- Which call a frame belongs to.
function M.number(header)
  return load_big(header[2], 9, 8)
end

function Peer:close()
  if self.fd then C.close(self.fd) end
  self.fd = nil
end

return M

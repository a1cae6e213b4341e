--- The first look of a worker at a GPU that another one has used before it.
--
-- One that did not end in order may have left the device stuck: if it does not answer within ten seconds it is lost. And what
-- that one had allocated may not be free yet: the driver frees it some time after the process is gone.
local backends = require 'farside.tensor.backend'
local fault = require 'farside.cuda.fault'
local ffi = require 'ffi'
local future = require 'farside.future'
local native = require 'farside.native'

local M = {}

--- Seconds that a device has to answer, and its memory to be free again.
M.patience = 10

local PAUSE = 0.02            -- seconds between looks at the memory
local SLACK = 64 * 1024 ^ 2   -- bytes that may be missing: what a driver keeps is not always the same
local DEVICE = 'cuda:0'       -- a worker sees its own device alone
local BUSY = 46               -- somebody else uses it in exclusive mode, and may leave it again

local function touch()
  local backend = backends.of(DEVICE)
  local library, place = backend.library, ffi.new 'void *[1]'
  backend:choose()
  backend:check(library.device_malloc(place, 256, nil), 'the first allocation')
  local status = library.device_memset(place[0], 0, 256, nil)
  if status == 0 then status = library.device_stream_synchronize(nil) end
  library.device_free(place[0], nil)
  backend:check(status, 'the first look')
  return backend
end

local function free_bytes(backend)
  local free, total = ffi.new 'uint64_t[1]', ffi.new 'uint64_t[1]'
  backend:check(backend.library.device_memory(free, total), 'asking for its memory')
  return tonumber(free[0])
end

--- Waits until about `wanted` bytes are free.
local function wait_for_memory(backend, wanted)
  local until_when, free = native.now() + M.patience, free_bytes(backend)
  while free < wanted - SLACK do
    if native.now() > until_when then
      io.stderr:write(('farside: %s: %.0f MiB are free, %.0f MiB were before the last worker; going on\n'):format(DEVICE,
        free / 2 ^ 20, wanted / 2 ^ 20))
      return
    end
    future.sleep(PAUSE)
    free = free_bytes(backend)
  end
end

--- Looks at the device if the router says that there is a reason to. Raises what is wrong with it.
function M.run(executor)
  local wanted, is_suspect = executor:device()
  if wanted == 0 then return end
  if is_suspect then
    executor:suspects(M.patience, fault.fields { device = DEVICE,
      message = ('%s does not answer, %d s after a worker on it has ended badly'):format(DEVICE, M.patience) })
  end
  local ok, backend = pcall(touch)
  executor:suspects()
  if not ok then
    if fault.is(backend) and backend.absent == 'no_device' and backend.cuda_code ~= BUSY then fault.lose(backend) end
    error(backend, 0)
  end
  wait_for_memory(backend, wanted)
end

return M

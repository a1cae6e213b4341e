--- What the statuses of a device mean, and what becomes of a process whose device has failed.
--
--     recoverable   an error in the call, which goes on:       RemoteError, kind 'gpu' or 'gpu_memory'
--     sticky        CUDA wants another process:                GpuFault, the worker exits with 81
--     lost          so does the device:                        GpuFault, 82, nobody is given that device again
--     absent        there is none that can be used here:       an error; of a worker that starts the end, with 78
--
-- After a sticky one nothing that this process computes is worth anything, whoever has caught the error: the worker answers no
-- call any more and ends within a second, and the router tells the callers.
local ffi = require 'ffi'

local M = {}

local function set(list)
  local members = {}
  for _, code in ipairs(list) do members[code] = true end
  return members
end

-- cudaError_t in driver_types.h. Of 700 to 721 CUDA says that the process must be terminated and launched anew.
local MEMORY = 2
local BUSY = 46
local UNKNOWN = 999
local STICKY = set { 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911 }
local LOST = set { 214, 220 }
local NO_DEVICE = set { 3, BUSY, UNKNOWN, 100, 101, 102, 304, 802, 805, 806, 807, 808, 809 }
local UNSUPPORTED = set { 35, 36, 209, 222, 803, 804 }

local NO_DEVICE_EXIT = 78

--- What has happened to the device of this process for good; nil: nothing has.
---@type table?
M.mark = nil

--- Whether this worker has used a GPU.
M.is_used = false

local executor  -- of the worker that this process is, or nil
local on_use    -- what a worker does when a GPU is used for the first time

--- Errors of devices: `message`, `kind` ('gpu' or 'gpu_memory'), `cuda_code`, `cuda_name`, `device`, and of those for which
-- there is no device `absent`: 'no_device' or 'unsupported'. As a text they are their message.
local Fault = {}
Fault.__index = Fault
Fault.__name = 'farside.cuda.fault'

function Fault:__tostring()
  return self.message
end

function Fault.__concat(a, b)
  return tostring(a) .. tostring(b)
end

function M.is(value)
  return type(value) == 'table' and getmetatable(value) == Fault
end

--- Makes one, of a table of its fields.
function M.new(fields)
  fields.kind = fields.kind or 'gpu'
  return setmetatable(fields, Fault)
end

--- What a status of a device is: 'memory', 'sticky', 'lost', 'no_device', 'unsupported' or 'other'. One that has worked before
-- and is busy now was taken away, and what it says of itself that nobody knows leaves nothing to rely on.
function M.classify(code, was_used)
  if code == MEMORY then return 'memory' end
  if STICKY[code] or code == UNKNOWN and was_used then return 'sticky' end
  if LOST[code] or code == BUSY and was_used then return 'lost' end
  if UNSUPPORTED[code] then return 'unsupported' end
  return NO_DEVICE[code] and 'no_device' or 'other'
end

--- Makes this the process of a worker.
---@param first_use fun() called when it uses a GPU for the first time
function M.serve(with, first_use)
  executor, on_use = with, first_use
end

--- A GPU is used from now on. `free`: bytes of its memory.
function M.use(free)
  if M.is_used or not executor then return end
  M.is_used = true
  executor:device_free(free)
  on_use()
end

--- The fields of the GpuFault in which calls end.
function M.fields(fault)
  return { name = 'GpuFault', code = 13, message = fault.message, executed = 'maybe', retryable = false, where = 'worker',
    cuda_code = fault.cuda_code, cuda_name = fault.cuda_name, device = fault.device, sticky = true }
end

local function condemn(fault, is_lost)
  if M.mark then return end
  M.mark = fault
  if executor then executor:fault(is_lost, M.fields(fault)) end
end

--- The device has worked for another process and does not for this one: it is lost.
function M.lose(fault)
  condemn(fault, true)
end

local function versions(library)
  local driver, runtime = ffi.new 'int32_t[1]', ffi.new 'int32_t[1]'
  library.device_versions(driver, runtime)
  local function text(number) return ('%d.%d'):format(math.floor(number / 1000), number % 1000 / 10) end
  return ('the driver is for CUDA %s, the library needs %s'):format(driver[0] > 0 and text(driver[0]) or 'none',
    text(runtime[0]))
end

--- The error of a status that is not 0; what it means for the process is done. `was_used`: the device has worked before.
function M.of_status(library, device, code, what, was_used)
  local class = M.classify(code, was_used)
  local absent = (class == 'no_device' or class == 'unsupported') and class or nil
  local message = ('%s on %s: %s'):format(what, device, ffi.string(library.device_error_text(code)))
  if class == 'unsupported' then message = ('%s (%s)'):format(message, versions(library)) end
  local fault = M.new {
    message = message,
    kind = class == 'memory' and 'gpu_memory' or 'gpu',
    cuda_code = code,
    cuda_name = ffi.string(library.device_error_name(code)),
    device = device,
    absent = absent,
  }
  if class == 'sticky' or class == 'lost' then
    condemn(fault, class == 'lost')
  elseif code > 0 then
    library.device_last_error()  -- else whoever asks next is told of it again
  end
  return fault
end

--- The error of a device that this process does not see, of `count` that it sees; `reason`: why it sees none, or 0.
function M.of_absence(library, device, count, reason)
  local class = M.classify(reason)
  local message = ('expected one of the %d CUDA devices that this process may use, got %s'):format(count, device)
  if reason ~= 0 then message = ('%s: %s'):format(message, ffi.string(library.device_error_text(reason))) end
  if class == 'unsupported' then message = ('%s (%s)'):format(message, versions(library)) end
  return M.new {
    message = message,
    cuda_code = reason,
    cuda_name = reason ~= 0 and ffi.string(library.device_error_name(reason)) or nil,
    device = device,
    absent = class == 'unsupported' and class or 'no_device',
  }
end

--- Raises the error of a status.
function M.raise(...)
  error(M.of_status(...), 0)
end

--- How a worker ends that failed before it was ready: exit code and phase, if that was for want of a device.
---@return integer? code
---@return string? phase
function M.ending(err)
  if M.is(err) and err.absent then return NO_DEVICE_EXIT, err.absent end
end

-- Also one that was caught by whoever it was raised to.
local function check()
  if M.mark then error(M.mark, 0) end
end

--- Waits for all that the devices were given so far, and raises what has gone wrong there, or before. Nothing in a process that
-- uses none.
function M.settle()
  if not M.is_used then return end
  require('farside.cuda.wait').all()
  check()
end

--- The same of what a call, by its sequence, was given so far; `ends`: it has returned or raised.
function M.settle_call(sequence, ends)
  if not M.is_used then return end
  require('farside.cuda.wait').call(sequence, ends)
  check()
end

return M

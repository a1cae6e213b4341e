--- Processes of a spec: they start here only, are ended and reaped after each spec (`after_each(host.clean)`), and
--- their output is shown when one fails.
---
---   local run = host.run('client.lua')            -- to its end: run.code, .signal, .out, .err
---   local process = host.start('client.lua')      -- goes on: process:wait_for('ready'), process:kill(9), process:wait()
---   local path = host.script('name.lua', text)    -- a file in the spec's own folder
local bit = require 'bit'
local ffi = require 'ffi'

-- busted loads this file anew for each spec file; declarations stay.
if not pcall(ffi.typeof, 'spec_pollfd') then ffi.cdef [[
typedef struct { int fd; short events; short revents; } spec_pollfd;
typedef struct { long seconds, nanoseconds; } spec_timespec;
typedef struct { char opaque[128]; } spec_file_actions;
typedef struct { char opaque[512]; } spec_spawnattr;
int pipe2(int fds[2], int flags);
int close(int fd);
int poll(spec_pollfd *fds, unsigned long count, int timeout);
long read(int fd, void *bytes, size_t size);
int kill(int pid, int signal);
int waitpid(int pid, int *status, int options);
int clock_gettime(int clock, spec_timespec *time);
int posix_spawn_file_actions_init(spec_file_actions *actions);
int posix_spawn_file_actions_destroy(spec_file_actions *actions);
int posix_spawn_file_actions_adddup2(spec_file_actions *actions, int from, int to);
int posix_spawn_file_actions_addopen(spec_file_actions *actions, int fd, const char *path, int flags, int mode);
int posix_spawnp(int *pid, const char *file, const spec_file_actions *actions, const spec_spawnattr *attributes,
                 char *const arguments[], char *const environment[]);
extern char **environ;
]] end

local C = ffi.C
local kCloseOnExec, kNoHang, kKill = 0x80000, 1, 9
local kLinger, kLook = 0.2, 0.05 -- seconds

local M = {}
local started = {}

--- Seconds on the monotonic clock.
function M.now()
  local time = ffi.new 'spec_timespec'
  C.clock_gettime(1, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read '*a'
  pipe:close()
  return (text:gsub('\n$', ''))
end

M.build = output_of('realpath -m ' .. (os.getenv 'FARSIDE_BUILD' or 'build'))
M.source = output_of 'pwd -P'
M.farside = M.build .. '/farside'

local function strings(list)
  local array = ffi.new('const char *[?]', #list + 1)
  for i, text in ipairs(list) do array[i - 1] = text end
  array[#list] = nil
  return array
end

local function environment(changes)
  local list, seen = {}, {}
  for name, value in pairs(changes or {}) do
    seen[name] = true
    if value then list[#list + 1] = name .. '=' .. value end
  end
  local i = 0
  while C.environ[i] ~= nil do
    local entry = ffi.string(C.environ[i])
    if not seen[entry:match '^[^=]*'] then list[#list + 1] = entry end
    i = i + 1
  end
  return list
end

local Process = {}
Process.__index = Process

local function pipe()
  local fds = ffi.new 'int[2]'
  assert(C.pipe2(fds, kCloseOnExec) == 0)
  return fds[0], fds[1]
end

--- Starts a program: `command` is a list; options: env (false removes a variable), cwd.
function M.spawn(command, options)
  options = options or {}
  if options.cwd then
    local moved = { 'sh', '-c', 'cd "$0" && exec "$@"', options.cwd }
    for _, word in ipairs(command) do moved[#moved + 1] = word end
    command = moved
  end
  local out_read, out_write = pipe()
  local err_read, err_write = pipe()
  local actions = ffi.new 'spec_file_actions'
  C.posix_spawn_file_actions_init(actions)
  C.posix_spawn_file_actions_addopen(actions, 0, '/dev/null', 0, 0)
  C.posix_spawn_file_actions_adddup2(actions, out_write, 1)
  C.posix_spawn_file_actions_adddup2(actions, err_write, 2)
  local pid = ffi.new 'int[1]'
  local entries = environment(options.env)
  local arguments, variables = strings(command), strings(entries)
  local failed = C.posix_spawnp(pid, command[1], actions, nil, ffi.cast('char *const *', arguments),
    ffi.cast('char *const *', variables))
  C.posix_spawn_file_actions_destroy(actions)
  C.close(out_write)
  C.close(err_write)
  assert(failed == 0, ('%s could not be started: error %d'):format(command[1], failed))
  local process = setmetatable({
    pid = pid[0], command = table.concat(command, ' '), out = '', err = '', fds = { out = out_read, err = err_read },
  }, Process)
  started[#started + 1] = process
  return process
end

--- Starts `farside run SCRIPT ...`; options as for spawn, and args.
function M.start(script, options)
  local command = { M.farside, 'run', script }
  for _, word in ipairs(options and options.args or {}) do command[#command + 1] = word end
  return M.spawn(command, options)
end

--- Runs `farside run SCRIPT ...` to its end, which must come within options.seconds (20).
function M.run(script, options)
  local process = M.start(script, options)
  process:wait(options and options.seconds or 20)
  return process
end

--- Runs a program to its end.
function M.run_program(command, options)
  local process = M.spawn(command, options)
  process:wait(options and options.seconds or 20)
  return process
end

local buffer = ffi.new('char[?]', 65536)

-- Reads what has come, waiting at most `seconds` for something. False: both ends are closed.
function Process:_read(seconds)
  local fds, names = ffi.new 'spec_pollfd[2]', {}
  for name, fd in pairs(self.fds) do
    fds[#names].fd, fds[#names].events = fd, 1
    names[#names + 1] = name
  end
  if #names == 0 then return false end
  C.poll(fds, #names, math.max(0, math.ceil(seconds * 1000)))
  for i, name in ipairs(names) do
    if fds[i - 1].revents ~= 0 then
      local size = tonumber(C.read(self.fds[name], buffer, 65536))
      if size > 0 then
        self[name] = self[name] .. ffi.string(buffer, size)
      else
        C.close(self.fds[name])
        self.fds[name] = nil
      end
    end
  end
  return true
end

function Process:_reap(options)
  if self.ended then return true end
  local status = ffi.new 'int[1]'
  if C.waitpid(self.pid, status, options) ~= self.pid then return false end
  self.ended = true
  local signal = bit.band(status[0], 0x7f)
  if signal ~= 0 then
    self.signal = signal
  else
    self.code = bit.band(bit.rshift(status[0], 8), 0xff)
  end
  return true
end

function Process:_explain(what)
  error(('%s\n  command: %s\n  stdout: %s\n  stderr: %s'):format(what, self.command, self.out, self.err), 3)
end

--- Waits until stdout, or stderr, matches the pattern; returns its captures.
function Process:wait_for(pattern, seconds)
  local deadline = M.now() + (seconds or 20)
  while true do
    local open = self:_read(0)
    local found = { (self.out .. '\n' .. self.err):match(pattern) }
    if found[1] then return unpack(found) end
    if not open then self:_explain(('it ended without "%s"'):format(pattern)) end
    if M.now() > deadline then self:_explain(('no "%s" within %g s'):format(pattern, seconds or 20)) end
    self:_read(deadline - M.now())
  end
end

--- Waits for the end of the process and of its output; what holds the output open after it gets a moment, no more.
function Process:wait(seconds)
  local deadline = M.now() + (seconds or 20)
  while next(self.fds) or not self.ended do
    if not self.ended and self:_reap(kNoHang) then deadline = M.now() + kLinger end
    local left = deadline - M.now()
    if left <= 0 then
      if self.ended then break end
      self:_explain(('it did not end within %g s'):format(seconds or 20))
    end
    if not self:_read(math.min(left, kLook)) then C.poll(nil, 0, 1) end
  end
  return self
end

--- Sends a signal (15).
function Process:kill(signal)
  assert(not self.ended, 'the process has ended')
  C.kill(self.pid, signal or 15)
end

--- The state of any process: nil when it is gone, "Z" for one that only waits to be reaped.
function M.state(pid)
  local file = io.open(('/proc/%d/stat'):format(pid))
  if not file then return nil end
  local text = file:read '*a'
  file:close()
  return text and text:match '^.*%) (%a)'
end

--- Whether a process runs (one that waits to be reaped does not).
function M.alive(pid)
  local state = M.state(pid)
  return state ~= nil and state ~= 'Z' and state ~= 'X'
end

--- Pids of the workers of a process, in the order in which they were started.
function M.workers(pid)
  local list = {}
  for child in output_of(('cat /proc/%d/task/*/children 2>/dev/null'):format(pid)):gmatch '%d+' do
    local file = io.open('/proc/' .. child .. '/cmdline')
    if file then
      if file:read('*a'):match '^[^%z]*farside%zworker' then list[#list + 1] = tonumber(child) end
      file:close()
    end
  end
  table.sort(list)
  return list
end

--- Waits until `condition()` holds and returns what it returned; fails after `seconds`.
function M.eventually(condition, seconds, what)
  local deadline = M.now() + (seconds or 5)
  while true do
    local value = condition()
    if value then return value end
    if M.now() > deadline then error(('not within %g s: %s'):format(seconds or 5, what or 'the condition'), 2) end
    C.poll(nil, 0, 2)
  end
end

--- Lets time pass, where the passing of time is what a spec is about.
function M.pause(seconds)
  C.poll(nil, 0, math.floor(seconds * 1000))
end

--- The spec's own folder, made when first asked for and removed after the spec.
function M.folder()
  M._folder = M._folder or output_of 'mktemp -d'
  return M._folder
end

--- Writes a file into the spec's folder and returns its path.
function M.script(name, text)
  local path = M.folder() .. '/' .. name
  local file = assert(io.open(path, 'w'))
  file:write(text)
  file:close()
  return path
end

--- The same of a client, which finds farside and the deploy script, in `d`, at hand. Both lie in the spec's own folder.
function M.client(deploy, text)
  M.script('deploy.lua', deploy)
  return M.script('client.lua', [[
    package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path
    local farside = require 'farside'
    local d = require 'deploy'
  ]] .. text)
end

--- Fails unless a client of the deploy script prints this, nothing on stderr, and ends well.
function M.prints(expected, deploy, text)
  local process = M.run(M.client(deploy, text))
  require 'luassert'.same({ out = expected, code = 0, err = '' }, { out = process.out, code = process.code, err = process.err })
end

--- Ends and reaps what the spec started. Called after each spec.
function M.clean()
  for _, process in ipairs(started) do
    if not process:_reap(kNoHang) then
      C.kill(process.pid, kKill)
      process:_reap(0)
    end
    for _, fd in pairs(process.fds) do C.close(fd) end
    process.fds = {}
  end
  started = {}
  if M._folder then
    os.execute('rm -rf ' .. M._folder)
    M._folder = nil
  end
end

return M

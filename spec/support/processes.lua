--- Finds the processes that a spec run started, also those whose parent has died.
-- A process belongs to the run if the environment it was started with carries the run's mark
-- (FARSIDE_SPEC_RUN, set by spec/run) or if a chain of parents leads from it to this process.
local ffi = require 'ffi'
local lfs = require 'lfs'

ffi.cdef [[ int kill(int pid, int signal); ]]

local SIGKILL = 9

local M = {}

local function read(path)
  local file = io.open(path, 'rb')
  if not file then return nil end
  local text = file:read('*a')
  file:close()
  return text
end

-- The state and the parent stand behind the command, which may itself hold spaces and parentheses.
local function state_and_parent(pid)
  local stat = read('/proc/' .. pid .. '/stat')
  if not stat then return nil end
  local state, parent = stat:match('.*%) (%a) (%d+)')
  return state, tonumber(parent)
end

local function is_marked(pid, mark)
  local environment = mark and read('/proc/' .. pid .. '/environ')
  return environment ~= nil and environment:find('FARSIDE_SPEC_RUN=' .. mark .. '\0', 1, true) ~= nil
end

local function is_below(pid, ancestor, parents)
  local parent = parents[pid]
  while parent and parent > 1 do
    if parent == ancestor then return true end
    parent = parents[parent]
  end
  return false
end

local function command_line(pid)
  local text = read('/proc/' .. pid .. '/cmdline') or ''
  return (text:gsub('%z+$', ''):gsub('%z', ' '))
end

-- A zombie (Z) and a dead process (X) run no more; who reaps them, and when, is not the run's business.
local function living_parents()
  local parents = {}
  for name in lfs.dir('/proc') do
    local pid = tonumber(name)
    if pid then
      local state, parent = state_and_parent(pid)
      if state and not state:find('[ZXx]') then parents[pid] = parent end
    end
  end
  return parents
end

--- This process's id.
function M.self()
  return tonumber(read('/proc/self/stat'):match('^%d+'))
end

--- Lists the living processes of the run, without this one, as { pid =, command = }.
---@param mark string? the value of FARSIDE_SPEC_RUN
function M.of_run(mark)
  local self, parents, found = M.self(), living_parents(), {}
  for pid in pairs(parents) do
    if pid ~= self and (is_below(pid, self, parents) or is_marked(pid, mark)) then
      found[#found + 1] = { pid = pid, command = command_line(pid) }
    end
  end
  return found
end

--- Ends a process at once.
function M.kill(pid)
  ffi.C.kill(pid, SIGKILL)
end

return M

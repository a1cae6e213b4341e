--- Which router, and which of its deployments, a command is about.
--
--     --router unix:PATH      that one; else FARSIDE_ROUTER; else the sockets of this user's folder
--     --deployment NAME:TAG   the router that serves it; else the only one there is
local Error = require 'farside.error'
local native = require 'farside.native'

local M = {}

M.NOBODY = 69  -- exit code: no router is there
local USAGE = 64
local PATIENCE = 5  -- seconds for an answer
-- ENOENT, ECONNRESET, ECONNREFUSED: what a router that is gone has left.
local GONE = { [2] = true, [104] = true, [111] = true }

function M.declare(parser)
  parser:option('--router', 'The router with this socket, instead of all of yours.'):argname 'unix:PATH'
  parser:option('-d --deployment', 'The deployment it is about, where there are several.'):argname 'NAME[:TAG]'
end

--- NAME and TAG, which is 'default' where it is left out.
function M.split(text)
  local name, tag = text:match('^([^:]+):([^:]+)$')
  return name or text, tag or 'default'
end

function M.full_name(deployment)
  return deployment.tag == 'default' and deployment.name or deployment.name .. ':' .. deployment.tag
end

--- What an error from a router says.
function M.text_of(err)
  return type(err) == 'table' and (err.message or err.name) or tostring(err)
end

local function forced(given)
  local router = given.router or os.getenv('FARSIDE_ROUTER')
  if router and router ~= '' and router ~= 'embedded' then return router end
end

--- A connection and what the router says of itself; nil, error.
local function open(address)
  local operator, err = native.operator(address, PATIENCE)
  if not operator then return nil, err end
  local status
  status, err = operator:request('status', nil, PATIENCE)
  if not status then
    operator:close()
    return nil, err
  end
  return { operator = operator, status = status, address = address }
end

-- Where a router that has listened at an address does so while it drains, as host/io/address.h has it.
local function ending_of(address)
  return (address:gsub('%.sock$', '')) .. '.ending.sock'
end

local function addresses(given)
  local router = forced(given)
  if router then return { router } end
  local list, err = native.sockets()
  return list, err and M.text_of(err)
end

-- Nobody is there, as far as can be told: that is no problem, unless this one was asked for.
local function is_nobody(err)
  return err.name == 'ConnectFailed' and GONE[err.errno]
end

--- All routers there are, each once, and what went wrong with others. One that is there and does not answer is among those.
---@return table? routers { operator, status, address }
---@return string[]|string problems
function M.all(given)
  local list, problem = addresses(given)
  if not list then return nil, problem end
  local routers, problems, seen = {}, {}, {}
  for _, address in ipairs(list) do
    local router, err = open(address)
    if not router and forced(given) and is_nobody(err) then router = open(ending_of(address)) end
    if router and seen[router.status.pid] then
      router.operator:close()
    elseif router then
      seen[router.status.pid] = true
      routers[#routers + 1] = router
    elseif forced(given) or not is_nobody(err) then
      local text = M.text_of(err)
      problems[#problems + 1] = text:find(address, 1, true) and text or ('%s: %s'):format(address, text)
    end
  end
  return routers, problems
end

function M.close(routers)
  for _, router in ipairs(routers) do router.operator:close() end
end

--- The deployments of some routers, as { router =, deployment = }, those only that are asked for.
function M.deployments(routers, given)
  local name, tag
  if given.deployment then name, tag = M.split(given.deployment) end
  local found = {}
  for _, router in ipairs(routers) do
    for _, deployment in ipairs(router.status.deployments) do
      if not name or deployment.name == name and deployment.tag == tag then
        found[#found + 1] = { router = router, deployment = deployment }
      end
    end
  end
  return found
end

function M.is_draining(router)
  return router.status.state == 'draining'
end

-- Those of routers that serve, if there are any: the others let no call in.
local function serving(found)
  local list = {}
  for _, entry in ipairs(found) do
    if not M.is_draining(entry.router) then list[#list + 1] = entry end
  end
  return #list > 0 and list or found
end

-- Without those of routers that drain and have a successor. One that drains and has none stays: who names no deployment may
-- mean it, and what is meant is not guessed from what else is served here.
local function current(found)
  local served, list = {}, {}
  for _, entry in ipairs(found) do
    if not M.is_draining(entry.router) then served[M.full_name(entry.deployment)] = true end
  end
  for _, entry in ipairs(found) do
    if not M.is_draining(entry.router) or not served[M.full_name(entry.deployment)] then list[#list + 1] = entry end
  end
  return list
end

local function names_of(found)
  local names = {}
  for i, entry in ipairs(found) do names[i] = M.full_name(entry.deployment) end
  return table.concat(names, ', ')
end

--- Why no deployment was found.
---@return integer code
---@return string problem
function M.nobody(routers, problems, given)
  if problems[1] then return M.NOBODY, table.concat(problems, '\n') end
  if #routers == 0 then
    return M.NOBODY, "no router is there; 'farside serve SCRIPT' starts one"
  end
  return M.NOBODY, ("no deployment '%s' is served; there are: %s"):format(given.deployment,
    names_of(M.deployments(routers, {})))
end

--- The one deployment that a command is about, { router =, deployment = }. `fits(entry)`, which may be left out, picks
--- among several. Its router is to be closed.
---@return table? entry
---@return integer? code
---@return string? problem
function M.one(given, fits)
  local routers, problems = M.all(given)
  if not routers then return nil, M.NOBODY, problems end
  local found = current(M.deployments(routers, given))
  if #found == 0 then
    M.close(routers)
    return nil, M.nobody(routers, problems, given)
  end
  local fitting = found
  if fits and #found > 1 then
    fitting = {}
    for _, entry in ipairs(found) do
      if fits(entry) then fitting[#fitting + 1] = entry end
    end
    fitting = serving(#fitting > 0 and fitting or found)
  end
  if #fitting > 1 then
    M.close(routers)
    return nil, USAGE, ('there are several: %s; choose one with --deployment'):format(names_of(fitting))
  end
  for _, router in ipairs(routers) do
    if router ~= fitting[1].router then router.operator:close() end
  end
  return fitting[1]
end

--- The one router that a command is about. `is_final`: the command cannot be taken back, so that one that does not answer
--- counts too, unless a name says that another one is meant.
function M.one_router(given, is_final)
  local routers, problems = M.all(given)
  if not routers then return nil, M.NOBODY, problems end
  if is_final and problems[1] and #routers > 0 and not given.deployment then
    M.close(routers)
    problems[#problems + 1] = ('there are others, with %s; choose one by its name'):format(names_of(M.deployments(routers, given)))
    return nil, M.NOBODY, table.concat(problems, '\n')
  end
  local found = current(M.deployments(routers, given))
  local one
  for _, entry in ipairs(found) do
    if one and one ~= entry.router then
      M.close(routers)
      return nil, USAGE, ('there are several routers, with %s; choose one with --deployment'):format(names_of(found))
    end
    one = entry.router
  end
  if not one then
    M.close(routers)
    return nil, M.nobody(routers, problems, given)
  end
  for _, router in ipairs(routers) do
    if router ~= one then router.operator:close() end
  end
  return one
end

--- Asks about a deployment. Returns the answer; nil, code, problem.
function M.ask(entry, request, options, timeout)
  options = options or {}
  if entry.deployment then options.deployment, options.tag = entry.deployment.name, entry.deployment.tag end
  local answer, err = entry.router.operator:request(request, options, timeout or PATIENCE)
  if answer ~= nil then return answer end
  return nil, 1, Error.is_error(err) and Error.report(err) or M.text_of(err)
end

return M

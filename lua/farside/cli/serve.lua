--- farside serve SCRIPT...: the router as a process of its own, for many clients and several deployments.
local Error = require 'farside.error'
local attributes = require 'farside.attributes'
local check = require 'farside.check'
local deployments = require 'farside.deployment'
local names = require 'farside.names'
local native = require 'farside.native'

local FAILED, USAGE, IN_USE, CONFIGURATION, SIGNAL = 1, 64, 73, 78, 128

local function say(message)
  io.stderr:write('farside: ', message, '\n')
end

local function text_of(err)
  return Error.is_error(err) and Error.report(err) or tostring(err)
end

--- Loads a deploy script and returns the deployments it declares.
local function load(script)
  local chunk, problem = attributes.loadfile(script)
  if not chunk then error(problem, 0) end
  local returned = names.run_file(chunk, script)
  local found = deployments.of_file(script)
  if #found == 0 then
    error(('%s: expected a script that declares a deployment (farside.deployment{...}), got none'):format(script), 0)
  end
  for _, deployment in ipairs(found) do
    deployment.returned = returned
    deployment:finish()
  end
  return found
end

local function load_all(scripts)
  require 'farside'
  deployments.phase = 'loading'  -- the scripts may hold their clients' code too, which is not run here
  local all = {}
  for _, script in ipairs(scripts) do
    for _, deployment in ipairs(load(script)) do all[#all + 1] = deployment end
  end
  return all
end

local function describe(deployment)
  local functions, contexts = {}, {}
  for i, remote in ipairs(deployment.functions) do functions[i] = remote:description() end
  for i, context in ipairs(deployment.contexts.list) do contexts[i] = context.name end
  return {
    name = deployment.name,
    tag = deployment.tag,
    version_label = deployment.version_label,
    hash = deployment.bundle.hash,
    file = deployment.file,
    functions = functions,
    classes = check.sorted_keys(deployment.classes),
    contexts = contexts,
  }
end

--- Takes the sockets of all deployments, before anything is started.
---@return integer? code why this cannot go on
local function claim_all(server, all, listen)
  local path = listen and listen:gsub('^unix:', '')
  for _, deployment in ipairs(all) do
    local number, found = server:claim(deployment.name, deployment.tag, path)
    if not number then
      if not found.in_use then
        say(text_of(Error.new(found)))
        return CONFIGURATION
      end
      local holder = found.holder and ('process %d'):format(found.holder) or 'another process'
      say(("'%s' (tag %s) is served by %s already, which can be ended with: farside stop %s"):format(deployment.name,
        deployment.tag, holder, deployment.name))
      return IN_USE
    end
    deployment.served, deployment.path = number, found
  end
end

local function deploy_all(server, all)
  for _, deployment in ipairs(all) do
    deployment.follows_load = true
    deployment.bundle.renew = 'end farside serve and serve again'
    local specification = deployment:specification()
    specification.ttl = deployment.ttl
    specification.names = {}
    for i, remote in ipairs(deployment.functions) do specification.names[i] = remote.name end
    specification.description = describe(deployment)
    local ok, err = server:deploy(deployment.served, specification)
    if not ok then
      say(text_of(Error.new(err)))
      return CONFIGURATION
    end
    say(("'%s' (tag %s) is served at unix:%s"):format(deployment.name, deployment.tag, deployment.path))
  end
end

--- Answers Prometheus at a loopback address.
local function listen_http(server, address)
  if not address then return nil end
  local port, err = server:metrics(address)
  if not port then
    say('--metrics: ' .. text_of(Error.new(err)))
    return CONFIGURATION
  end
  say(('metrics are at http://%s:%d/metrics'):format(address:match('^(.*):'), port))
end

--- Writes what calls come into a file.
local function record(server, path)
  local ok, err = true, nil
  if path then ok, err = server:record(path) end
  if ok then return nil end
  say('--record: ' .. text_of(Error.new(err)))
  return CONFIGURATION
end

local function serve(all, given)
  local server, err = native.serve()
  if not server then
    say(text_of(Error.new(err)))
    return FAILED
  end
  if given.memory then server:memory(given.memory) end
  local code = claim_all(server, all, given.listen) or listen_http(server, given.metrics)
    or record(server, given.record) or deploy_all(server, all)
  if not code then
    local signal = server:run()
    code = signal == 0 and 0 or SIGNAL + signal
  end
  server:close()
  return code
end

local M = {}

M.description = 'Serves the deployments of deploy scripts to many clients: one router, in this process, each deployment on a ' ..
  'unix socket of its own, which clients that load the same script find by themselves. SIGTERM or Ctrl-C lets calls in ' ..
  'progress finish (30 s), a second one ends it at once.'
M.epilog = [[
Examples:
   farside serve deploy.lua
   farside serve --metrics 127.0.0.1:9464 square.lua words.lua
   FARSIDE_ROUTER=unix:/run/square.sock farside run client.lua]]

function M.declare(parser)
  parser:argument('scripts', 'The deploy scripts.'):argname 'SCRIPT':args '+'
  parser:option('--listen', 'Listen there instead; for one deployment.'):argname 'unix:PATH'
  parser:option('--record', 'Write the calls that end into a file, which farside simulate reads.'):argname 'FILE'
  parser:option('--memory', 'Hold at most so many bytes of arguments and results (512MiB, 4GiB); default: half of the memory there is.')
    :argname 'SIZE'
  parser:option('--metrics', 'Also answer GET /metrics and /healthz over HTTP at this loopback address, for Prometheus.')
    :argname 'ADDRESS:PORT'
end

local LEAST = 2 ^ 20  -- bytes to serve with

function M.run(given)
  if given.memory then
    local bytes = check.bytes(given.memory)
    if not bytes or bytes < LEAST then
      return USAGE, ('--memory: expected a size of 1MiB at least, such as 512MiB or 4GiB, got %s'):format(given.memory)
    end
    given.memory = bytes
  end
  if given.listen and not given.listen:find '^unix:/.' then
    return USAGE, ('--listen: expected unix:PATH with an absolute path, got %s'):format(given.listen)
  end
  attributes.install()
  local ok, all = pcall(load_all, given.scripts)
  if not ok then return FAILED, text_of(all) end
  if given.listen and #all > 1 then return USAGE, ('--listen: expected one deployment, got %d'):format(#all) end
  return serve(all, given)
end

return M

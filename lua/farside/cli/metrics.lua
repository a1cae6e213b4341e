--- farside metrics: what a router has counted, as Prometheus reads it.
local json = require 'farside.cli.json'
local native = require 'farside.native'
local routers = require 'farside.cli.routers'

local M = {}

M.description = "Prints a router's metrics in Prometheus' text format: calls by outcome, histograms of the time they " ..
  'waited, ran and travelled, workers, scores, starts and deaths. Prometheus itself reads them from the same socket or, ' ..
  'with farside serve --metrics, over loopback.'
M.epilog = [[
Examples:
   farside metrics
   curl --unix-socket $XDG_RUNTIME_DIR/farside/*.sock http://localhost/metrics]]

function M.declare(parser)
  routers.declare(parser)
  parser:flag('--json', 'As JSON: a list of families.')
end

local function labels_of(text)
  local labels, at = native.map {}, 1
  while true do
    local name, from = text:match('([%a_][%w_]*)="()', at)
    if not name then return labels end
    local to = from
    while text:sub(to, to) ~= '"' do to = to + (text:sub(to, to) == '\\' and 2 or 1) end
    labels[name] = text:sub(from, to - 1):gsub('\\(.)', function(c) return c == 'n' and '\n' or c end)
    at = to + 1
  end
end

--- Families as { name, type, help, samples = { { name, labels, value } } }, of the text that a router writes.
function M.parse(text)
  local families = {}
  for line in text:gmatch('[^\n]+') do
    local word, name, rest = line:match('^# (%u+) (%S+) (.*)$')
    if word == 'HELP' then
      families[#families + 1] = { name = name, help = rest, samples = {} }
    elseif word == 'TYPE' then
      families[#families].type = rest
    else
      local sample, labels, value = line:match('^([%w_:]+)(.-) (%S+)$')
      table.insert(families[#families].samples, { name = sample, labels = labels_of(labels), value = tonumber(value) })
    end
  end
  return families
end

function M.run(given)
  local router, code, problem = routers.one_router(given)
  if not router then return code, problem end
  local text
  text, code, problem = routers.ask({ router = router }, 'metrics')
  router.operator:close()
  if not text then return code, problem end
  io.write(given.json and json.encode(M.parse(text), true) .. '\n' or text)
end

return M

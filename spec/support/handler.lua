--- A busted output handler: busted's own for the terminal at hand, then one line `N passed, N failed, N skipped`.
-- A run in which no spec passed or failed is a failure, so that a wrong filter or a moved folder does not look green.
local term = require 'term'

local exit_code = { passed = 0, failed = 1 }

local function write_summary(line)
  print(line)
  local path = os.getenv('FARSIDE_SPEC_SUMMARY')
  if not path then return end
  local file = assert(io.open(path, 'w'))
  file:write(line, '\n')
  file:close()
end

return function(options)
  local busted = require 'busted'
  local name = term.isatty(io.stdout) and 'utfTerminal' or 'plainTerminal'
  local handler = require('busted.outputHandlers.' .. name)(options)
  local passed, failed, skipped = 0, 0, 0

  -- Each repetition of --repeat sets busted's own counts back to zero.
  local function add()
    passed = passed + handler.successesCount
    failed = failed + handler.failuresCount + handler.errorsCount
    skipped = skipped + handler.pendingsCount
    return nil, true
  end

  local function finish()
    if passed + failed == 0 then
      print('No spec was run.')
      failed = 1
    end
    write_summary(('%d passed, %d failed, %d skipped'):format(passed, failed, skipped))
    io.stdout:flush()
    os.exit(failed == 0 and exit_code.passed or exit_code.failed, true)
  end

  busted.subscribe({ 'suite', 'end' }, add)
  busted.subscribe({ 'exit' }, finish)
  return handler
end

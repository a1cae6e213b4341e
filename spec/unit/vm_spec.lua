local program = require 'spec.support.program'

describe('a Lua state', function()
  program.checks('check_vm')
end)

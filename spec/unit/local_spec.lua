local program = require 'spec.support.program'

describe('local workers', function()
  program.checks('check_devices')
  program.checks('check_local')
  program.checks('check_spawn')
end)

local program = require 'spec.support.program'

describe('local workers', function()
  program.checks('check_devices')
  program.checks('check_local')
end)

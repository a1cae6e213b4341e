local program = require 'spec.support.program'

describe('an interruption', function()
  program.checks('check_interrupt')
end)

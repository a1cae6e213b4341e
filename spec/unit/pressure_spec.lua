local program = require 'spec.support.program'

describe('the pressure on memory', function()
  program.checks('check_pressure')
end)

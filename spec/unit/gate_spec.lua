local program = require 'spec.support.program'

describe('the gate of a router', function()
  program.checks('check_gate')
end)

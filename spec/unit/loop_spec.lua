local program = require 'spec.support.program'

describe('the loop', function()
  program.checks('check_loop')
end)

local program = require 'spec.support.program'

describe('an address', function()
  program.checks('check_address')
end)

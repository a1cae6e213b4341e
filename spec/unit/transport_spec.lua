local program = require 'spec.support.program'

describe('a transport', function()
  program.checks('check_transport')
end)

local program = require 'spec.support.program'

describe('the core of a client', function()
  program.checks('check_client')
end)

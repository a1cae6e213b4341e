local program = require 'spec.support.program'

describe('the core', function()
  program.checks('check_payload')
end)

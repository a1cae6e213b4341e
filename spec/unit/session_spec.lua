local program = require 'spec.support.program'

describe('an embedded router', function()
  program.checks('check_session')
end)

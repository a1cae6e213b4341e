local program = require 'spec.support.program'

describe('errors', function()
  program.checks('check_error')
end)

local program = require 'spec.support.program'

describe('a connection to a served router', function()
  program.checks('check_connection')
end)

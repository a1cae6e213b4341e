local program = require 'spec.support.program'

describe('a worker process', function()
  program.checks('check_process')
end)

local program = require 'spec.support.program'

describe('the queue', function()
  program.checks('check_queue')
end)

local program = require 'spec.support.program'

describe('a record of calls', function()
  program.checks('check_record')
end)

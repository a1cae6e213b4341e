local program = require 'spec.support.program'

describe('a hash', function()
  program.checks('check_hash')
end)

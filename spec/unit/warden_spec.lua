local program = require 'spec.support.program'

describe('a warden', function()
  program.checks('check_warden')
end)

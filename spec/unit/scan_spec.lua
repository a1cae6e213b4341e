local program = require 'spec.support.program'

describe('a scan', function()
  program.checks('check_scan')
end)

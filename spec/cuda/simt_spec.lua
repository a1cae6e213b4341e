local program = require 'spec.support.program'

describe('a kernel on the processor', function()
  program.checks('check_simt')
end)

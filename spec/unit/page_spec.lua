local program = require 'spec.support.program'

describe('a shared page', function()
  program.checks('check_page')
end)

local program = require 'spec.support.program'

describe('the balance', function()
  program.checks('check_balance')
end)

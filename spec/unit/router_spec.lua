local program = require 'spec.support.program'

describe('the router', function()
  program.checks('check_router')

  describe('and its workers:', function()
    program.checks('check_router_worker')
  end)
end)

local program = require 'spec.support.program'

describe('the router', function()
  program.checks('check_router')
  program.checks('check_router_ahead')
  program.checks('check_router_assign')
  program.checks('check_router_batch')
  program.checks('check_router_fair')
  program.checks('check_router_finish')
  program.checks('check_router_recycle')
  program.checks('check_router_retry')
  program.checks('check_router_scale')
  program.checks('check_router_score')
  program.checks('check_router_stream')

  describe('and its workers:', function()
    program.checks('check_router_worker')
  end)
end)

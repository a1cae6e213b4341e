local program = require 'spec.support.program'

describe('the router, with idempotency keys,', function()
  program.checks('check_router_key')
end)

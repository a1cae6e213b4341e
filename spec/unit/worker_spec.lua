local program = require 'spec.support.program'

describe("the worker's half of the protocol", function()
  program.checks('check_worker')
end)

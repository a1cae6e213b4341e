local program = require 'spec.support.program'

describe('the autoscaler', function()
  program.checks('check_autoscale')
end)

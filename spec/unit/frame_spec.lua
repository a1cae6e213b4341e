local program = require 'spec.support.program'

describe('frames', function()
  program.checks('check_frame')
  program.checks('check_refusal')
end)

describe('a million hostile frames', function()
  program.checks('check_hostile')
end)

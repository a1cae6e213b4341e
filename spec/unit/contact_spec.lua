local program = require 'spec.support.program'

describe('the contact of a client with a served router', function()
  program.checks('check_contact')
end)

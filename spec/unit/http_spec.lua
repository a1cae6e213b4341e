local program = require 'spec.support.program'

describe('pages over HTTP', function()
  program.checks('check_http')
end)

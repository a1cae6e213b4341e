local program = require 'spec.support.program'

describe('the files of a deployment', function()
  program.checks('check_files')
end)

local program = require 'spec.support.program'

describe('a codec that is short of memory', function()
  program.checks('check_codec_memory')
end)

local program = require 'spec.support.program'

describe('a program in C', function()
  program.checks('check_embed', { EMBED_DEPLOY = 'spec/support/embed.lua' })
end)

-- Each example is run as its README says.
local host = require 'spec.support.host'

local function example(name)
  return host.run_program({ 'examples/run', name }, { seconds = 120 })
end

describe('the example', function()
  after_each(host.clean)

  it('square prints 25 and then a rate', function()
    local process = example 'square'
    assert.equal(0, process.code, process.err)
    assert.truthy(process.out:match '^25\n', process.out)
    assert.truthy(process.out:match 'calls', process.out)
  end)

  it('one_file is deploy script and client in one', function()
    local process = example 'one_file'
    assert.equal(0, process.code, process.err)
    assert.truthy(#process.out > 0)
  end)

  it('word_count answers from the state that its context loaded', function()
    local process = example 'word_count'
    assert.equal(0, process.code, process.err)
    assert.truthy(#process.out > 0)
  end)

  it('stream prints words as they come', function()
    local process = example 'stream'
    assert.equal(0, process.code, process.err)
    assert.truthy(process.out:match '^the %l+ %l+ %l+ %l+ %l+ %l+ %l+ %l+\n%l+\t%l+\n', process.out)
    assert.truthy(process.err:find('3 of 3', 1, true), process.err)
  end)

  it('errors catches and inspects what a worker raised', function()
    local process = example 'errors'
    assert.equal(0, process.code, process.err)
    assert.truthy(#process.out > 0)
  end)

  it('embed calls from C, through a thread and through poll, and cancels', function()
    local process = example 'embed'
    assert.equal(0, process.code, process.err)
    assert.truthy(process.out:match '^square%(5%) through the thread: 25\nnap%(30%) cancelled by a thread: Cancelled, executed %a+\nsquare%(5%) through poll: 25\n$',
      process.out .. process.err)
  end)
end)

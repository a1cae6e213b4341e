-- Which arguments of a function with `device = true` are brought to a device, and what they are then.
local arrival = require 'farside.tensor.arrival'
local backends = require 'farside.tensor.backend'
local devices = require 'spec.support.devices'
local libraries = require 'farside.cuda.library'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local DEVICE = devices.make_up 'cuda:6'

local function move(...) return arrival.move(DEVICE, ...) end

describe('arguments', function()
  it('are on the device, with their elements, also as views', function()
    local x = tensor.from({ { 1, 2 }, { 3, 4 } })
    local a, b = move(x, x:transpose())
    assert.same({ DEVICE, DEVICE, 'cpu' }, { a.device, b.device, x.device })
    assert.same({ { 1, 2 }, { 3, 4 } }, a:table())
    assert.same({ { 1, 3 }, { 2, 4 } }, b:table())
    assert.equal(a, (move(a)))
    assert.equal('cpu', arrival.move('cpu', a).device)
  end)

  it('that are other values stay as they are, nils and all', function()
    local list = { 1, { 2 } }
    assert.same({ 4, nil, 5, list, nil }, { select('#', move(nil, 5, list, nil)), move(nil, 5, list, nil) })
    assert.equal(list, (move(list)))
    assert.equal(0, select('#', move()))
  end)

  it('are brought in tables of any depth, which stay what they were to the caller', function()
    local class = { __index = { width = 3 } }
    local plain = { 1, 2 }
    local given = { batch = { { x = tensor.ones { 2 } }, { x = 7 } }, plain = plain,
      model = setmetatable({ w = tensor.zeros { 1 } }, class) }
    local got = move(given)
    assert.equal(DEVICE, got.batch[1].x.device)
    assert.equal(7, got.batch[2].x)
    assert.equal(plain, got.plain)
    assert.same({ DEVICE, 3, class }, { got.model.w.device, got.model.width, getmetatable(got.model) })
    assert.same({ 'cpu', 'cpu' }, { given.batch[1].x.device, given.model.w.device })
  end)

  it('may be tables in a ring', function()
    local ring = { x = tensor.ones { 1 } }
    ring.again = ring
    assert.equal(DEVICE, move(ring).x.device)
  end)
end)

describe('a function', function()
  it('gets its arguments on the device that it names', function()
    local entry = arrival.bring(function(x, ...) return x.device, select('#', ...) end, DEVICE)
    assert.same({ DEVICE, 2 }, { entry(tensor.ones { 1 }, nil, nil) })
  end)

  it('gets them on that of its process: a GPU where there is one, else the processor', function()
    local entry = arrival.bring(function(x) return x.device end, true)
    assert.equal(tensor.device(), entry(tensor.ones { 1 }))
    local before = backends.find 'cuda:0'
    if before then return end
    assert.equal('cpu', tensor.device())
    backends.put('cuda:0', assert(libraries.open 'cpu'))
    assert.same({ 'cuda:0', 'cuda:0' }, { tensor.device(), entry(tensor.ones { 1 }) })
    collectgarbage()
    storages.forget 'cuda:0'
    backends.put('cuda:0', nil)
    assert.equal('cpu', tensor.device())
  end)

  it('names a device that is not there', function()
    local ok, problem = pcall(arrival.bring(function() end, 'cuda:77'), tensor.ones { 1 })
    assert.is_false(ok)
    assert.truthy(tostring(problem):find 'cuda', problem)
  end)
end)

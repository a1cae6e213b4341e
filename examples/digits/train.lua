-- Trains the network that deploy.lua serves, in a few seconds on a processor:
--
--     farside run examples/digits/train.lua [network.safetensors]
--
-- 64 pixels -> 64 hidden values, cut off at zero -> 10 scores. Its gradients are worked out by hand, layer by layer.
package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local data = require 'data'
local tensor = require 'farside.tensor'

local EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 40, 64, 0.1, 0.9, 5e-4
local PIXELS, HIDDEN, DIGITS = 64, 64, 10

local folder = arg[0]:match '^.*/' or './'
local device = tensor.device()
local rng = tensor.random(1)

-- Random weights as large as lets signals pass through a layer with their strength; biases of zero.
local function new_layer(inputs, outputs)
  local deviation = math.sqrt(2 / inputs)
  return rng:normal({ inputs, outputs }, { deviation = deviation, device = device }), tensor.zeros({ outputs }, 'f32', device)
end

local network, speed = {}, {}
network.w1, network.b1 = new_layer(PIXELS, HIDDEN)
network.w2, network.b2 = new_layer(HIDDEN, DIGITS)
for name, weights in pairs(network) do speed[name] = tensor.zeros(weights.shape, 'f32', device) end

local function forward(x)
  local hidden = x:matmul(network.w1, { bias = network.b1, activation = 'relu' })
  return hidden:matmul(network.w2, { bias = network.b2 }), hidden
end

-- By how much each weight changes the loss, the mean of -log(probability of the right digit).
local function gradients(x, right)
  local scores, hidden = forward(x)
  local at_scores = (scores:softmax() - right) / x.shape[1]
  local at_hidden = at_scores:matmul(network.w2:transpose()) * hidden:gt(0):to 'f32'
  return {
    w1 = x:transpose():matmul(at_hidden),
    b1 = at_hidden:sum(1),
    w2 = hidden:transpose():matmul(at_scores),
    b2 = at_scores:sum(1),
  }
end

local function step(x, right, rate)
  local downhill = gradients(x, right)
  for name, weights in pairs(network) do
    speed[name] = speed[name] * MOMENTUM - (downhill[name] + weights * DECAY) * rate
    network[name] = weights + speed[name]
  end
end

-- Pixels from 0 to 1, and for each picture ten numbers: 1 for its digit, 0 for the others.
local function prepare(part)
  local x = part.pixels:to(device):to 'f32' / 16
  local right = part.labels:to(device):unsqueeze(2):eq(tensor.arange(0, DIGITS - 1, 1, 'u8', device)):to 'f32'
  return x, right
end

local function accuracy(part)
  local x, right = prepare(part)
  return forward(x):argmax(-1):eq(right:argmax(-1)):to 'f32':mean():item()
end

local parts = data.load(folder)
local x, right = prepare(parts.train)
for epoch = 1, EPOCHS do
  local order = rng:uniform({ x.shape[1] }, { device = device }):argsort()
  local rate = RATE * (1 - (epoch - 1) / EPOCHS)
  for first = 1, x.shape[1], BATCH do
    local places = order:slice(1, first, math.min(first + BATCH - 1, x.shape[1]))
    step(x:take(places), right:take(places), rate)
  end
  if epoch % 10 == 0 then
    print(('epoch %d: right about %.1f %% of what it is trained with'):format(epoch, 100 * accuracy(parts.train)))
  end
end
print(('test: right about %.1f %% of %d others'):format(100 * accuracy(parts.test), parts.test.labels.shape[1]))

tensor.save(arg[1] or folder .. 'network.safetensors', network, { trained_by = 'examples/digits/train.lua' })

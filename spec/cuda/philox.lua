--- Philox 4x32-10 and what is made of it, written from the paper for the specs: with 64-bit integers and doubles of Lua.
local bit = require 'bit'
local ffi = require 'ffi'

local M = {}

local u64 = ffi.typeof 'uint64_t'
local LOW = 0xffffffffULL

-- A word for the sequence of each kind and of f64 beside the shorter floats, third of the counter.
local SEQUENCES = { uniform = { f32 = 0, f64 = 1 }, normal = { f32 = 2, f64 = 3 }, integers = 5 }

--- Four words of 32 bits for a key and a counter of 128 bits: its low 64 and its third word.
function M.words(seed, number, third)
  seed, number = u64(seed), u64(number)
  local a, b, c, d = bit.band(number, LOW), bit.rshift(number, 32), u64(third), u64(0)
  local k0, k1 = bit.band(seed, LOW), bit.rshift(seed, 32)
  for _ = 1, 10 do
    local first, second = 0xd2511f53ULL * a, 0xcd9e8d57ULL * c
    a, b, c, d = bit.bxor(bit.rshift(second, 32), b, k0), bit.band(second, LOW), bit.bxor(bit.rshift(first, 32), d, k1),
      bit.band(first, LOW)
    k0, k1 = bit.band(k0 + 0x9e3779b9ULL, LOW), bit.band(k1 + 0xbb67ae85ULL, LOW)
  end
  return { a, b, c, d }
end

--- Words of the element at a place, counted from 0, of which a group has `per`; and its number in the group.
local function words_of(seed, place, per, third)
  return M.words(seed, math.floor(place / per), third), place % per
end

local function both(words, k)
  return words[2 * k + 1] * 0x100000000ULL + words[2 * k + 2]
end

local function unit(words, k, wide)
  if wide then return tonumber(bit.rshift(both(words, k), 11)) / 2 ^ 53 end
  return tonumber(bit.rshift(words[k + 1], 8)) / 2 ^ 24
end

--- Of [0, 1), for f32 or f64.
function M.uniform(dtype, count, seed, offset)
  local values, wide = {}, dtype == 'f64'
  for i = 1, count do
    local words, k = words_of(seed, offset + i - 1, wide and 2 or 4, SEQUENCES.uniform[dtype])
    values[i] = unit(words, k, wide)
  end
  return values
end

--- By the formula of Box and Muller.
function M.normal(dtype, count, seed, offset)
  local values, wide = {}, dtype == 'f64'
  for i = 1, count do
    local words, k = words_of(seed, offset + i - 1, wide and 2 or 4, SEQUENCES.normal[dtype])
    local radius = math.sqrt(-2 * math.log(unit(words, k - k % 2, wide) + (wide and 2 ^ -53 or 2 ^ -24)))
    local angle = 2 * math.pi * unit(words, k - k % 2 + 1, wide)
    values[i] = radius * (k % 2 == 0 and math.cos(angle) or math.sin(angle))
  end
  return values
end

--- Whole numbers of low to high, as numbers: 64 bits times the size of the range, of which the high 64 bits count.
function M.integers(count, seed, offset, low, high)
  local values, size = {}, u64(high - low + 1)
  for i = 1, count do
    local words, k = words_of(seed, offset + i - 1, 2, SEQUENCES.integers)
    -- In steps of 16 bits, from the low end.
    local carried = 0ULL
    for shift = 0, 48, 16 do
      local digit = bit.band(bit.rshift(both(words, k), shift), 0xffffULL)
      local low_part = digit * bit.band(size, LOW) + bit.band(carried, LOW)
      local high_part = digit * bit.rshift(size, 32) + bit.rshift(carried, 32) + bit.rshift(low_part, 32)
      carried = bit.rshift(bit.band(low_part, LOW), 16) + bit.lshift(high_part, 16)
    end
    values[i] = low + tonumber(carried)
  end
  return values
end

return M

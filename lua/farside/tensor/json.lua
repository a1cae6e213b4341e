--- The JSON that a header of safetensors is: objects, lists, strings and whole numbers, strictly and no deeper than a few
-- levels. Objects are given as their keys in order, and each of them stands once.
local json_string = require 'farside.json_string'

local M = {}

local MAX_DEPTH = 8
local MAX_NUMBER = 2 ^ 53
local MAX_LIST = 64  -- a list of sizes or offsets is shorter

local Reader = {}
Reader.__index = Reader

--- `refuse(at, expected)` raises; `at` counts from 1.
local function new_reader(text, refuse)
  return setmetatable({ text = text, at = 1, refuse = refuse }, Reader)
end

function Reader:expect(condition, expected)
  if not condition then self.refuse(self.at, expected) end
end

--- Passes blanks and returns the next character, '' at the end.
function Reader:peek()
  self.at = self.text:find('[^ \t\r\n]', self.at) or #self.text + 1
  return self.text:sub(self.at, self.at)
end

function Reader:pass(character)
  self:expect(self:peek() == character, ('"%s"'):format(character))
  self.at = self.at + 1
end

function Reader:string()
  self:expect(self:peek() == '"', '"""')
  local value
  value, self.at = json_string.read(self.text, self.at, self.refuse)
  return value
end

function Reader:number()
  local digits = self.text:match('^%d+', self.at)
  self:expect(digits and (digits == '0' or digits:sub(1, 1) ~= '0'), 'a whole number')
  local after = self.text:sub(self.at + #digits, self.at + #digits)
  self:expect(not after:find '[.eE]' and tonumber(digits) <= MAX_NUMBER, 'a whole number of at most 2^53')
  self.at = self.at + #digits
  return tonumber(digits)
end

function Reader:list(depth)
  local list = {}
  self:pass '['
  while self:peek() ~= ']' do
    if #list > 0 then
      self:pass ','
      self:peek()
    end
    self:expect(#list < MAX_LIST, ('at most %d values in a list'):format(MAX_LIST))
    list[#list + 1] = self:value(depth + 1)
  end
  self.at = self.at + 1
  return list
end

--- { keys = in order, values = by key, at = where each value stands, by key }
function Reader:object(depth)
  local object = { keys = {}, values = {}, at = {} }
  self:pass '{'
  while self:peek() ~= '}' do
    if #object.keys > 0 then
      self:pass ','
      self:peek()
    end
    local start = self.at
    local key = self:string()
    if object.at[key] then
      self.at = start
      self:expect(false, 'each key once')
    end
    self:pass ':'
    self:peek()
    object.keys[#object.keys + 1], object.at[key] = key, self.at
    object.values[key] = self:value(depth + 1)
  end
  self.at = self.at + 1
  return object
end

function Reader:value(depth)
  self:expect(depth <= MAX_DEPTH, ('at most %d levels'):format(MAX_DEPTH))
  local first = self:peek()
  if first == '{' then return self:object(depth) end
  if first == '[' then return self:list(depth) end
  if first == '"' then return self:string() end
  self:expect(first:find '%d', 'an object, a list, a string or a whole number')
  return self:number()
end

--- Reads an object and nothing behind it but blanks.
---@param refuse function(at, expected) raises
function M.object(text, refuse)
  local reader = new_reader(text, refuse)
  reader:peek()
  local object = reader:object(1)
  reader:expect(reader:peek() == '', 'nothing behind the object')
  return object
end

local function escape(character)
  local names = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }
  return names[character] or ('\\u%04x'):format(character:byte())
end

--- A string with its quotation marks.
function M.quote(text)
  return '"' .. text:gsub('[%z\1-\31"\\]', escape) .. '"'
end

return M

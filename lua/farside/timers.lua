--- What shall happen at which instant: a binary heap of tables, the earliest first.
-- The entries are the callers' own tables, any with a field of its own choice but `at`, `index` and `order`.
local M = {}
M.__index = M

function M.new()
  return setmetatable({ size = 0, added = 0 }, M)
end

local function before(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.order < b.order
end

local function put(self, entry, index)
  self[index] = entry
  entry.index = index
end

local function sift_up(self, entry, index)
  while index > 1 do
    local parent = math.floor(index / 2)
    if not before(entry, self[parent]) then break end
    put(self, self[parent], index)
    index = parent
  end
  put(self, entry, index)
end

local function sift_down(self, entry, index)
  while true do
    local child = 2 * index
    if child > self.size then break end
    if child < self.size and before(self[child + 1], self[child]) then child = child + 1 end
    if not before(self[child], entry) then break end
    put(self, self[child], index)
    index = child
  end
  put(self, entry, index)
end

--- Adds a table that is in no heap. Those of one instant come out in the order they went in.
function M:add(entry, at)
  self.added = self.added + 1
  self.size = self.size + 1
  entry.at, entry.order = at, self.added
  sift_up(self, entry, self.size)
end

--- Takes a table out; one that is not in is left alone.
function M:remove(entry)
  local index = entry.index
  if not index then return end
  entry.index = nil
  local last = self[self.size]
  self[self.size] = nil
  self.size = self.size - 1
  if last == entry then return end
  sift_up(self, last, index)
  sift_down(self, last, last.index)
end

--- Takes out and returns the earliest entry that is due at `now`, or nil.
function M:pop(now)
  local first = self[1]
  if not first or first.at > now then return nil end
  self:remove(first)
  return first
end

return M

-- Stands before each verb. KEYS: owner, owner:epoch. ARGV[1]: me. Every verb answers
-- {outcome, owner, epoch, ttl_ms}. An owner without a valid epoch, or with a name that no worker
-- has, is another program's key: not held, and never written.
local owner = redis.pcall('GET', KEYS[1])
local raw = redis.pcall('GET', KEYS[2])
if type(owner) == 'table' or type(raw) == 'table' then
  return {'foreign', '', 0, 0}
end
-- Of more digits than a number here has it is nobody's count.
local epoch = raw and #raw <= 15 and string.match(raw, '^%d+$') and tonumber(raw) or 0
local is_mine = owner == ARGV[1]
if owner and not is_mine and (epoch < 1 or not string.match(owner, ':%d+:%x%x%x%x%x%x%x%x$')) then
  return {'foreign', owner, 0, 0}
end

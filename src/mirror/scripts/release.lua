-- KEYS: owner, owner:epoch. ARGV: me, mine.
-- Answers {outcome, owner, epoch, ttl_ms}. The epoch stays: the next owner counts on from it.
local owner = redis.pcall('GET', KEYS[1])
local raw = redis.pcall('GET', KEYS[2])
if type(owner) == 'table' or type(raw) == 'table' then
  return {'foreign', '', 0, 0}
end
local epoch = raw and string.match(raw, '^%d+$') and tonumber(raw) or 0
if owner == ARGV[1] and epoch == tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  return {'free', '', epoch, 0}
end
if not owner then
  return {'free', '', epoch, 0}
end
if epoch < 1 then
  return {'foreign', owner, 0, 0}
end
return {'held', owner, epoch, redis.call('PTTL', KEYS[1])}

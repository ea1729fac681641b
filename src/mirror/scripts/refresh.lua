-- KEYS: owner, owner:epoch. ARGV: me, mine, lease_ms, epoch_ttl_s.
-- Answers {outcome, owner, epoch, ttl_ms}. Never makes a lease that is not there.
local owner = redis.pcall('GET', KEYS[1])
local raw = redis.pcall('GET', KEYS[2])
if type(owner) == 'table' or type(raw) == 'table' then
  return {'foreign', '', 0, 0}
end
local epoch = raw and string.match(raw, '^%d+$') and tonumber(raw) or 0
if not owner then
  return {'free', '', epoch, 0}
end
if owner ~= ARGV[1] and (epoch < 1 or not string.match(owner, ':%d+:%x%x%x%x%x%x%x%x$')) then
  return {'foreign', owner, 0, 0}
end
local mine = tonumber(ARGV[2])
-- A lower epoch than one that lives was granted by a Redis that had forgotten: the higher one wins.
if epoch < mine or (owner == ARGV[1] and epoch == mine) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  redis.call('SET', KEYS[2], string.format('%.0f', mine), 'EX', ARGV[4])
  return {'owned', ARGV[1], mine, tonumber(ARGV[3])}
end
local outcome = owner == ARGV[1] and 'owned' or 'held'
return {outcome, owner, epoch, redis.call('PTTL', KEYS[1])}

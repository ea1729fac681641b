-- KEYS: owner, owner:epoch. ARGV: me.
-- Answers {outcome, owner, epoch, ttl_ms} and changes nothing: what follows a lost reply.
local owner = redis.pcall('GET', KEYS[1])
local raw = redis.pcall('GET', KEYS[2])
if type(owner) == 'table' or type(raw) == 'table' then
  return {'foreign', '', 0, 0}
end
local epoch = raw and string.match(raw, '^%d+$') and tonumber(raw) or 0
if not owner then
  return {'free', '', epoch, 0}
end
if epoch < 1 or (owner ~= ARGV[1] and not string.match(owner, ':%d+:%x%x%x%x%x%x%x%x$')) then
  return {'foreign', owner, 0, 0}
end
local outcome = owner == ARGV[1] and 'owned' or 'held'
return {outcome, owner, epoch, redis.call('PTTL', KEYS[1])}

-- KEYS: owner, owner:epoch. ARGV: me, known, lease_ms, epoch_ttl_s, start.
-- Answers {outcome, owner, epoch, ttl_ms}. An owner without a valid epoch is somebody else's key.
local owner = redis.pcall('GET', KEYS[1])
local raw = redis.pcall('GET', KEYS[2])
if type(owner) == 'table' or type(raw) == 'table' then
  return {'foreign', '', 0, 0}
end
local epoch = raw and string.match(raw, '^%d+$') and tonumber(raw) or 0
if owner and owner ~= ARGV[1] then
  if epoch < 1 or not string.match(owner, ':%d+:%x%x%x%x%x%x%x%x$') then
    return {'foreign', owner, 0, 0}
  end
  return {'held', owner, epoch, redis.call('PTTL', KEYS[1])}
end
-- A counter that is not there is one that was forgotten: it goes on above every epoch that may
-- still live, which a count from 1 would not.
local forgotten = tonumber(ARGV[5])
local next_epoch = math.max(epoch > 0 and epoch + 1 or forgotten, tonumber(ARGV[2]) + 1)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], string.format('%.0f', next_epoch), 'EX', ARGV[4])
return {'owned', ARGV[1], next_epoch, tonumber(ARGV[3])}

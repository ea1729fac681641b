-- ARGV: me, known, lease_ms, epoch_ttl_s, start.
if owner and not is_mine then
  return {'held', owner, epoch, redis.call('PTTL', KEYS[1])}
end
-- A counter that is not there was forgotten: it goes on above every epoch that may still live,
-- which a count from 1 would not.
local next_epoch = math.max(epoch > 0 and epoch + 1 or tonumber(ARGV[5]), tonumber(ARGV[2]) + 1)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], string.format('%.0f', next_epoch), 'EX', ARGV[4])
return {'owned', ARGV[1], next_epoch, tonumber(ARGV[3])}

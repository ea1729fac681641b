-- ARGV: me, mine, lease_ms, epoch_ttl_s. Never makes a lease that is not there.
if not owner then
  return {'free', '', epoch, 0}
end
local mine = tonumber(ARGV[2])
-- A lower epoch than one that lives was granted by a Redis that had forgotten: the higher one wins,
-- and hears of it.
if epoch < mine or (is_mine and epoch == mine) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  redis.call('SET', KEYS[2], string.format('%.0f', mine), 'EX', ARGV[4])
  return {epoch < mine and 'retaken' or 'owned', ARGV[1], mine, tonumber(ARGV[3])}
end
return {is_mine and 'owned' or 'held', owner, epoch, redis.call('PTTL', KEYS[1])}

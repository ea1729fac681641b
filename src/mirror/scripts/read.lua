-- ARGV: me. Changes nothing: what follows a lost reply.
if not owner or epoch < 1 then
  return {'free', '', epoch, 0}
end
return {is_mine and 'owned' or 'held', owner, epoch, redis.call('PTTL', KEYS[1])}

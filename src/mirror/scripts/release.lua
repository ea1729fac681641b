-- ARGV: me, mine. The epoch stays: the next owner counts on from it.
if is_mine and epoch == tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  owner = false
end
if not owner then
  return {'free', '', epoch, 0}
end
return {'held', owner, epoch, redis.call('PTTL', KEYS[1])}

local answer = redis.pcall(ARGV[1], KEYS[1], unpack(ARGV, 3))
if type(answer) == 'table' then
return redis.error_reply((string.gsub(answer.err, '^@user_script: %d+: %-?', '')))
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])

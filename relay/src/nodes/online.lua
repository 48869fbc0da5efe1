-- Marks a node in sorted sets of nodes, by when its mark expires, or takes it out. KEYS: the sets. ARGV: the node, how long
-- a mark lasts in ms (0: none). Answers for each set how many other nodes are in it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, last = ARGV[1], tonumber(ARGV[2])
local others = {}
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if last > 0 then
        redis.call('ZADD', key, now + last, node)
        redis.call('PEXPIRE', key, last)
    else
        redis.call('ZREM', key, node)
    end
    others[i] = redis.call('ZCARD', key) - (last > 0 and 1 or 0)
end
return others

-- How many nodes are marked in sorted sets. KEYS: the sets.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local marked = {}
for i, key in ipairs(KEYS) do
    marked[i] = redis.call('ZCOUNT', key, '(' .. now, '+inf')
end
return marked

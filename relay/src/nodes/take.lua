-- Takes out of buckets, each a number: when it is full again, in microseconds of this server's clock. KEYS: the buckets.
-- ARGV: 'each' (of each what is there), 'all' (everything or nothing) or 'force' (whether it is there or not); then for
-- each bucket the microseconds of one, those of the whole window, and how many, which may be 0 or, to give back, below.
-- Answers for each how many were taken, how many are left, and the milliseconds until there is one.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local manner = ARGV[1]
local buckets, short = {}, false
for i, key in ipairs(KEYS) do
    local one, window, want = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
    local full = tonumber(redis.call('GET', key)) or now
    full = math.min(math.max(full, now), now + window)
    local there = math.floor((now + window - full) / one)
    buckets[i] = { one, window, want, full, there }
    short = short or want > there
end
local answer = {}
for i, key in ipairs(KEYS) do
    local one, window, want, full, there = unpack(buckets[i])
    local taken = want
    if manner == 'each' then
        taken = math.min(want, there)
    elseif manner == 'all' and short then
        taken = 0
    end
    if taken ~= 0 then
        full = math.min(math.max(full + taken * one, now), now + window)
        if full > now then
            redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
        else
            redis.call('DEL', key)
        end
    end
    local room = now + window - full
    local left = math.floor(room / one)
    answer[3 * i - 2] = taken
    answer[3 * i - 1] = left
    answer[3 * i] = left > 0 and 0 or math.ceil((one - room) / 1000)
end
return answer

//! The everyday group: batches that do nothing but enqueue messages without order keys and acknowledge such messages. One script decides
//! about them where the data is, so that they take one round trip, and those of other processes are never in their way.
//!
//! It knows only what is sure to succeed. A batch of which that cannot be said, because a receipt is stale or a message has an order key
//! after all, it leaves alone, and [`commit`](crate::group) decides about it as about any other.

use crate::error::corrupt;
use crate::load::{failed, replicated};
use crate::rows::encode_constant;
use crate::store::Inner;
use martlet_base::Timestamp;
use martlet_store::engine::Item;
use martlet_store::{
    Committed, Message, MessageId, Outcome, QueueName, StoreError, Version, Write, WriteBatch,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// `KEYS`: numbers, queues, channel, then nine of each queue. `ARGV`: the time (empty: the server's), how many batches, how many messages they
/// enqueue, how many queues, their names; then for each batch how many writes it has, and these: `e`, queue, priority, not before, dedup key,
/// its window, what is constant of the item, body; or `a`, queue, message, delivery. Times in microseconds; whole numbers of doubles are exact up to 2^53. Answers the last version,
/// and for each batch 0 if it is left alone; else 1 and for each message its number, or that of the one it repeats, negative.
pub(crate) const PLAIN: &str = r"
local call, format, match = redis.call, string.format, string.match
local now = tonumber(ARGV[1])
if not now then local time = call('TIME') now = time[1] * 1000000 + time[2] end
local stamp = format('%.0f', now)
local fresh = ' ' .. stamp .. ' 0 0 ' .. stamp .. ' 0 '
local version = call('HINCRBY', KEYS[1], 'version', ARGV[2])
local number = call('HINCRBY', KEYS[1], 'message', ARGV[3]) - ARGV[3]
local queues, at = {}, 5
for q = 1, tonumber(ARGV[4]) do
    local key = q * 9 - 6
    queues[q] = {
        name = ARGV[at], items = KEYS[key + 1], bodies = KEYS[key + 2], live = KEYS[key + 3], ready = KEYS[key + 4], flight = KEYS[key + 5],
        delayed = KEYS[key + 6], dedup = KEYS[key + 7], ends = KEYS[key + 8], counts = KEYS[key + 9],
        new = {}, payloads = {}, alive = {}, due = {}, later = {}, gone = {}, taken = {},
    }
    at = at + 1
end
local answer = { version }
for _ = 1, tonumber(ARGV[2]) do
    local first, is_plain = at + 1, true
    local last = at + tonumber(ARGV[at])
    local place = first
    for _ = first, last do
        if ARGV[place] == 'e' then
            place = place + 8
        else
            local queue, id = queues[tonumber(ARGV[place + 1])], ARGV[place + 2]
            local item = not queue.taken[id] and call('HGET', queue.items, id)
            is_plain = is_plain and item and match(item, '^[01] %S+ %S+ (%d+) 1 %S+ %S+ %S+ %-') == ARGV[place + 3]
            place = place + 4
        end
    end
    answer[#answer + 1] = is_plain and 1 or 0
    at = place
    place = first
    for _ = first, is_plain and last or 0 do
        local queue = queues[tonumber(ARGV[place + 1])]
        if ARGV[place] == 'a' then
            local id = ARGV[place + 2]
            queue.taken[id] = true
            queue.gone[#queue.gone + 1] = id
            place = place + 4
        else
            local dedup, known = ARGV[place + 4], nil
            if dedup ~= '' then
                local id, ends = match(call('HGET', queue.dedup, dedup) or '', '^(%d+) (%-?%d+)$')
                if id and now < tonumber(ends) then known = tonumber(id) end
            end
            if known then
                answer[#answer + 1] = -known
            else
                number = number + 1
                answer[#answer + 1] = number
                local id, visible = format('%.0f', number), ARGV[place + 3]
                if visible == '' then visible = stamp end
                local n = #queue.new
                queue.new[n + 1] = id
                queue.new[n + 2] = '0 ' .. visible .. fresh .. ARGV[place + 6]
                queue.payloads[n + 1], queue.payloads[n + 2] = id, ARGV[place + 7]
                queue.alive[n + 1], queue.alive[n + 2] = id, id
                local list, score = queue.later, visible
                if visible == stamp or tonumber(visible) <= now then
                    list, score = queue.due, id
                    if ARGV[place + 2] ~= '0' then score = format('%.0f', number - tonumber(ARGV[place + 2]) * 137438953472) end
                end
                list[#list + 1], list[#list + 2] = score, id
                if dedup ~= '' then
                    local ends = format('%.0f', now + tonumber(ARGV[place + 5]))
                    call('HSET', queue.dedup, dedup, id .. ' ' .. ends)
                    call('ZADD', queue.ends, ends, dedup)
                end
            end
            place = place + 8
        end
    end
end
local function all(command, key, args)
    for i = 1, #args, 4000 do call(command, key, unpack(args, i, math.min(i + 3999, #args))) end
end
local touched = false
for _, queue in ipairs(queues) do
    local new, gone = #queue.new / 2, #queue.gone
    if new > 0 then
        all('HSET', queue.items, queue.new)
        all('HSET', queue.bodies, queue.payloads)
        all('ZADD', queue.live, queue.alive)
        all('ZADD', queue.ready, queue.due)
        all('ZADD', queue.delayed, queue.later)
        call('ZADD', KEYS[2], 0, queue.name)
        call('HINCRBY', queue.counts, 'enqueued', new)
    end
    if gone > 0 then
        all('HDEL', queue.items, queue.gone)
        all('HDEL', queue.bodies, queue.gone)
        all('ZREM', queue.live, queue.gone)
        all('ZREM', queue.flight, queue.gone)
        all('ZREM', queue.ready, queue.gone)
        call('HINCRBY', queue.counts, 'acked', gone)
    end
    if new ~= gone then call('HINCRBY', queue.counts, 'live', new - gone) end
    touched = touched or new > 0
end
if touched then call('PUBLISH', KEYS[3], '') end
return answer
";

/// What a script can add to a time without losing a microsecond.
pub(crate) const MOST_MICROS: u64 = 1 << 52;

/// Whether the script can decide about a batch.
pub(crate) fn is_plain(batch: &WriteBatch) -> bool {
    let write = |write: &Write| match write {
        Write::Enqueue { message, .. } => is_plain_message(message),
        Write::Ack { .. } => true,
        _ => false,
    };
    // Whoever acknowledges twice in one batch is told so by the engine.
    let mut seen = BTreeSet::new();
    let once = |write: &Write| match write {
        Write::Ack { receipt } => seen.insert((receipt.queue().clone(), receipt.message())),
        _ => true,
    };
    !batch.is_empty() && batch.writes().iter().all(write) && batch.writes().iter().all(once)
}

fn is_plain_message(message: &Message) -> bool {
    message.order_key.is_none() && micros(message.dedup_window) <= MOST_MICROS
}

/// In microseconds, as far as they go.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What became of each batch; `None`: nothing, it is not that plain.
pub(crate) async fn commit(
    inner: &Inner,
    batches: &[WriteBatch],
) -> Result<Vec<Option<Committed>>, StoreError> {
    let mut places: BTreeMap<&QueueName, usize> = BTreeMap::new();
    let mut enqueued = 0;
    for write in batches.iter().flat_map(WriteBatch::writes) {
        let queue = match write {
            Write::Enqueue { queue, .. } => {
                enqueued += 1;
                queue
            }
            Write::Ack { receipt } => receipt.queue(),
            _ => continue,
        };
        places.insert(queue, 0);
    }
    let now = inner.time_for_script();
    let keys = &inner.keys;
    let mut invocation = inner.plain.key(&keys.numbers);
    invocation.key(&keys.queues).key(&keys.channel);
    invocation.arg(now).arg(batches.len()).arg(enqueued).arg(places.len());
    for (index, (name, place)) in places.iter_mut().enumerate() {
        *place = index + 1;
        let queue = keys.queue(name);
        let named = [&queue.items, &queue.bodies, &queue.live, &queue.ready, &queue.flight, &queue.delayed];
        for key in named.into_iter().chain([&queue.dedup, &queue.dedup_end, &queue.counts]) {
            invocation.key(key);
        }
        invocation.arg(name.as_str());
    }
    for batch in batches {
        invocation.arg(batch.writes().len());
        for write in batch.writes() {
            match write {
                Write::Enqueue { queue, message } => {
                    let before = message.not_before.map_or_else(String::new, |at| at.as_micros().to_string());
                    // The script knows the time and says it in the line before.
                    let mut bare = message.clone();
                    bare.body = bytes::Bytes::new();
                    let item = Item::new(bare, Timestamp::UNIX_EPOCH);
                    invocation.arg("e").arg(places[queue]).arg(message.priority).arg(before);
                    invocation.arg(message.dedup.as_deref().unwrap_or_default());
                    invocation
                        .arg(micros(message.dedup_window))
                        .arg(encode_constant(&item))
                        .arg(&message.body[..]);
                }
                Write::Ack { receipt } => {
                    invocation.arg("a").arg(places[receipt.queue()]);
                    invocation.arg(receipt.message().as_u64()).arg(receipt.delivery());
                }
                _ => {}
            }
        }
    }
    let mut conn = inner.conn.clone();
    let answer: Vec<i64> = invocation.invoke_async(&mut conn).await.map_err(failed)?;
    replicated(inner, &mut conn).await?;
    if enqueued > 0 {
        inner.waiters.wake();
    }
    read(batches, &answer).ok_or_else(|| corrupt("not the answer of a script"))
}

fn read(batches: &[WriteBatch], answer: &[i64]) -> Option<Vec<Option<Committed>>> {
    let (last, mut answer) = (answer.first()?.unsigned_abs(), answer[1..].iter());
    let mut results = Vec::with_capacity(batches.len());
    for (index, batch) in batches.iter().enumerate() {
        if *answer.next()? == 0 {
            results.push(None);
            continue;
        }
        let version = last + 1 + index as u64 - batches.len() as u64;
        let mut committed = Committed::new(Version::from_u64(version));
        for (index, write) in batch.writes().iter().enumerate() {
            if let Write::Enqueue { .. } = write {
                let number = *answer.next()?;
                let id = MessageId::from_u64(number.unsigned_abs());
                let outcome = if number < 0 { Outcome::Duplicate(id) } else { Outcome::Enqueued(id) };
                committed = committed.with_outcome(index, outcome);
            }
        }
        results.push(Some(committed));
    }
    Some(results)
}

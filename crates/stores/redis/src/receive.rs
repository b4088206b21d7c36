//! Taking messages: one script does it, so that no two processes take the same or wait for each other.

use crate::error::corrupt;
use crate::load::{failed, id, replicated, text};
use crate::plain::{MOST_MICROS, micros};
use crate::rows::decode_item;
use crate::store::Inner;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::Reply;
use martlet_store::{MAX_HISTORY, MessageId, MessageState, QueueName, Receipt, Received, StoreError};
use std::time::Duration;

/// `KEYS`: items, bodies, ready, flight, delayed. `ARGV`: the time (empty: the server's), how many, for how many microseconds they are hidden,
/// how many whose time has come are moved to the ready ones, how many lapsed deliveries are remembered. Answers the time, and of each message
/// number, item, body; nothing at all if there is one that cannot be read.
pub(crate) const RECEIVE: &str = r"
local call, format, match = redis.call, string.format, string.match
local now = tonumber(ARGV[1])
if not now then local time = call('TIME') now = time[1] * 1000000 + time[2] end
local stamp, again = format('%.0f', now), format('%.0f', now + tonumber(ARGV[3]))
local function all(command, key, args)
    for i = 1, #args, 4000 do call(command, key, unpack(args, i, math.min(i + 3999, #args))) end
end
local function get(key, ids)
    local found = {}
    for i = 1, #ids, 4000 do
        for _, value in ipairs(call('HMGET', key, unpack(ids, i, math.min(i + 3999, #ids)))) do found[#found + 1] = value end
    end
    return found
end
for timed = 4, 5 do
    local due = call('ZRANGEBYSCORE', KEYS[timed], '-inf', stamp, 'LIMIT', 0, ARGV[4])
    if #due > 0 then
        local ready = {}
        for i, item in ipairs(get(KEYS[1], due)) do
            local priority = item and match(item, '^%d %S+ %S+ %S+ %d %S+ %S+ (%S+)')
            if not priority then return {} end
            ready[#ready + 1], ready[#ready + 2] = format('%.0f', due[i] - tonumber(priority) * 137438953472), due[i]
        end
        all('ZREM', KEYS[timed], due)
        all('ZADD', KEYS[3], ready)
    end
end
local ids = call('ZRANGE', KEYS[3], 0, ARGV[2])
if #ids == 0 then return { stamp } end
local items, bodies, flight, new, answer = get(KEYS[1], ids), get(KEYS[2], ids), {}, {}, { stamp }
for i, id in ipairs(ids) do
    local enqueued, delivery, held, received, deliveries, priority, order, lapsed, rest =
        match(items[i] or '', '^%d %S+ (%S+) (%d+) (%d) (%S+) (%d+) (%S+) (%S)([^\n]*)(\n.*)$')
    if not rest then return {} end
    if held == '1' then
        lapsed = lapsed .. ' ' .. received .. ':' .. match(items[i], '^%d (%S+)')
        local _, count = string.gsub(lapsed, ' ', '')
        if count > tonumber(ARGV[5]) then lapsed = string.gsub(lapsed, '^ %S+', '', 1) end
    end
    local item = format('1 %s %s %.0f 1 %s %.0f %s %s%s%s', again, enqueued, delivery + 1, stamp, math.min(deliveries + 1, 4294967295), priority,
        order, lapsed, rest)
    new[#new + 1], new[#new + 2] = id, item
    flight[#flight + 1], flight[#flight + 2] = again, id
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = id, item, bodies[i]
end
all('HSET', KEYS[1], new)
all('ZREM', KEYS[3], ids)
all('ZADD', KEYS[4], flight)
return answer
";

/// At most so many messages whose time has come are moved to the ready ones by one receive.
const DUE_AT_ONCE: usize = 1_000;

pub(crate) struct Receive {
    pub(crate) queue: QueueName,
    pub(crate) max: usize,
    pub(crate) visibility: Duration,
    pub(crate) reply: Reply<Vec<Received>>,
}

pub(crate) async fn run(inner: &Inner, receive: Receive) {
    // Nobody waits for it any more: what is not wanted is not hidden from others.
    if receive.reply.is_awaited() {
        let received = take(inner, &receive).await;
        receive.reply.send(received);
    }
}

async fn take(inner: &Inner, receive: &Receive) -> Result<Vec<Received>, StoreError> {
    let Receive { queue: name, max, visibility, .. } = receive;
    if *max == 0 {
        return Ok(Vec::new());
    }
    let queue = inner.keys.queue(name);
    let mut invocation = inner.receive.key(&queue.items);
    invocation.key(&queue.bodies).key(&queue.ready).key(&queue.flight).key(&queue.delayed);
    let now = inner.time_for_script();
    // About 143 years are as good as for ever, and what a script can add to a time without losing a microsecond.
    let hidden = micros(*visibility).min(MOST_MICROS);
    invocation.arg(now).arg(isize::try_from(*max).unwrap_or(isize::MAX) - 1).arg(hidden);
    // More than a script can take anyway; the server's numbers have a sign.
    invocation.arg((*max).clamp(DUE_AT_ONCE, 1 << 24)).arg(MAX_HISTORY);
    let mut conn = inner.conn.clone();
    let answer: Vec<Vec<u8>> = invocation.invoke_async(&mut conn).await.map_err(failed)?;
    if answer.len() > 1 {
        replicated(inner, &mut conn).await?;
    }
    let wrong = || corrupt("a message that martlet does not write");
    let (now, messages) = answer.split_first().ok_or_else(wrong)?;
    let now: i64 = text(now)?.parse().map_err(|_| wrong())?;
    messages.chunks_exact(3).map(|message| received(name, message, Timestamp::from_micros(now))).collect()
}

fn received(name: &QueueName, message: &[Vec<u8>], now: Timestamp) -> Result<Received, StoreError> {
    let (number, mut item) = (MessageId::from_u64(id(&message[0])?), decode_item(&message[1])?);
    item.message.body = Bytes::copy_from_slice(&message[2]);
    let (delivery, again) = (item.delivery, item.visible_at);
    let mut shown = item.show(number, now);
    shown.state = MessageState::InFlight;
    Ok(Received::new(shown, Receipt::new(name.clone(), number, delivery), again))
}

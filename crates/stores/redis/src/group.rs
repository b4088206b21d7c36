//! Group commit: what is waiting is done by one script, by `plain` where that can decide. Everything else is read in one or two round trips,
//! decided in memory one batch after the other, and applied by one script, which does nothing when somebody else wrote meanwhile what had
//! been read.

use crate::error::corrupt;
use crate::keys::QueueKeys;
use crate::load::{self, Applied, Change, TRIES, apply, ask, failed, fields, list, number};
use crate::logs;
use crate::plain;
use crate::receive::{self, Receive};
use crate::rows::{
    decode_cell, decode_item, encode_cell, encode_item, order_id, order_member, order_prefix, ready_score,
};
use crate::store::Inner;
use futures_util::StreamExt;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use martlet_base::{ClockHold, Rng, Timestamp};
use martlet_store::engine::{Changes, Engine, Item, Jobs, Named, Place, Reply};
use martlet_store::{Committed, MessageId, QueueName, StoreError, StoreErrorKind, Version, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// At most so many commits and so many bytes are applied by one script: the server does nothing else meanwhile.
const GROUP_COMMITS: usize = 256;
const GROUP_BYTES: usize = 8 << 20;

/// So many receives, and one group that needs nothing to be read, are on their way at once.
const AT_ONCE: usize = 5;

/// What has expired is looked for this often, and this much is removed at a time: of cells, and of dedup keys of each of so many queues.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SWEEP_ROWS: usize = 256;
const SWEEP_QUEUES: usize = 32;

/// A request. The hold is released when it was answered.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) hold: ClockHold,
}

pub(crate) enum Work {
    Commit { batch: WriteBatch, reply: Reply<Committed> },
    Receive(Receive),
}

/// Commits that share a script, and who waits for each.
#[derive(Default)]
struct Group {
    batches: Vec<WriteBatch>,
    replies: Vec<(Reply<Committed>, ClockHold)>,
    bytes: usize,
}

/// What was on its way.
#[derive(PartialEq, Eq)]
enum Done {
    Commit,
    Receive,
}

/// Works until the store is closed and everything that was sent before is done.
pub(crate) async fn run(inner: Arc<Inner>, mut jobs: Jobs<Job>) {
    let real = martlet_base::Clock::system();
    let rng = Rng::system();
    let (mut swept, mut sweep, mut next) = (real.now(), Sweep::default(), None);
    let mut running = FuturesUnordered::new();
    let mut committing = false;
    loop {
        let first = tokio::select! {
            job = async { if next.is_some() { next.take() } else { jobs.next().await } }, if running.len() < AT_ONCE => job,
            Some(done) = running.next(), if !running.is_empty() => {
                committing &= done != Done::Commit;
                continue;
            }
        };
        let Some(Job { work, hold }) = first else { break };
        match work {
            Work::Receive(receive) => {
                let inner = &inner;
                running.push(Either::Left(async move {
                    receive::run(inner, receive).await;
                    drop(hold);
                    Done::Receive
                }));
            }
            Work::Commit { batch, reply } => {
                // Whoever waits meanwhile joins the next group: a larger one costs less for each, and is synced once.
                while committing {
                    committing = running.next().await.is_some_and(|done| done != Done::Commit);
                }
                // Whoever was just answered may be about to commit again.
                tokio::task::yield_now().await;
                let mut group = Group::default();
                group.push(batch, reply, hold);
                next = group.gather(&mut jobs);
                let is_plain = group.batches.iter().all(plain::is_plain);
                let done = answer(&inner, group, is_plain, &rng);
                if is_plain {
                    committing = true;
                    running.push(Either::Right(done));
                } else {
                    // Whoever commits after others sees what they did, also when nobody waits for their answers any more.
                    while running.next().await.is_some() {}
                    done.await;
                }
                if sweep.more || real.now().since(swept) >= SWEEP_EVERY {
                    swept = real.now();
                    // What fails is tried again in a second.
                    let _ = sweep.run(&inner).await;
                }
            }
        }
    }
    while running.next().await.is_some() {}
}

impl Group {
    fn push(&mut self, batch: WriteBatch, reply: Reply<Committed>, hold: ClockHold) {
        self.bytes += batch.bytes();
        self.batches.push(batch);
        self.replies.push((reply, hold));
    }

    /// Takes in what waits; the first job that is no commit is given back.
    fn gather(&mut self, jobs: &mut Jobs<Job>) -> Option<Job> {
        while self.batches.len() < GROUP_COMMITS && self.bytes < GROUP_BYTES {
            match jobs.waiting()? {
                Job { work: Work::Commit { batch, reply }, hold } => self.push(batch, reply, hold),
                other => return Some(other),
            }
        }
        None
    }
}

async fn answer(inner: &Inner, group: Group, is_plain: bool, rng: &Rng) -> Done {
    let results = if is_plain {
        commit_plain(inner, &group.batches, rng).await
    } else {
        commit(inner, &group.batches.iter().collect::<Vec<_>>(), rng).await
    };
    for ((reply, hold), result) in group.replies.into_iter().zip(results) {
        // Nobody listens any more when the future was dropped: the commit stands all the same.
        reply.send(result);
        drop(hold);
    }
    Done::Commit
}

type Results = Vec<Result<Committed, StoreError>>;

/// What the script leaves alone is decided as everything else is.
async fn commit_plain(inner: &Inner, batches: &[WriteBatch], rng: &Rng) -> Results {
    let done = match plain::commit(inner, batches).await {
        Ok(done) => done,
        Err(error) => return batches.iter().map(|_| Err(error.clone())).collect(),
    };
    let left: Vec<&WriteBatch> =
        batches.iter().zip(&done).filter(|(_, done)| done.is_none()).map(|(batch, _)| batch).collect();
    let mut decided = if left.is_empty() { Vec::new() } else { commit(inner, &left, rng).await }.into_iter();
    let result = |done: Option<Committed>| match done {
        Some(committed) => Ok(committed),
        None => decided.next().unwrap_or_else(|| Err(too_busy())),
    };
    done.into_iter().map(result).collect()
}

async fn commit(inner: &Inner, batches: &[&WriteBatch], rng: &Rng) -> Results {
    let all = |error: StoreError| batches.iter().map(|_| Err(error.clone())).collect();
    for tries in 0..TRIES {
        match attempt(inner, batches).await {
            Ok(Some(results)) => return results,
            // Each time somebody else got something done; a pause lets them not collide again.
            Ok(None) => give_way(rng, tries).await,
            Err(error) => return all(error),
        }
    }
    all(too_busy())
}

fn too_busy() -> StoreError {
    let detail = "other processes write to the same keys all the time";
    StoreError::new(StoreErrorKind::Unavailable, detail).not_applied()
}

async fn give_way(rng: &Rng, tries: usize) {
    let ceiling = 100_u64 << tries.min(6);
    martlet_base::Clock::system().sleep(Duration::from_micros(rng.below(ceiling))).await;
}

/// `None`: somebody else was faster, and nothing was done.
async fn attempt(inner: &Inner, batches: &[&WriteBatch]) -> Result<Option<Results>, StoreError> {
    let mut named = Named::of(batches.iter().copied());
    let keys = &inner.keys;

    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("TIME");
    pipe.hincr(&keys.numbers, "version", batches.len());
    pipe.hincr(&keys.numbers, "message", named.new_messages());
    let cells: Vec<&str> = named.cells.iter().map(|key| key.as_str()).collect();
    if !cells.is_empty() {
        pipe.cmd("HMGET").arg(&keys.cells).arg(&cells);
    }
    let leases: Vec<&str> = named.leases.iter().map(|key| key.as_str()).collect();
    if !leases.is_empty() {
        pipe.cmd("HMGET").arg(&keys.leases).arg(&leases);
    }
    let logs: Vec<Vec<u8>> = named.logs.iter().map(|log| logs::member(log)).collect();
    if !logs.is_empty() {
        pipe.cmd("HMGET").arg(&keys.logs).arg(&logs);
    }
    for (name, queue) in &named.queues {
        let keys = keys.queue(name);
        if !queue.messages.is_empty() {
            pipe.cmd("HMGET")
                .arg(&keys.items)
                .arg(queue.messages.iter().map(|id| id.as_u64()).collect::<Vec<_>>());
        }
        if !queue.dedup.is_empty() {
            pipe.cmd("HMGET").arg(&keys.dedup).arg(queue.dedup.iter().collect::<Vec<_>>());
        }
    }
    let mut answers = ask(&inner.conn, &pipe).await?.into_iter();
    let server = load::time(answers.next())?;
    let now = inner.simulated().unwrap_or(server);
    let last_version = number(answers.next())?;
    let last_message = number(answers.next())?;
    let mut change = Change::default();

    let mut engine = Engine::new(last_message - named.new_messages() + 1..=last_message);
    let mut loaded = BTreeSet::new();
    if !cells.is_empty() {
        for (key, cell) in named.cells.iter().zip(fields(answers.next())?) {
            let cell = cell.map(|cell| decode_cell(&cell)).transpose()?;
            let version = cell.as_ref().map(|cell| cell.version.as_u64());
            change.only_while_word(&keys.cells, key.as_str(), version);
            if let Some(cell) = cell {
                engine.load_cell((*key).clone(), cell.version, cell.expires);
            }
        }
    }
    if !leases.is_empty() {
        for (key, lease) in named.leases.iter().zip(fields(answers.next())?) {
            let token = |lease: Vec<u8>| {
                let token = load::text(&lease)?.split(' ').next().and_then(|token| token.parse().ok());
                token.ok_or_else(|| corrupt("not a lease"))
            };
            let token = lease.map(token).transpose()?;
            change.only_while_word(&keys.leases, key.as_str(), token);
            if let Some(token) = token {
                engine.load_lease((*key).clone(), token);
            }
        }
    }
    if !logs.is_empty() {
        for ((log, member), found) in named.logs.iter().zip(logs).zip(fields(answers.next())?) {
            if let Some(found) = &found {
                engine.load_log(logs::decode((*log).clone(), found)?);
            }
            change.only_while(&keys.logs, member, found);
        }
    }
    for (name, queue) in &mut named.queues {
        let keys = keys.queue(name);
        if !queue.messages.is_empty() {
            for (id, item) in queue.messages.iter().zip(fields(answers.next())?) {
                change.only_while(&keys.items, id.as_u64().to_string(), item.clone());
                if let Some(item) = item {
                    let item = decode_item(&item)?;
                    queue.order_keys.extend(item.message.order_key.clone());
                    loaded.insert(*id);
                    engine.load_message((*name).clone(), *id, item);
                }
            }
        }
        if !queue.dedup.is_empty() {
            for (key, remembered) in queue.dedup.iter().zip(fields(answers.next())?) {
                change.only_while(&keys.dedup, *key, remembered.clone());
                if let Some(remembered) = remembered {
                    let (id, until) =
                        load::text(&remembered)?.split_once(' ').ok_or_else(|| corrupt("not a dedup key"))?;
                    let until = until.parse().map_err(|_| corrupt("not a dedup key"))?;
                    let id = MessageId::from_u64(load::id(id.as_bytes())?);
                    engine.load_remembered(
                        (*name).clone(),
                        (*key).to_owned(),
                        id,
                        Timestamp::from_micros(until),
                    );
                }
            }
        }
    }
    load_order_keys(inner, &named, &mut engine, &loaded, &mut change).await?;

    let first = last_version - batches.len() as u64;
    let decide = |(index, batch): (usize, &&WriteBatch)| {
        engine.commit((*batch).clone(), Version::from_u64(first + 1 + index as u64), now)
    };
    let results: Results = batches.iter().enumerate().map(decide).collect();
    let changes = engine.changes();
    logs::write(&mut change, keys, &changes);
    write(inner, &mut change, &changes, now);
    let touched = !changes.messages.is_empty();
    if !change.is_empty()
        && let Applied::TooLate = apply(inner, &change).await?
    {
        return Ok(None);
    }
    if touched {
        inner.waiters.wake();
    }
    Ok(Some(results))
}

/// For each order key: whoever is offered or in flight, and as many of the blocked ones as may be let go on.
async fn load_order_keys(
    inner: &Inner,
    named: &Named<'_>,
    engine: &mut Engine,
    loaded: &BTreeSet<MessageId>,
    change: &mut Change,
) -> Result<(), StoreError> {
    let mut pipe = redis::pipe();
    let mut wanted = Vec::new();
    for (name, queue) in &named.queues {
        let keys = inner.keys.queue(name);
        for order_key in &queue.order_keys {
            let prefix = order_prefix(order_key);
            let range = [[b"[", &prefix[..]].concat(), [b"(", order_key.as_bytes(), b"\x01"].concat()];
            let limit = queue.may_unblock + 1;
            pipe.cmd("ZRANGEBYLEX").arg(&keys.order).arg(&range).arg("LIMIT").arg(0).arg(limit);
            wanted.push((*name, range, limit));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut missing: BTreeMap<&QueueName, BTreeSet<u64>> = BTreeMap::new();
    for ((name, range, limit), members) in wanted.into_iter().zip(ask(&inner.conn, &pipe).await?) {
        let members = list(Some(members))?;
        change.only_while_first(&inner.keys.queue(name).order, range, limit, &members);
        for member in &members {
            let id = order_id(member).ok_or_else(|| corrupt("not a place in an order"))?;
            if !loaded.contains(&MessageId::from_u64(id)) {
                missing.entry(name).or_default().insert(id);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for (name, ids) in &missing {
        pipe.cmd("HMGET").arg(&inner.keys.queue(name).items).arg(ids.iter().collect::<Vec<_>>());
    }
    for ((name, ids), items) in missing.iter().zip(ask(&inner.conn, &pipe).await?) {
        let keys = inner.keys.queue(name);
        for (id, item) in ids.iter().zip(fields(Some(items))?) {
            change.only_while(&keys.items, id.to_string(), item.clone());
            // Gone meanwhile: then the script will see that something changed.
            let Some(item) = item else { continue };
            engine.load_message((*name).clone(), MessageId::from_u64(*id), decode_item(&item)?);
        }
    }
    Ok(())
}

fn write(inner: &Inner, change: &mut Change, changes: &Changes, now: Timestamp) {
    let keys = &inner.keys;
    for (key, cell) in &changes.cells {
        let name = key.as_str().as_bytes();
        match cell {
            Some(cell) => {
                change.call("HSET", &keys.cells, [name, &encode_cell(cell)]);
                change.call("ZADD", &keys.cell_order, [b"0", name]);
                match cell.expires {
                    Some(at) => {
                        change.call("ZADD", &keys.cell_expiry, [at.as_micros().to_string().as_bytes(), name]);
                    }
                    None => change.call("ZREM", &keys.cell_expiry, [name]),
                }
            }
            None => {
                change.call("HDEL", &keys.cells, [name]);
                change.call("ZREM", &keys.cell_order, [name]);
                change.call("ZREM", &keys.cell_expiry, [name]);
            }
        }
    }
    for (id, message) in &changes.messages {
        let queue = keys.queue(&message.queue);
        place(change, &queue, *id, message.was.as_ref(), message.now.as_ref(), now);
        let number = id.as_u64().to_string();
        match &message.now {
            // Bodies are not loaded.
            Some(item) if message.has_new_body => {
                change.call("HSET", &queue.bodies, [number.as_bytes(), &item.message.body]);
            }
            Some(_) => {}
            None => change.call("HDEL", &queue.bodies, [number.as_bytes()]),
        }
    }
    for ((queue, key), (id, until)) in &changes.remembered {
        let (queue, until) = (keys.queue(queue), until.as_micros().to_string());
        change.call("HSET", &queue.dedup, [key.as_bytes(), format!("{id} {until}").as_bytes()]);
        change.call("ZADD", &queue.dedup_end, [until.as_bytes(), key.as_bytes()]);
    }
    for (name, counts) in &changes.queues {
        let queue = keys.queue(name);
        let by = [
            ("live", counts.live),
            ("blocked", counts.blocked),
            ("buried", counts.buried),
            ("enqueued", counts.enqueued.cast_signed()),
            ("acked", counts.acked.cast_signed()),
        ];
        for (count, by) in by.into_iter().filter(|(_, by)| *by != 0) {
            change.call("HINCRBY", &queue.counts, [count.as_bytes(), by.to_string().as_bytes()]);
        }
        if counts.enqueued > 0 {
            change.call("ZADD", &keys.queues, [b"0", name.as_str().as_bytes()]);
        }
    }
    if !changes.messages.is_empty() {
        change.call("PUBLISH", &keys.channel, [b""]);
    }
}

/// Moves a message from where it was to where it is, in every list.
fn place(
    change: &mut Change,
    queue: &QueueKeys,
    id: MessageId,
    before: Option<&Item>,
    after: Option<&Item>,
    now: Timestamp,
) {
    let number = id.as_u64().to_string();
    let number = number.as_bytes();
    if let Some(before) = before {
        match before.place {
            Place::Waiting | Place::InFlight => {
                // Its time may have come since: then it is among the ready ones.
                change.call("ZREM", &queue.ready, [number]);
                change.call("ZREM", &queue.flight, [number]);
                change.call("ZREM", &queue.delayed, [number]);
            }
            Place::Blocked => {}
            Place::Buried => change.call("ZREM", &queue.buried, [number]),
        }
        if before.place != Place::Buried {
            if after.is_none_or(|after| after.place == Place::Buried) {
                change.call("ZREM", &queue.live, [number]);
            }
            if let Some(key) = &before.message.order_key {
                let member = order_member(key, before.place == Place::Blocked, id.as_u64());
                change.call("ZREM", &queue.order, [&member]);
            }
        }
    }
    let Some(item) = after else { return change.call("HDEL", &queue.items, [number]) };
    change.call("HSET", &queue.items, [number, &encode_item(item)]);
    let at = item.visible_at.as_micros().to_string();
    match item.place {
        Place::Buried => return change.call("ZADD", &queue.buried, [number, number]),
        Place::Blocked => {}
        Place::InFlight => change.call("ZADD", &queue.flight, [at.as_bytes(), number]),
        Place::Waiting if item.visible_at > now => {
            change.call("ZADD", &queue.delayed, [at.as_bytes(), number])
        }
        Place::Waiting => {
            let score = ready_score(item.message.priority, id.as_u64()).to_string();
            change.call("ZADD", &queue.ready, [score.as_bytes(), number]);
        }
    }
    change.call("ZADD", &queue.live, [number, number]);
    if let Some(key) = &item.message.order_key {
        let member = order_member(key, item.place == Place::Blocked, id.as_u64());
        change.call("ZADD", &queue.order, [b"0", &member]);
    }
}

/// Removes what has expired: some of the cells, and some of the dedup keys of each queue. `KEYS`: cells, their order, their expiry; then of each
/// queue dedup keys and their ends. `ARGV`: the time (empty: the server's), how many of each. Answers 1 if there may be more.
pub(crate) const SWEEP: &str = r"
local now, more = ARGV[1], 0
if now == '' then
    local time = redis.call('TIME')
    now = string.format('%.0f', time[1] * 1000000 + time[2])
end
local function sweep(ends, keys, order)
    local due = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, ARGV[2])
    if #due == 0 then return end
    if #due == tonumber(ARGV[2]) then more = 1 end
    redis.call('HDEL', keys, unpack(due))
    redis.call('ZREM', ends, unpack(due))
    if order then redis.call('ZREM', order, unpack(due)) end
end
sweep(KEYS[3], KEYS[1], KEYS[2])
for i = 4, #KEYS, 2 do sweep(KEYS[i + 1], KEYS[i]) end
return more
";

/// Removes what has expired, some of it at a time.
#[derive(Default)]
struct Sweep {
    /// The queue behind which it goes on.
    after: Vec<u8>,
    /// Whether there was more: then it goes on after the next group, because a fixed rate would be too slow for somebody.
    more: bool,
}

impl Sweep {
    async fn run(&mut self, inner: &Inner) -> Result<(), StoreError> {
        self.more = false;
        let keys = &inner.keys;
        let from = if self.after.is_empty() { b"-".to_vec() } else { [b"(", &self.after[..]].concat() };
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGEBYLEX").arg(&keys.queues).arg(from).arg("+").arg("LIMIT").arg(0).arg(SWEEP_QUEUES);
        let mut queues = list(ask(&inner.conn, &pipe).await?.into_iter().next())?;
        let mut invocation = inner.sweep.key(&keys.cells);
        invocation.key(&keys.cell_order).key(&keys.cell_expiry);
        for name in &queues {
            let queue = keys.queue(&QueueName::new(load::text(name)?)?);
            invocation.key(queue.dedup).key(queue.dedup_end);
        }
        self.after = if queues.len() < SWEEP_QUEUES { Vec::new() } else { queues.pop().unwrap_or_default() };
        invocation.arg(inner.time_for_script()).arg(SWEEP_ROWS);
        let mut conn = inner.conn.clone();
        let more: i64 = invocation.invoke_async(&mut conn).await.map_err(failed)?;
        self.more = more > 0;
        Ok(())
    }
}

//! Group commit: whatever is waiting is read in one or two round trips, decided in memory one batch after the other, and
//! applied by one script, which does nothing when somebody else wrote meanwhile what had been read.

use crate::error::corrupt;
use crate::keys::{CELLS, LEASES, QueueKeys, sequence_of};
use crate::load::{self, Applied, Change, TRIES, apply, ask, fields, list, number};
use crate::logs;
use crate::receive::{self, Receive};
use crate::rows::{decode_cell, decode_item, encode_cell, order_id, order_member, order_prefix, ready_score};
use crate::store::Inner;
use martlet_base::{ClockHold, Rng, Timestamp};
use martlet_store::engine::{Changes, Engine, Item, Jobs, Named, Place, Reply};
use martlet_store::{Committed, MessageId, QueueName, StoreError, StoreErrorKind, Version, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// At most so many commits and so many bytes are applied by one script: the server does nothing else meanwhile.
const GROUP_COMMITS: usize = 128;
const GROUP_BYTES: usize = 8 << 20;

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

/// Works until the store is closed and everything that was sent before is done.
pub(crate) async fn run(inner: Arc<Inner>, mut jobs: Jobs<Job>) {
    let real = martlet_base::Clock::system();
    let rng = Rng::system();
    let (mut swept, mut sweep, mut next) = (real.now(), Sweep::default(), None);
    loop {
        let first = match next.take() {
            Some(job) => job,
            None => match jobs.next().await {
                Some(job) => job,
                None => return,
            },
        };
        let Job { work, hold } = first;
        match work {
            Work::Receive(receive) => receive::run(&inner, receive, &rng).await,
            Work::Commit { batch, reply } => {
                let mut bytes = batch.bytes();
                let (mut batches, mut replies) = (vec![batch], vec![(reply, hold)]);
                while batches.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
                    match jobs.waiting() {
                        Some(Job { work: Work::Commit { batch, reply }, hold }) => {
                            bytes += batch.bytes();
                            batches.push(batch);
                            replies.push((reply, hold));
                        }
                        Some(other) => {
                            next = Some(other);
                            break;
                        }
                        None => break,
                    }
                }
                let results = commit(&inner, &batches, &rng).await;
                for ((reply, hold), result) in replies.into_iter().zip(results) {
                    // Nobody listens any more when the future was dropped: the commit stands all the same.
                    reply.send(result);
                    drop(hold);
                }
                if sweep.more || real.now().since(swept) >= SWEEP_EVERY {
                    swept = real.now();
                    // What fails is tried again in a second.
                    let _ = sweep.run(&inner).await;
                }
            }
        }
    }
}

type Results = Vec<Result<Committed, StoreError>>;

async fn commit(inner: &Inner, batches: &[WriteBatch], rng: &Rng) -> Results {
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

pub(crate) fn too_busy() -> StoreError {
    let detail = "other processes write to the same keys all the time";
    StoreError::new(StoreErrorKind::Unavailable, detail).not_applied()
}

pub(crate) async fn give_way(rng: &Rng, tries: usize) {
    let ceiling = 100_u64 << tries.min(6);
    martlet_base::Clock::system().sleep(Duration::from_micros(rng.below(ceiling))).await;
}

/// The counters of what a group names.
fn counters(named: &Named<'_>) -> Vec<String> {
    let cells = (!named.cells.is_empty()).then(|| CELLS.to_owned());
    let leases = (!named.leases.is_empty()).then(|| LEASES.to_owned());
    cells.into_iter().chain(leases).chain(named.queues.keys().map(|name| sequence_of(name))).collect()
}

/// `None`: somebody else was faster, and nothing was done.
async fn attempt(inner: &Inner, batches: &[WriteBatch]) -> Result<Option<Results>, StoreError> {
    let mut named = Named::of(batches);
    let keys = &inner.keys;
    let counters = counters(&named);

    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("TIME");
    pipe.hincr(&keys.numbers, "version", batches.len());
    pipe.hincr(&keys.numbers, "message", named.new_messages());
    pipe.cmd("HMGET").arg(&keys.sequence).arg("none").arg(&counters);
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
    let mut change = Change::new(keys);
    for (counter, value) in counters.into_iter().zip(fields(answers.next())?.into_iter().skip(1)) {
        change.only_while(&keys.sequence, counter, value);
    }

    let mut engine = Engine::new(last_message - named.new_messages() + 1..=last_message);
    let mut loaded = BTreeSet::new();
    if !cells.is_empty() {
        for (key, cell) in named.cells.iter().zip(fields(answers.next())?) {
            if let Some(cell) = cell {
                let cell = decode_cell(&cell)?;
                engine.load_cell((*key).clone(), cell.version, cell.expires);
            }
        }
    }
    if !leases.is_empty() {
        for (key, lease) in named.leases.iter().zip(fields(answers.next())?) {
            if let Some(lease) = lease {
                let token = load::text(&lease)?.split(' ').next().and_then(|token| token.parse().ok());
                engine.load_lease((*key).clone(), token.ok_or_else(|| corrupt("not a lease"))?);
            }
        }
    }
    if !logs.is_empty() {
        for ((log, member), found) in named.logs.iter().zip(logs).zip(fields(answers.next())?) {
            if let Some(found) = &found {
                engine.load_log(logs::decode((*log).clone(), found)?);
            }
            // What is decided rests on nothing but this.
            change.only_while(&keys.logs, member, found);
        }
    }
    for (name, queue) in &mut named.queues {
        if !queue.messages.is_empty() {
            for (id, item) in queue.messages.iter().zip(fields(answers.next())?) {
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
    load_order_keys(inner, &named, &mut engine, &loaded).await?;

    let first = last_version - batches.len() as u64;
    let decide = |(index, batch): (usize, &WriteBatch)| {
        engine.commit(batch.clone(), Version::from_u64(first + 1 + index as u64), now)
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
) -> Result<(), StoreError> {
    let mut pipe = redis::pipe();
    let mut wanted = Vec::new();
    for (name, queue) in &named.queues {
        let keys = inner.keys.queue(name);
        for order_key in &queue.order_keys {
            let prefix = order_prefix(order_key);
            let (from, to) = ([b"[", &prefix[..]].concat(), [b"(", order_key.as_bytes(), b"\x01"].concat());
            pipe.cmd("ZRANGEBYLEX")
                .arg(&keys.order)
                .arg(from)
                .arg(to)
                .arg("LIMIT")
                .arg(0)
                .arg(queue.may_unblock + 1);
            wanted.push(*name);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut missing: BTreeMap<&QueueName, BTreeSet<u64>> = BTreeMap::new();
    for (name, members) in wanted.into_iter().zip(ask(&inner.conn, &pipe).await?) {
        for member in list(Some(members))? {
            let id = order_id(&member).ok_or_else(|| corrupt("not a place in an order"))?;
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
        for (id, item) in ids.iter().zip(fields(Some(items))?) {
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
        change.changes.insert(CELLS.to_owned());
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
        change.changes.insert(sequence_of(&message.queue));
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
        change.changes.insert(sequence_of(queue));
        let (queue, until) = (keys.queue(queue), until.as_micros().to_string());
        change.call("HSET", &queue.dedup, [key.as_bytes(), format!("{id} {until}").as_bytes()]);
        change.call("ZADD", &queue.dedup_end, [until.as_bytes(), key.as_bytes()]);
    }
    for (name, counts) in &changes.queues {
        change.changes.insert(sequence_of(name));
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
pub(crate) fn place(
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
    change.call("HSET", &queue.items, [number, item.encode_head().as_bytes()]);
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
        let now = inner.now().await?.as_micros().to_string();
        let due = |pipe: &mut redis::Pipeline, key: &str| {
            pipe.cmd("ZRANGEBYSCORE").arg(key).arg("-inf").arg(&now).arg("LIMIT").arg(0).arg(SWEEP_ROWS);
        };
        let mut pipe = redis::pipe();
        let from = if self.after.is_empty() { b"-".to_vec() } else { [b"(", &self.after[..]].concat() };
        pipe.cmd("ZRANGEBYLEX").arg(&keys.queues).arg(from).arg("+").arg("LIMIT").arg(0).arg(SWEEP_QUEUES);
        let names = list(ask(&inner.conn, &pipe).await?.into_iter().next())?;
        self.after =
            if names.len() < SWEEP_QUEUES { Vec::new() } else { names.last().cloned().unwrap_or_default() };
        let queues: Vec<QueueName> = names
            .iter()
            .map(|name| Ok(QueueName::new(load::text(name)?)?))
            .collect::<Result<_, StoreError>>()?;

        let mut pipe = redis::pipe();
        pipe.atomic();
        let counters: Vec<String> =
            std::iter::once(CELLS.to_owned()).chain(queues.iter().map(sequence_of)).collect();
        pipe.cmd("HMGET").arg(&keys.sequence).arg(&counters);
        due(&mut pipe, &keys.cell_expiry);
        for queue in &queues {
            due(&mut pipe, &keys.queue(queue).dedup_end);
        }
        let mut answers = ask(&inner.conn, &pipe).await?.into_iter();
        let sequences = fields(answers.next())?;
        let mut change = Change::new(keys);
        for (at, (counter, sequence)) in counters.into_iter().zip(sequences).enumerate() {
            let gone = list(answers.next())?;
            if gone.is_empty() {
                continue;
            }
            self.more |= gone.len() == SWEEP_ROWS;
            change.only_while(&keys.sequence, &counter[..], sequence);
            change.changes.insert(counter);
            let of_queue = at.checked_sub(1).and_then(|at| queues.get(at)).map(|queue| keys.queue(queue));
            for name in &gone {
                if let Some(queue) = &of_queue {
                    change.call("HDEL", &queue.dedup, [name]);
                    change.call("ZREM", &queue.dedup_end, [name]);
                } else {
                    change.call("HDEL", &keys.cells, [name]);
                    change.call("ZREM", &keys.cell_order, [name]);
                    change.call("ZREM", &keys.cell_expiry, [name]);
                }
            }
        }
        // Nothing was removed when somebody else was faster.
        self.more |= !change.is_empty() && matches!(apply(inner, &change).await?, Applied::TooLate);
        Ok(())
    }
}

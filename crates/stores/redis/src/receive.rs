//! Taking messages.

use crate::group::{give_way, place, too_busy};
use crate::keys::sequence_of;
use crate::load::{self, Applied, Change, TRIES, apply, ask, fields, list};
use crate::rows::decode_item;
use crate::store::Inner;
use bytes::Bytes;
use martlet_base::Rng;
use martlet_store::engine::{Place, Reply};
use martlet_store::{MessageId, QueueName, Received, StoreError};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// At most so many messages whose time has come are moved to the ready ones by one receive.
const DUE_AT_ONCE: usize = 1_000;

pub(crate) struct Receive {
    pub(crate) queue: QueueName,
    pub(crate) max: usize,
    pub(crate) visibility: Duration,
    pub(crate) reply: Reply<Vec<Received>>,
}

pub(crate) async fn run(inner: &Inner, receive: Receive, rng: &Rng) {
    // Nobody waits for it any more: what is not wanted is not hidden from others.
    if !receive.reply.is_awaited() {
        return;
    }
    for tries in 0..TRIES {
        match attempt(inner, &receive).await {
            Ok(None) => give_way(rng, tries).await,
            Ok(Some(received)) => return receive.reply.send(Ok(received)),
            Err(error) => return receive.reply.send(Err(error)),
        }
    }
    receive.reply.send(Err(too_busy()));
}

async fn attempt(inner: &Inner, receive: &Receive) -> Result<Option<Vec<Received>>, StoreError> {
    let Receive { queue: name, max, visibility, .. } = receive;
    if *max == 0 {
        return Ok(Some(Vec::new()));
    }
    let (queue, counter) = (inner.keys.queue(name), sequence_of(name));
    let now = match inner.simulated() {
        Some(now) => now,
        None => {
            let mut pipe = redis::pipe();
            pipe.cmd("TIME");
            load::time(ask(&inner.conn, &pipe).await?.into_iter().next())?
        }
    };
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("HMGET").arg(&inner.keys.sequence).arg(&counter);
    // More than a script can take anyway; the server's numbers have a sign.
    let due = (*max).clamp(DUE_AT_ONCE, 1 << 24);
    for timed in [&queue.flight, &queue.delayed] {
        pipe.cmd("ZRANGEBYSCORE").arg(timed).arg("-inf").arg(now.as_micros()).arg("LIMIT").arg(0).arg(due);
    }
    pipe.cmd("ZRANGE").arg(&queue.ready).arg(0).arg(isize::try_from(*max).unwrap_or(isize::MAX) - 1);
    let mut answers = ask(&inner.conn, &pipe).await?.into_iter();
    let sequence = fields(answers.next())?.pop().flatten();
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        for id in list(answers.next())? {
            ids.insert(load::id(&id)?);
        }
    }
    if ids.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut pipe = redis::pipe();
    pipe.cmd("HMGET").arg(&queue.items).arg(ids.iter().collect::<Vec<_>>());
    let items = fields(ask(&inner.conn, &pipe).await?.into_iter().next())?;
    let mut found = Vec::with_capacity(ids.len());
    for (id, item) in ids.into_iter().zip(items) {
        // Gone since it was listed: somebody else was faster.
        let Some(item) = item else { return Ok(None) };
        found.push((MessageId::from_u64(id), decode_item(&item)?));
    }
    found.sort_by_key(|(id, item)| (Reverse(item.message.priority), *id));

    let mut change = Change::new(&inner.keys);
    change.only_while(&inner.keys.sequence, &counter[..], sequence);
    change.changes.insert(counter);
    let bodies = {
        let taken: Vec<u64> = found.iter().take(*max).map(|(id, _)| id.as_u64()).collect();
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET").arg(&queue.bodies).arg(taken);
        fields(ask(&inner.conn, &pipe).await?.into_iter().next())?
    };
    let mut received = Vec::with_capacity(bodies.len());
    for (index, (id, before)) in found.into_iter().enumerate() {
        let Some(body) = bodies.get(index) else {
            // Its time has come, and others are before it.
            let mut item = before.clone();
            item.place = Place::Waiting;
            place(&mut change, &queue, id, Some(&before), Some(&item), now);
            continue;
        };
        let Some(body) = body else { return Ok(None) };
        let mut item = before.clone();
        let mut taken = item.deliver(name, id, now, *visibility);
        place(&mut change, &queue, id, Some(&before), Some(&item), now);
        taken.item.message.body = Bytes::copy_from_slice(body);
        received.push(taken);
    }
    match apply(inner, &change).await? {
        Applied::Done => Ok(Some(received)),
        Applied::TooLate => Ok(None),
    }
}

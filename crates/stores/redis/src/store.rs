use crate::builder::{RedisBuilder, Settings};
use crate::conn::Conn;
use crate::error::{corrupt, from_redis, invalid_url};
use crate::group::{self, Job, Work};
use crate::keys::Keys;
use crate::load::{self, ask, fields, list};
use crate::logs;
use crate::receive::{self, Receive};
use crate::rows::{decode_cell, decode_item};
use crate::{plain, quota, reads};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use martlet_base::{Clock, ClockHold, Timestamp};
use martlet_store::engine::{Closing, Handle, Reply, Waiters};
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem,
    QueueName, Received, Record, Store, StoreError, StoreErrorKind, WriteBatch, check_owner,
};
use redis::Value;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// `ready` looks again after this time at the latest: Redis does not promise that what is published arrives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long to wait before subscribing again.
const AGAIN: Duration = Duration::from_secs(1);

/// How many messages one look fetches.
const PAGE: usize = 500;

/// A [`Store`] in a Redis server. Cheap to clone; clones share a connection and tasks.
#[derive(Clone)]
pub struct RedisStore(Arc<Shared>);

struct Shared {
    inner: Arc<Inner>,
    handle: Handle<Job>,
}

pub(crate) struct Inner {
    pub(crate) conn: Conn,
    pub(crate) keys: Keys,
    pub(crate) apply: redis::Script,
    pub(crate) plain: redis::Script,
    pub(crate) receive: redis::Script,
    pub(crate) sweep: redis::Script,
    pub(crate) take: redis::Script,
    scan: redis::Script,
    depth: redis::Script,
    peek: redis::Script,
    lease: redis::Script,
    list_logs: redis::Script,
    pub(crate) replicas: Option<(usize, Duration)>,
    pub(crate) waiters: Waiters,
    clock: Option<Clock>,
    prefix: String,
}

impl Inner {
    pub(crate) fn simulated(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(Clock::wall)
    }

    /// In microseconds, as scripts take it: empty, they ask the server.
    pub(crate) fn time_for_script(&self) -> String {
        self.simulated().map_or_else(String::new, |now| now.as_micros().to_string())
    }

    fn hold(&self) -> ClockHold {
        self.clock.as_ref().map_or_else(ClockHold::none, Clock::hold)
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, StoreError> {
        if let Some(now) = self.simulated() {
            return Ok(now);
        }
        let mut pipe = redis::pipe();
        pipe.cmd("TIME");
        load::time(ask(&self.conn, &pipe).await?.into_iter().next())
    }
}

impl RedisStore {
    /// Connects to `url` (`redis://:password@host/0`) with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// See [`RedisBuilder::open`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).open().await
    }

    /// Sets options before connecting to `url`.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
    }

    pub(crate) async fn start(settings: Settings) -> Result<Self, StoreError> {
        let client = redis::Client::open(settings.url.as_str()).map_err(|error| invalid_url(&error))?;
        let conn = Conn::open(&client, &settings).await?;
        refuse_eviction(conn.clone()).await?;
        let inner = Arc::new(Inner {
            conn,
            keys: Keys::new(&settings.prefix),
            apply: redis::Script::new(load::APPLY),
            plain: redis::Script::new(plain::PLAIN),
            receive: redis::Script::new(receive::RECEIVE),
            sweep: redis::Script::new(group::SWEEP),
            take: redis::Script::new(quota::TAKE),
            scan: redis::Script::new(reads::SCAN),
            depth: redis::Script::new(reads::DEPTH),
            peek: redis::Script::new(reads::PEEK),
            lease: redis::Script::new(reads::LEASE),
            list_logs: redis::Script::new(logs::LIST),
            replicas: settings.replicas,
            waiters: Waiters::default(),
            clock: settings.clock,
            prefix: settings.prefix,
        });
        let (handle, jobs, closing) = Handle::new();
        tokio::spawn(group::run(Arc::clone(&inner), jobs));
        tokio::spawn(listen(Arc::downgrade(&inner), client, inner.keys.channel.clone(), closing));
        Ok(Self(Arc::new(Shared { inner, handle })))
    }

    /// What all keys begin with, in braces.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.inner.prefix
    }

    /// Finishes the commits that were sent. Every clone is closed; later calls fail with [`StoreErrorKind::Closed`]. Closing
    /// twice is fine. Dropped early, the closing goes on.
    pub async fn close(&self) {
        self.0.handle.close().await;
        // Those who wait for messages look again, and see that it is closed.
        self.0.inner.waiters.wake();
    }

    pub(crate) fn inner(&self) -> Result<&Arc<Inner>, StoreError> {
        self.0.handle.check_open().map(|()| &self.0.inner)
    }

    async fn send<T>(&self, work: impl FnOnce(Reply<T>) -> Work + Send) -> Result<T, StoreError> {
        self.0.handle.ask(|reply| Job { work: work(reply), hold: self.0.inner.hold() }).await
    }
}

/// A server that evicts keys would lose state without a word.
async fn refuse_eviction(mut conn: Conn) -> Result<(), StoreError> {
    let config = async |conn: &mut Conn, name: &str| -> Option<String> {
        // Where the configuration may not be read, it is believed to be right.
        let found: Result<Vec<String>, _> = redis::cmd("CONFIG").arg("GET").arg(name).query_async(conn).await;
        found.ok()?.pop()
    };
    let limited = config(&mut conn, "maxmemory").await.is_some_and(|bytes| bytes != "0");
    let policy = config(&mut conn, "maxmemory-policy").await;
    match policy {
        Some(policy) if limited && policy != "noeviction" => {
            let detail =
                format!("the server evicts keys when its memory is full (maxmemory-policy {policy})");
            Err(StoreError::new(StoreErrorKind::Unsupported, detail))
        }
        _ => Ok(()),
    }
}

/// Wakes those who wait whenever a queue was touched, until the store is gone.
async fn listen(inner: Weak<Inner>, client: redis::Client, channel: String, mut closing: Closing) {
    loop {
        let listen = async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.subscribe(&channel).await?;
            let mut heard = subscription.on_message();
            // What came while nobody listened may be waiting.
            loop {
                let Some(inner) = inner.upgrade() else { return Ok(()) };
                inner.waiters.wake();
                drop(inner);
                if heard.next().await.is_none() {
                    return Ok::<(), redis::RedisError>(());
                }
            }
        };
        tokio::select! {
            () = closing.closed() => return,
            // Without it those who wait look again every second: that is slower, not wrong.
            _ = listen => {}
        }
        tokio::select! {
            () = closing.closed() => return,
            () = Clock::system().sleep(AGAIN) => {}
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.0.inner.prefix)
            .field("closed", &self.inner().is_err())
            .finish_non_exhaustive()
    }
}

/// The first bytes behind everything that starts with `prefix`, as the end of a range.
fn range_end(prefix: &str) -> Vec<u8> {
    // 0xff is in no UTF-8.
    if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() }
}

#[async_trait]
impl Store for RedisStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        self.send(|reply| Work::Commit { batch, reply }).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("TIME");
        pipe.cmd("HMGET").arg(&inner.keys.cells).arg(keys.iter().map(CellKey::as_str).collect::<Vec<_>>());
        let mut answers = ask(&inner.conn, &pipe).await?.into_iter();
        let server = load::time(answers.next())?;
        let now = inner.simulated().unwrap_or(server);
        let live = |cell: Option<Vec<u8>>| {
            let cell = cell.map(|cell| decode_cell(&cell)).transpose()?;
            Ok(cell.filter(|cell| cell.is_live(now)))
        };
        fields(answers.next())?.into_iter().map(live).collect()
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let from = match after {
            Some(after) if after.as_str() >= prefix => [b"(", after.as_str().as_bytes()].concat(),
            _ if prefix.is_empty() => b"-".to_vec(),
            _ => [b"[", prefix.as_bytes()].concat(),
        };
        let now = inner.now().await?;
        let mut invocation = inner.scan.key(&inner.keys.cell_order);
        invocation.key(&inner.keys.cells);
        // A script that answered for longer would hold everybody up; who wants more gets it in pages anyway.
        let limit = limit.min(1 << 24);
        invocation.arg(from).arg(range_end(prefix)).arg(now.as_micros()).arg(limit);
        let mut conn = inner.conn.clone();
        let found: Value = invocation
            .invoke_async(&mut conn)
            .await
            .map_err(|error| from_redis("cannot read", &error).not_applied())?;
        let found = list(Some(found))?;
        let entry = |pair: &[Vec<u8>]| Ok((CellKey::new(load::text(&pair[0])?)?, decode_cell(&pair[1])?));
        found.chunks_exact(2).map(entry).collect()
    }

    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut pipe = redis::pipe();
        pipe.cmd("XRANGE").arg(inner.keys.log(log)).arg(from).arg("+").arg("COUNT").arg(limit);
        logs::records(ask(&inner.conn, &pipe).await?.into_iter().next())
    }

    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (from, to) = (logs::begin(Some(kind), after), logs::end(kind));
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGEBYLEX").arg(&inner.keys.log_open).arg(from).arg(to).arg("LIMIT").arg(0).arg(limit);
        let open = list(ask(&inner.conn, &pipe).await?.into_iter().next())?;
        open.iter().map(|member| logs::from_member(member)).collect()
    }

    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let mut invocation = inner.list_logs.key(&inner.keys.log_order);
        invocation.key(&inner.keys.logs).arg(logs::begin(None, after)).arg(limit.min(1 << 24));
        let mut conn = inner.conn.clone();
        let found: Value = invocation
            .invoke_async(&mut conn)
            .await
            .map_err(|error| from_redis("cannot read", &error).not_applied())?;
        logs::infos(list(Some(found))?)
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let queue = queue.clone();
        self.send(|reply| Work::Receive(Receive { queue, max, visibility, reply })).await
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let keys = inner.keys.queue(queue);
        let now = inner.now().await?;
        let (live, buried) = match state {
            None => (true, true),
            Some(MessageState::Buried) => (false, true),
            Some(_) => (true, false),
        };
        let mut after = after.map_or(0, MessageId::as_u64);
        let mut items: Vec<QueueItem> = Vec::new();
        while items.len() < limit {
            let page = PAGE.min(limit);
            let mut invocation = inner.peek.key(&keys.live);
            invocation.key(&keys.buried).key(&keys.items).key(&keys.bodies);
            invocation.arg(after).arg(page).arg(u8::from(live)).arg(u8::from(buried));
            let mut conn = inner.conn.clone();
            let found: Value = invocation
                .invoke_async(&mut conn)
                .await
                .map_err(|error| from_redis("cannot read", &error).not_applied())?;
            let found = list(Some(found))?;
            let mut entries = Vec::with_capacity(found.len() / 3);
            for entry in found.chunks_exact(3) {
                entries.push((load::id(&entry[0])?, &entry[1], &entry[2]));
            }
            entries.sort_by_key(|(id, ..)| *id);
            // Each list was read up to `page`: behind the first of their ends the other may have more.
            let is_last = entries.len() < page;
            entries.truncate(page);
            for (id, item, body) in entries {
                after = id;
                let mut item = decode_item(item)?;
                item.message.body = Bytes::copy_from_slice(body);
                let shown = item.show(MessageId::from_u64(id), now);
                if items.len() < limit && state.is_none_or(|state| shown.state == state) {
                    items.push(shown);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(items)
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let keys = inner.keys.queue(queue);
        let now = inner.now().await?;
        let mut invocation = inner.depth.key(&keys.counts);
        invocation.key(&keys.flight).key(&keys.delayed).key(&keys.live).key(&keys.items);
        invocation.arg(now.as_micros());
        let mut conn = inner.conn.clone();
        type Answer = (Vec<Option<i64>>, u64, u64, Vec<u8>);
        let (counts, in_flight, delayed, first): Answer = invocation
            .invoke_async(&mut conn)
            .await
            .map_err(|error| from_redis("cannot read", &error).not_applied())?;
        let count = |at: usize| counts.get(at).copied().flatten().unwrap_or(0).max(0).unsigned_abs();
        let mut depth = Depth::default();
        (depth.in_flight, depth.delayed) = (in_flight, delayed);
        (depth.blocked, depth.buried) = (count(1), count(2));
        (depth.enqueued, depth.acked) = (count(3), count(4));
        depth.ready = count(0).saturating_sub(depth.blocked + in_flight + delayed);
        if !first.is_empty() {
            depth.oldest = Some(decode_item(&first)?.enqueued);
        }
        Ok(depth)
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        let inner = &self.0.inner;
        let keys = inner.keys.queue(queue);
        let look = async {
            self.0.handle.check_open()?;
            let _hold = inner.hold();
            let now = inner.now().await?;
            let mut pipe = redis::pipe();
            pipe.atomic();
            pipe.cmd("ZCARD").arg(&keys.ready);
            for timed in [&keys.flight, &keys.delayed] {
                pipe.cmd("ZRANGE").arg(timed).arg(0).arg(0).arg("WITHSCORES");
            }
            let mut answers = ask(&inner.conn, &pipe).await?.into_iter();
            if load::number(answers.next())? > 0 {
                return Ok(Some(Duration::ZERO));
            }
            let mut next: Option<i64> = None;
            for timed in answers {
                let at: Option<(Vec<u8>, f64)> = match timed {
                    Value::Array(found) if found.is_empty() => None,
                    found => Some(redis::from_redis_value(found).map_err(|_| corrupt("not a time"))?),
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a time in microseconds is a whole number"
                )]
                let at = at.map(|(_, score)| score as i64);
                next = next.into_iter().chain(at).min();
            }
            Ok(next.map(|at| Timestamp::from_micros(at).since(now)))
        };
        let clock = inner.clock.clone().unwrap_or_else(Clock::system);
        inner.waiters.ready(&clock, LOOK_AGAIN, look).await
    }

    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        let inner = self.inner()?;
        let _hold = inner.hold();
        let from = after.map_or(b"-".to_vec(), |after| [b"(", after.as_str().as_bytes()].concat());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGEBYLEX").arg(&inner.keys.queues).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        let names = list(ask(&inner.conn, &pipe).await?.into_iter().next())?;
        names.iter().map(|name| Ok(QueueName::new(load::text(name)?)?)).collect()
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let inner = self.inner()?;
        let _hold = inner.hold();
        // Whole numbers above this are not exact in a script; it is about 285 years.
        let ttl = u64::try_from(ttl.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX).min(1 << 52);
        let now = inner.time_for_script();
        let mut invocation = inner.lease.key(&inner.keys.leases);
        invocation.arg(key.as_str()).arg(owner).arg(now).arg(ttl);
        let mut conn = inner.conn.clone();
        let token: u64 =
            invocation.invoke_async(&mut conn).await.map_err(|error| from_redis("cannot lease", &error))?;
        Ok((token > 0).then(|| Fence::new(key.clone(), token)))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner()?.now().await
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::NONE;
        capabilities.cells = true;
        capabilities.logs = true;
        capabilities.queues = true;
        capabilities.leases = true;
        capabilities.durable = true;
        capabilities.shared = true;
        capabilities
    }
}

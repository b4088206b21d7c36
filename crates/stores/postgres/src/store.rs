use crate::builder::{PostgresBuilder, Settings};
use crate::error::{corrupt_row, from_postgres, is_passing, no_connection};
use crate::group::{self, GroupSql, Job, QueueRows};
use crate::hash::hash;
use crate::query::{Conn, Sql};
use crate::reads::{DUE_AT_ONCE, ReadSql, bounds};
use crate::rows::{BLOCKED, BURIED, DELAYED, IN_FLIGHT, READY, ahead, item, time};
use crate::sweep::{self, SweepSql};
use crate::{listen, schema};
use async_trait::async_trait;
use bytes::Bytes;
use martlet_base::{Clock, ClockHold, Rng, Timestamp};
use martlet_store::engine::{Handle, Named, Waiters};
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem,
    QueueName, Receipt, Received, Record, Store, StoreError, StoreErrorKind, Version, WriteBatch,
    check_owner,
};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};

/// `ready` looks again after this time at the latest: a notification may have been lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Behind a pooler nobody tells.
const LOOK_OFTEN: Duration = Duration::from_millis(250);

/// How many slots the counts of a queue are spread over.
pub(crate) const SLOTS: i32 = 64;

/// A [`Store`] in a PostgreSQL database. Cheap to clone; clones share connections and tasks.
#[derive(Clone)]
pub struct PostgresStore(Arc<Shared>);

/// What users hold. The tasks hold the rest.
struct Shared {
    inner: Arc<Inner>,
    handle: Handle<Job>,
}

pub(crate) struct Inner {
    pub(crate) pool: deadpool_postgres::Pool,
    pub(crate) prepared: bool,
    /// Of several hosts the one that writes was asked for.
    pub(crate) follows: bool,
    /// Told when the store leaves a host.
    left: Arc<Notify>,
    pub(crate) group_sql: GroupSql,
    pub(crate) sweep_sql: SweepSql,
    sql: ReadSql,
    schema: String,
    clock: Option<Clock>,
    /// Keeps the advisory locks of different schemas apart.
    pub(crate) lock_class: i32,
    /// Where this store counts.
    pub(crate) slot: i32,
    queues: Mutex<QueueRows>,
    pub(crate) waiters: Waiters,
    touches: mpsc::UnboundedSender<QueueName>,
    pub(crate) notify: Sql,
    look_again: Duration,
}

impl Inner {
    pub(crate) fn simulated(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.wall().as_micros())
    }

    fn hold(&self) -> ClockHold {
        self.clock.as_ref().map_or_else(ClockHold::none, Clock::hold)
    }

    /// Tells other processes.
    pub(crate) fn announce<'a>(&self, queues: impl Iterator<Item = &'a QueueName>) {
        for queue in queues.collect::<BTreeSet<_>>() {
            // The task is gone when the store is.
            let _ = self.touches.send(queue.clone());
        }
    }

    /// Whether this host does not write (any more) and another one was asked for.
    pub(crate) fn leaves(&self, error: &StoreError) -> bool {
        self.follows && error.kind() == StoreErrorKind::ReadOnly
    }

    /// Closes the connections to a host that was demoted without cutting them. The next ones look for the host that writes.
    pub(crate) fn leave(&self, client: deadpool_postgres::Object) {
        drop(deadpool_postgres::Object::take(client));
        let _ = self.pool.retain(|_, _| false);
        self.left.notify_waiters();
    }

    async fn ask(
        &self,
        doing: &str,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let client = self.pool.get().await.map_err(|error| no_connection(&error))?;
            let error = match Conn::pooled(&client, self.prepared).query(sql, params).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            let told = from_postgres(doing, &error);
            let leaves = self.leaves(&told);
            if leaves {
                self.leave(client);
            }
            // A connection that was gone before it was used; twice is more than that.
            if tries == 3 || !(leaves || is_passing(&error)) {
                return Err(told);
            }
        }
    }

    async fn read(&self, sql: &Sql, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        self.ask("cannot read", sql, params).await.map_err(StoreError::not_applied)
    }

    async fn find_queues(&self, names: &[&str]) -> Result<(), StoreError> {
        let rows = self.read(&self.sql.find_queues, &[&names]).await?;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            queues.insert(QueueName::new(row.get(0))?, row.get(1));
        }
        Ok(())
    }

    fn known_queue(&self, name: &QueueName) -> Option<i64> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// After a fail-over that lost the making of a queue, its row is another one.
    pub(crate) fn forget_queues(&self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The rows of all queues that are named. Those that receive messages are made beforehand: an empty queue is no queue.
    pub(crate) async fn queue_rows(&self, named: &Named<'_>) -> Result<QueueRows, StoreError> {
        let unknown = |new_only: bool| -> Vec<&str> {
            let wanted = named.queues.iter().filter(|(_, queue)| !new_only || queue.new_messages > 0);
            let missing = wanted.filter(|(name, _)| self.known_queue(name).is_none());
            missing.map(|(name, _)| name.as_str()).collect()
        };
        let missing = unknown(false);
        if !missing.is_empty() {
            self.find_queues(&missing).await?;
            let missing = unknown(true);
            if !missing.is_empty() {
                let made = self.ask("cannot make a queue", &self.sql.make_queues, &[&missing]).await;
                made.map_err(StoreError::not_applied)?;
                self.find_queues(&missing).await?;
            }
        }
        let row = |name: &&QueueName| Some(((*name).clone(), self.known_queue(name)?));
        Ok(named.queues.keys().filter_map(row).collect())
    }
}

impl PostgresStore {
    /// Connects to `url` (`postgres://user:password@host/database`, or key and value pairs) with the defaults of
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// See [`PostgresBuilder::open`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).open().await
    }

    /// Sets options before connecting to `url`.
    pub fn builder(url: &str) -> PostgresBuilder {
        PostgresBuilder::new(url)
    }

    /// Sets options before connecting as `config` says.
    pub fn builder_from(config: Config) -> PostgresBuilder {
        PostgresBuilder::from_config(config)
    }

    pub(crate) async fn start(settings: Settings) -> Result<Self, StoreError> {
        let hold = settings.clock.as_ref().map_or_else(ClockHold::none, Clock::hold);
        let manager = settings.connector.manager(settings.config.clone());
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(settings.connections)
            .queue_mode(deadpool_postgres::QueueMode::Lifo)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(settings.wait))
            .create_timeout(Some(settings.wait))
            .build()
            .map_err(|error| StoreError::new(StoreErrorKind::Invalid, error.to_string()))?;
        let hash = hash(&[settings.schema.as_bytes()]);
        let quoted = format!("\"{}\"", settings.schema.replace('"', "\"\""));
        {
            let mut client = pool.get().await.map_err(|error| no_connection(&error))?;
            check_encoding(&client).await?;
            schema::migrate(&mut client, &settings.schema, &quoted, hash.cast_signed()).await?;
        }
        let (touches, touched) = mpsc::unbounded_channel();
        let listens = !settings.pooler || settings.listen.is_some();
        let rng = Rng::system();
        let left = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            pool,
            prepared: !settings.pooler,
            follows: settings.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite,
            left: Arc::clone(&left),
            group_sql: GroupSql::new(&quoted),
            sweep_sql: SweepSql::new(&quoted),
            sql: ReadSql::new(&quoted),
            schema: settings.schema.clone(),
            clock: settings.clock.clone(),
            // 31 bits of the hash.
            lock_class: i32::try_from(hash >> 33).unwrap_or(0),
            slot: i32::try_from(rng.below(u64::from(SLOTS.unsigned_abs()))).unwrap_or(0),
            notify: Sql::new(&quoted, listen::NOTIFY, &[Type::TEXT]),
            queues: Mutex::default(),
            waiters: Waiters::default(),
            touches,
            look_again: if listens { LOOK_AGAIN } else { LOOK_OFTEN },
        });
        let (handle, jobs, closing) = Handle::new();
        tokio::spawn(group::run(Arc::clone(&inner), jobs));
        let channel = format!("martlet_{hash:016x}");
        tokio::spawn(listen::announce(Arc::downgrade(&inner), channel.clone(), touched));
        tokio::spawn(sweep::run(Arc::downgrade(&inner), closing.clone()));
        if listens {
            let config = settings.listen.unwrap_or(settings.config);
            let connect = settings.connector.listener(config);
            tokio::spawn(listen::run(Arc::downgrade(&inner), connect, channel, left, closing));
        }
        drop(hold);
        Ok(Self(Arc::new(Shared { inner, handle })))
    }

    /// The schema that holds the tables.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.0.inner.schema
    }

    /// Finishes the commits that were sent and closes the connections. Every clone is closed; later calls fail with
    /// [`StoreErrorKind::Closed`]. Closing twice is fine. Dropped early, the closing goes on.
    pub async fn close(&self) {
        self.0.handle.close().await;
        // Those who wait for messages look again, and see that it is closed.
        self.0.inner.waiters.wake();
        self.0.inner.pool.close();
    }

    /// Applies `batch` in a transaction of the program's own, which decides about it with its commit: its own tables move
    /// together with the cells, logs and queues. An error of kind [`Conflict`](StoreErrorKind::Conflict) or
    /// [`StaleFence`](StoreErrorKind::StaleFence) leaves the transaction as it was, and it may go on.
    ///
    /// The transaction must be of isolation level READ COMMITTED, the default, and in the same database. It holds locks for the keys of the batch until
    /// it ends, and keeps what was deleted meanwhile in the indexes: make this call the last before the commit. Whoever waits for messages of the batch is not woken by it, and
    /// looks again within 5 seconds; call [`wake`](Self::wake) after the commit.
    ///
    /// Dropped before its end it leaves the batch in the transaction by half: roll the transaction back then.
    ///
    /// # Errors
    /// As for [`Store::commit`]. After any other error than the two above the transaction can only be rolled back.
    /// [`Invalid`](StoreErrorKind::Invalid): its isolation level is another one.
    pub async fn commit_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        batch: WriteBatch,
    ) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        self.0.handle.check_open()?;
        group::commit_in(&self.0.inner, transaction.client(), &batch).await
    }

    /// Wakes whoever waits for messages of `queue`, in this process and others: after the commit of a transaction that had a
    /// batch by [`commit_in`](Self::commit_in).
    pub fn wake(&self, queue: &QueueName) {
        self.0.inner.waiters.wake();
        self.0.inner.announce(std::iter::once(queue));
    }
}

async fn check_encoding(client: &tokio_postgres::Client) -> Result<(), StoreError> {
    let rows = client.simple_query("SHOW server_encoding").await;
    let rows = rows.map_err(|error| from_postgres("cannot open", &error).not_applied())?;
    let found = rows.iter().find_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    if found == Some("UTF8") {
        return Ok(());
    }
    let detail = format!("the database stores text as {}, and only UTF8 will do", found.unwrap_or("unknown"));
    Err(StoreError::new(StoreErrorKind::Unsupported, detail))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.0.inner.schema)
            .field("closed", &self.0.handle.check_open().is_err())
            .finish_non_exhaustive()
    }
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn cell(row: &Row) -> Cell {
    let value: &[u8] = row.get(3);
    let version = Version::from_u64(row.get::<_, i64>(1).unsigned_abs());
    Cell::new(Bytes::copy_from_slice(value), version, row.get::<_, Option<i64>>(2).map(time))
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        self.0.handle.ask(|reply| Job { batch, reply, hold: self.0.inner.hold() }).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let names: BTreeSet<&str> = keys.iter().map(CellKey::as_str).collect();
        let names: Vec<&str> = names.into_iter().collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let rows = inner.read(&inner.sql.get, &[&inner.simulated(), &names]).await?;
        let cells: HashMap<&str, Cell> = rows.iter().map(|row| (row.get(0), cell(row))).collect();
        Ok(keys.iter().map(|key| cells.get(key.as_str()).cloned()).collect())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        count: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        // No key holds a zero byte, and PostgreSQL takes none.
        if prefix.contains('\0') {
            return Ok(Vec::new());
        }
        let (from, end) = bounds(prefix, after);
        let params: [&(dyn ToSql + Sync); 4] = [&inner.simulated(), &from, &end, &limit(count)];
        let rows = inner.read(&inner.sql.scan, &params).await?;
        let entry = |row: &Row| {
            let key =
                CellKey::new(row.get(0)).map_err(|_| corrupt_row("a key that martlet does not write"))?;
            Ok((key, cell(row)))
        };
        rows.iter().map(entry).collect()
    }

    async fn read_log(&self, log: &LogId, from: u64, count: usize) -> Result<Vec<Record>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let params: [&(dyn ToSql + Sync); 4] = [&log.kind(), &log.id(), &from, &limit(count)];
        let rows = inner.read(&inner.sql.read_log, &params).await?;
        let record = |row: &Row| {
            let body: &[u8] = row.get(2);
            let sequence = row.get::<_, i64>(0).unsigned_abs();
            Record::new(sequence, time(row.get(1)), Bytes::copy_from_slice(body))
        };
        Ok(rows.iter().map(record).collect())
    }

    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        count: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let after = match after {
            // No kind holds a zero byte, and PostgreSQL takes none.
            _ if kind.contains('\0') => return Ok(Vec::new()),
            Some(after) if after.kind() > kind => return Ok(Vec::new()),
            Some(after) if after.kind() == kind => after.id(),
            _ => "",
        };
        let rows = inner.read(&inner.sql.open_logs, &[&kind, &after, &limit(count)]).await?;
        rows.iter().map(|row| Ok(LogId::new(kind, row.get(0))?)).collect()
    }

    async fn logs(&self, after: Option<&LogId>, count: usize) -> Result<Vec<LogInfo>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let (kind, id) = after.map_or(("", ""), |after| (after.kind(), after.id()));
        let rows = inner.read(&inner.sql.logs, &[&kind, &id, &limit(count)]).await?;
        let info = |row: &Row| {
            let id = LogId::new(row.get(0), row.get(1))?;
            let (last, sealed): (i64, Option<i64>) = (row.get(2), row.get(4));
            Ok(LogInfo::new(id, last.unsigned_abs(), time(row.get(3)), sealed.map(time)))
        };
        rows.iter().map(info).collect()
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let (now, name, max) = (inner.simulated(), queue.as_str(), limit(max));
        inner.ask("cannot receive", &inner.sql.due, &[&now, &name, &max.max(DUE_AT_ONCE)]).await?;
        let params: [&(dyn ToSql + Sync); 4] = [&now, &name, &max, &ahead(visibility)];
        let rows = inner.ask("cannot receive", &inner.sql.receive, &params).await?;
        let mut received = Vec::with_capacity(rows.len());
        for row in &rows {
            let delivery: i64 = row.get(14);
            let mut item = item(row, time(row.get(15)))?;
            item.state = MessageState::InFlight;
            let (id, until) = (item.id, item.visible_at);
            let receipt = Receipt::new(queue.clone(), id, delivery.unsigned_abs());
            received.push(Received::new(item, receipt, until));
        }
        received.sort_by_key(|one| (std::cmp::Reverse(one.item.message.priority), one.item.id));
        Ok(received)
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        count: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let name = queue.as_str();
        let after = after.map_or(0, |after| i64::try_from(after.as_u64()).unwrap_or(i64::MAX));
        let now = match inner.simulated() {
            Some(now) => time(now),
            None => self.now().await?,
        };
        let column = state.map(|state| match state {
            MessageState::InFlight => IN_FLIGHT,
            MessageState::Delayed => DELAYED,
            MessageState::Blocked => BLOCKED,
            MessageState::Buried => BURIED,
            _ => READY,
        });
        let rows = match column {
            Some(aside @ (BLOCKED | BURIED)) => {
                inner.read(&inner.sql.peek_aside, &[&name, &after, &aside, &limit(count)]).await?
            }
            _ => {
                let params: [&(dyn ToSql + Sync); 5] =
                    [&Some(now.as_micros()), &name, &after, &column, &limit(count)];
                inner.read(&inner.sql.peek, &params).await?
            }
        };
        rows.iter().map(|row| item(row, now)).collect()
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let rows = inner.read(&inner.sql.depth, &[&inner.simulated(), &queue.as_str()]).await?;
        let row = rows.first().ok_or_else(|| corrupt_row("no counts"))?;
        let count = |column: usize| row.get::<_, i64>(column).max(0).unsigned_abs();
        let mut depth = Depth::default();
        (depth.blocked, depth.buried) = (count(1), count(2));
        (depth.enqueued, depth.acked) = (count(3), count(4));
        (depth.in_flight, depth.delayed) = (count(5), count(6));
        depth.ready = count(0).saturating_sub(depth.blocked + depth.in_flight + depth.delayed);
        depth.oldest = row.get::<_, Option<i64>>(7).map(time);
        Ok(depth)
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        let inner = &self.0.inner;
        let look = async {
            self.0.handle.check_open()?;
            let _hold = inner.hold();
            let found = inner.read(&inner.sql.next, &[&inner.simulated(), &queue.as_str()]).await?.pop();
            Ok(found.and_then(|row| {
                if row.get(1) {
                    return Some(Duration::ZERO);
                }
                let (now, at) = (time(row.get(0)), row.get::<_, Option<i64>>(2).map(time));
                at.map(|at| at.since(now))
            }))
        };
        let clock = inner.clock.clone().unwrap_or_else(Clock::system);
        inner.waiters.ready(&clock, inner.look_again, look).await
    }

    async fn queues(&self, after: Option<&QueueName>, count: usize) -> Result<Vec<QueueName>, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let after = after.map_or("", QueueName::as_str);
        let rows = inner.read(&inner.sql.queues, &[&after, &limit(count)]).await?;
        rows.iter().map(|row| Ok(QueueName::new(row.get(0))?)).collect()
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        let _hold = inner.hold();
        let now = inner.simulated();
        let rows = if ttl.is_zero() {
            inner.ask("cannot release", &inner.sql.release, &[&now, &key.as_str(), &owner]).await?
        } else {
            let params: [&(dyn ToSql + Sync); 4] = [&now, &key.as_str(), &owner, &ahead(ttl)];
            inner.ask("cannot lease", &inner.sql.lease, &params).await?
        };
        Ok(rows.first().map(|row| Fence::new(key.clone(), row.get::<_, i64>(0).unsigned_abs())))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.0.handle.check_open()?;
        let inner = &self.0.inner;
        if let Some(now) = inner.simulated() {
            return Ok(time(now));
        }
        let rows = inner.read(&inner.sql.now, &[&None::<i64>]).await?;
        rows.first().map(|row| time(row.get(0))).ok_or_else(|| corrupt_row("no time"))
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

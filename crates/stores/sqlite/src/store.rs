use crate::builder::{Settings, SqliteBuilder};
use crate::connection::{self, Role};
use crate::error::{CommitWithError, closed, from_sqlite, lost};
use crate::keeper::{self, Poke, Shared};
use crate::reader::{self, ReadJob};
use crate::writer::{Job, Work, Writer};
use crate::{backup, mounts, schema};
use async_trait::async_trait;
use martlet_base::Timestamp;
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, Depth, Fence, LogId, LogInfo, MessageId, MessageState, QueueItem,
    QueueName, Received, Record, Store, StoreError, StoreErrorKind, WriteBatch, check_owner,
};
use rusqlite::Connection;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A [`Store`] in one SQLite file. Cheap to clone; clones share the threads and connections.
///
/// One thread writes, others read; any runtime may use it, and several at once. [`ready`](Store::ready) sleeps by the clock: the
/// system's wants a tokio runtime with time enabled. When the last clone is dropped, commits that were sent are finished and the threads
/// end; the drop waits for that. [`close`](Self::close) waits without blocking the thread.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    settings: Settings,
    shared: Arc<Shared>,
    /// `None` once closed.
    senders: Mutex<Option<Senders>>,
    threads: Vec<JoinHandle<()>>,
    /// Ends when the last thread has.
    alive: watch::Receiver<()>,
}

#[derive(Clone)]
struct Senders {
    writes: Sender<Job>,
    reads: Sender<ReadJob>,
    pokes: Sender<Poke>,
}

/// `ready` looks again after this time at the latest, in case a clock was set.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl SqliteStore {
    /// Opens or creates the file at `path` with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// See [`SqliteBuilder::open`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::builder(path).open().await
    }

    /// Sets options before opening the file at `path`.
    pub fn builder(path: impl Into<PathBuf>) -> SqliteBuilder {
        SqliteBuilder::new(path.into())
    }

    pub(crate) async fn start(settings: Settings) -> Result<Self, StoreError> {
        let path = &settings.path;
        if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
            let detail = "a path to a file is needed; for state in memory there is MemoryStore";
            return Err(StoreError::new(StoreErrorKind::Invalid, detail));
        }
        let _hold = settings.clock.hold();
        let (writes, write_jobs) = mpsc::channel();
        let (reads, read_jobs) = mpsc::channel();
        let (pokes, poked) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let (running, alive) = watch::channel(());
        // SQLite folds the write-ahead log in when the last connection closes, and two that close at the same time
        // each take the other for the last: the writer waits until the readers are gone.
        let (reading, readers_gone) = mpsc::channel::<()>();
        let (running, read_jobs) = (Arc::new(running), Arc::new(Mutex::new(read_jobs)));
        let mut threads = Vec::new();
        // An early return, or a caller who drops this future, drops the senders: threads that were started end by
        // themselves, and nobody waits for them.
        if !settings.read_only {
            let (settings, shared, pokes) = (settings.clone(), Arc::clone(&shared), pokes.clone());
            let body = move |ready| write_thread(&settings, shared, pokes, &write_jobs, &readers_gone, ready);
            threads.push(start_thread("martlet-sqlite-writer", &running, body).await?);
        }
        for _ in 0..settings.readers {
            let (settings, jobs, reading) = (settings.clone(), Arc::clone(&read_jobs), reading.clone());
            let body = move |ready| {
                read_thread(&settings, &jobs, ready);
                drop(reading);
            };
            threads.push(start_thread("martlet-sqlite-reader", &running, body).await?);
        }
        let body = {
            let (settings, shared) = (settings.clone(), Arc::clone(&shared));
            move |ready| {
                keep_thread(&settings, &poked, &shared, ready);
                drop(reading);
            }
        };
        threads.push(start_thread("martlet-sqlite-keeper", &running, body).await?);
        drop(running);
        Ok(Self(Arc::new(Inner {
            settings,
            shared,
            senders: Mutex::new(Some(Senders { writes, reads, pokes })),
            threads,
            alive,
        })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.settings.path
    }

    /// Reads the whole file and checks that it is sound (`PRAGMA integrity_check`). Takes about a second per GiB
    /// from memory, longer from disk; writers go on meanwhile. SQLite keeps no checksums: it sees that tables and indexes
    /// agree, and not that a byte inside of a value has changed.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] with the first finding. Dropped, the reading goes on, and ends without harm.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.read(reader::check).await
    }

    /// Applies `batch` and then the program's own statements, all in one transaction: its own tables in this file move together with
    /// the cells, logs and queues, or not at all.
    ///
    /// `own` runs on the thread that writes while others wait for it: no network, no long computation. It gets the
    /// connection inside of a transaction and must neither commit nor roll back; one that does makes all of it fail. The tables
    /// whose names begin with `martlet_` are not its business.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("state.db");
    /// # use martlet_sqlite::SqliteStore;
    /// # use martlet_store::{Message, QueueName, WriteBatch};
    /// let store = SqliteStore::open(&path).await?;
    /// let batch = WriteBatch::new().enqueue(QueueName::new("outbox")?, Message::new("order 7 was placed"));
    /// let (_committed, rows) = store
    ///     .commit_with(batch, |conn| {
    ///         conn.execute_batch("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)")?;
    ///         conn.execute("INSERT INTO orders VALUES (7)", [])
    ///     })
    ///     .await?;
    /// assert_eq!(rows, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CommitWithError::Store`] as for [`Store::commit`]; [`CommitWithError::Own`] with what `own` returned. A panic in `own`
    /// is an error of kind [`Invalid`](StoreErrorKind::Invalid). Dropped, it may still be applied.
    pub async fn commit_with<T, E>(
        &self,
        batch: WriteBatch,
        own: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<(Committed, T), CommitWithError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        batch.validate(&self.capabilities()).map_err(CommitWithError::Store)?;
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        let own = Box::new(move |conn: &Connection| {
            let result = own(conn);
            let done = result.is_ok();
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            done
        });
        let result = self.write(|reply| Work::With { batch, own, reply }).await;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, told) {
            (Ok(committed), Some(Ok(value))) => Ok((committed, value)),
            (Err(_), Some(Err(error))) => Err(CommitWithError::Own(error)),
            (Err(error), _) => Err(CommitWithError::Store(error)),
            (Ok(_), _) => Err(CommitWithError::Store(lost())),
        }
    }

    /// Copies the store as it is at one point in time to a new file at `to`, while it is in use; the copy is synced to disk.
    /// Reads and commits go on meanwhile. Until it is whole, the copy has another name, which ends with `.part`; a process that is killed
    /// leaves that behind.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when `to` exists, or another backup to it is under way; [`StoreErrorKind::NotFound`] when its folder does not;
    /// [`StoreErrorKind::Full`]. Dropped, the copying goes on.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), StoreError> {
        self.0.senders()?;
        let (settings, to) = (self.0.settings.clone(), to.into());
        let (reply, answer) = oneshot::channel();
        let hold = self.0.settings.clock.hold();
        // A thread of its own: reads go on.
        let work = move || {
            let _ = reply.send(backup::backup(&settings, &to));
            drop(hold);
        };
        std::thread::Builder::new()
            .name("martlet-sqlite-backup".to_owned())
            .spawn(work)
            .map_err(no_thread)?;
        answer.await.unwrap_or_else(|_| Err(lost().not_applied()))
    }

    /// Finishes the commits that were sent, closes the file and ends the threads. Every clone is closed; later calls
    /// fail with [`StoreErrorKind::Closed`]. Closing twice is fine. Dropped early, the closing goes on.
    pub async fn close(&self) {
        let _hold = self.0.settings.clock.hold();
        self.0.hang_up();
        let mut alive = self.0.alive.clone();
        // Nothing is ever sent: it errs when the last thread has dropped its end.
        while alive.changed().await.is_ok() {}
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let hold = self.0.settings.clock.hold();
        let job = Box::new(move |conn: &Connection| {
            // Nobody waits for it any more: a read that is not wanted is not begun.
            if !reply.is_closed() {
                let _ = reply.send(work(conn));
            }
            drop(hold);
        });
        self.0.senders()?.reads.send(job).map_err(|_| lost())?;
        answer.await.unwrap_or_else(|_| Err(lost().not_applied()))
    }

    async fn write<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Work + Send,
    ) -> Result<T, StoreError> {
        if self.0.settings.read_only {
            let detail = format!("{} was opened for reading only", self.0.settings.path.display());
            return Err(StoreError::new(StoreErrorKind::ReadOnly, detail));
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { work: work(reply), hold: self.0.settings.clock.hold() };
        self.0.senders()?.writes.send(job).map_err(|_| lost().not_applied())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Inner {
    fn senders(&self) -> Result<Senders, StoreError> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Threads end when all that was sent is done; those who wait for messages look again, and see that it is closed.
    fn hang_up(&self) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.touched.notify_waiters();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.hang_up();
        let here = std::thread::current().id();
        if self.threads.iter().any(|thread| thread.thread().id() == here) {
            // The program's own statements dropped the last clone: the thread that runs them cannot wait for itself.
            return;
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has told so on stderr and has answered with an error.
            let _ = thread.join();
        }
    }
}

type Ready = oneshot::Sender<Result<(), StoreError>>;

/// Starts a thread and waits until it says that it is ready or has failed.
async fn start_thread(
    name: &str,
    running: &Arc<watch::Sender<()>>,
    body: impl FnOnce(Ready) + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let (ready, is_ready) = oneshot::channel();
    let running = Arc::clone(running);
    let work = move || {
        // Dropped last: the connection is closed by then.
        let _running = running;
        body(ready);
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(no_thread)?;
    is_ready.await.unwrap_or_else(|_| Err(lost().not_applied()))?;
    Ok(thread)
}

fn no_thread(error: std::io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("cannot start a thread: {error}")).not_applied()
}

fn write_thread(
    settings: &Settings,
    shared: Arc<Shared>,
    keeper: Sender<Poke>,
    jobs: &Receiver<Job>,
    readers_gone: &Receiver<()>,
    ready: Ready,
) {
    let open = || {
        if let Some(kind) = mounts::network_file_system(&settings.path) {
            let detail = format!("{} lies on {kind}, a network file system", settings.path.display());
            return Err(StoreError::new(StoreErrorKind::Unsupported, detail));
        }
        let mut conn = connection::open(settings, Role::Writer)?;
        schema::migrate(&mut conn)?;
        Writer::new(conn, settings.clock.clone(), shared, keeper)
            .map_err(|error| from_sqlite("cannot set up the connection", &error).not_applied())
    };
    match open() {
        Ok(writer) => {
            let _ = ready.send(Ok(()));
            let _last_to_close = writer.run(jobs);
            // Errs when the last reader has dropped its end.
            let _ = readers_gone.recv();
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

fn keep_thread(settings: &Settings, pokes: &Receiver<Poke>, shared: &Shared, ready: Ready) {
    match connection::open(settings, Role::Keeper) {
        Ok(conn) => {
            let _ = ready.send(Ok(()));
            keeper::run(&conn, pokes, shared, settings.read_only);
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

fn read_thread(settings: &Settings, jobs: &Mutex<Receiver<ReadJob>>, ready: Ready) {
    let open = || {
        let conn = connection::open(settings, Role::Reader)?;
        schema::verify(&conn)?;
        Ok(conn)
    };
    match open() {
        Ok(conn) => {
            let _ = ready.send(Ok(()));
            reader::run(&conn, jobs);
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.0.settings.path)
            .field("read_only", &self.0.settings.read_only)
            .field("closed", &self.0.senders().is_err())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        batch.validate(&self.capabilities())?;
        self.write(|reply| Work::Commit { batch, reply }).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        let (keys, clock) = (keys.to_vec(), self.0.settings.clock.clone());
        self.read(move |conn| reader::get(conn, &keys, clock.wall())).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        let (prefix, after, clock) = (prefix.to_owned(), after.cloned(), self.0.settings.clock.clone());
        self.read(move |conn| reader::scan(conn, &prefix, after.as_ref(), limit, clock.wall())).await
    }

    async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let log = log.clone();
        self.read(move |conn| reader::logs::read(conn, &log, from, limit)).await
    }

    async fn open_logs(
        &self,
        kind: &str,
        after: Option<&LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, StoreError> {
        let (kind, after) = (kind.to_owned(), after.cloned());
        self.read(move |conn| reader::logs::open(conn, &kind, after.as_ref(), limit)).await
    }

    async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
        let after = after.cloned();
        self.read(move |conn| reader::logs::list(conn, after.as_ref(), limit)).await
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<Received>, StoreError> {
        let queue = queue.clone();
        self.write(|reply| Work::Receive { queue, max, visibility, reply }).await
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: Option<MessageState>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let (queue, clock) = (queue.clone(), self.0.settings.clock.clone());
        self.read(move |conn| reader::queues::peek(conn, &queue, state, after, limit, clock.wall())).await
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
        let (queue, clock) = (queue.clone(), self.0.settings.clock.clone());
        self.read(move |conn| reader::queues::depth(conn, &queue, clock.wall())).await
    }

    async fn ready(&self, queue: &QueueName) -> Result<(), StoreError> {
        // Listens before it looks: what comes in between is not missed.
        let mut touched = pin!(self.0.shared.touched.notified());
        touched.as_mut().enable();
        let _waiting = self.0.shared.wait();
        // The keeper, which may sleep for long, has somebody to look out for.
        self.0.senders()?.pokes.send(Poke::Waiting).map_err(|_| lost().not_applied())?;
        let name = queue.clone();
        let next = self.read(move |conn| reader::queues::next(conn, &name)).await?;
        let clock = &self.0.settings.clock;
        let wait = next.map_or(LOOK_AGAIN, |at| at.since(clock.wall()).min(LOOK_AGAIN));
        if !wait.is_zero() {
            tokio::select! {
                () = touched => {}
                () = clock.sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn queues(&self, after: Option<&QueueName>, limit: usize) -> Result<Vec<QueueName>, StoreError> {
        let after = after.cloned();
        self.read(move |conn| reader::queues::list(conn, after.as_ref(), limit)).await
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let (key, owner) = (key.clone(), owner.to_owned());
        self.write(|reply| Work::Lease { key, owner, ttl, reply }).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.0.settings.clock.wall())
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

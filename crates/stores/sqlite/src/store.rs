use crate::builder::{Settings, SqliteBuilder};
use crate::connection::{self, Role};
use crate::error::{closed, lost};
use crate::reader::{self, ReadJob};
use crate::writer::{Job, Work, Writer};
use crate::{mounts, schema};
use async_trait::async_trait;
use martlet_base::{Clock, Timestamp};
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, Fence, Store, StoreError, StoreErrorKind, WriteBatch, check_owner,
};
use rusqlite::Connection;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A [`Store`] in one SQLite file. Cheap to clone; clones share the threads and connections.
///
/// One thread writes, others read. When the last clone is dropped, commits that were sent are finished and the threads
/// end; the drop waits for that. [`close`](Self::close) waits without blocking the thread.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    clock: Clock,
    read_only: bool,
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
}

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
        let Settings { path, clock, .. } = &settings;
        if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
            let detail = "a path to a file is needed; for state in memory there is MemoryStore";
            return Err(StoreError::new(StoreErrorKind::Invalid, detail));
        }
        let _hold = clock.hold();
        let (writes, write_jobs) = mpsc::channel();
        let (reads, read_jobs) = mpsc::channel();
        let (running, alive) = watch::channel(());
        // SQLite folds the write-ahead log in when the last connection closes, and two that close at the same time
        // each take the other for the last: the writer waits until the readers are gone.
        let (reading, readers_gone) = mpsc::channel::<()>();
        let (running, read_jobs) = (Arc::new(running), Arc::new(Mutex::new(read_jobs)));
        let mut threads = Vec::new();
        // An early return, or a caller who drops this future, drops the senders: threads that were started end by
        // themselves, and nobody waits for them.
        if !settings.read_only {
            let settings = settings.clone();
            let body = move |ready| write_thread(&settings, &write_jobs, &readers_gone, ready);
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
        Ok(Self(Arc::new(Inner {
            path: path.clone(),
            clock: clock.clone(),
            read_only: settings.read_only,
            senders: Mutex::new(Some(Senders { writes, reads })),
            threads,
            alive,
        })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reads the whole file and checks that it is sound (`PRAGMA integrity_check`). Takes about a second per GiB
    /// from memory, longer from disk; writers go on meanwhile.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] with the first finding.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.read(reader::check).await
    }

    /// Finishes the commits that were sent, closes the file and ends the threads. Every clone is closed; later calls
    /// fail with [`StoreErrorKind::Closed`]. Closing twice is fine. Dropped early, the closing goes on.
    pub async fn close(&self) {
        let _hold = self.0.clock.hold();
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
        let hold = self.0.clock.hold();
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
        if self.0.read_only {
            let detail = format!("{} was opened for reading only", self.0.path.display());
            return Err(StoreError::new(StoreErrorKind::ReadOnly, detail));
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { work: work(reply), hold: self.0.clock.hold() };
        self.0.senders()?.writes.send(job).map_err(|_| lost().not_applied())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Inner {
    fn senders(&self) -> Result<Senders, StoreError> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Threads end when all that was sent is done.
    fn hang_up(&self) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.hang_up();
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
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        StoreError::new(StoreErrorKind::Unavailable, format!("cannot start a thread: {error}")).not_applied()
    })?;
    is_ready.await.unwrap_or_else(|_| Err(lost().not_applied()))?;
    Ok(thread)
}

fn write_thread(settings: &Settings, jobs: &Receiver<Job>, readers_gone: &Receiver<()>, ready: Ready) {
    let open = || {
        if let Some(kind) = mounts::network_file_system(&settings.path) {
            let detail = format!("{} lies on {kind}, a network file system", settings.path.display());
            return Err(StoreError::new(StoreErrorKind::Unsupported, detail));
        }
        let mut conn = connection::open(settings, Role::Writer)?;
        schema::migrate(&mut conn)?;
        Ok(conn)
    };
    match open() {
        Ok(conn) => {
            let _ = ready.send(Ok(()));
            let mut writer = Writer::new(conn, settings.clock.clone());
            writer.run(jobs);
            // Errs when the last reader has dropped its end.
            let _ = readers_gone.recv();
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
            .field("path", &self.0.path)
            .field("read_only", &self.0.read_only)
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
        let (keys, clock) = (keys.to_vec(), self.0.clock.clone());
        self.read(move |conn| reader::get(conn, &keys, clock.wall())).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        let (prefix, after, clock) = (prefix.to_owned(), after.cloned(), self.0.clock.clone());
        self.read(move |conn| reader::scan(conn, &prefix, after.as_ref(), limit, clock.wall())).await
    }

    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_owner(owner)?;
        let (key, owner) = (key.clone(), owner.to_owned());
        self.write(|reply| Work::Lease { key, owner, ttl, reply }).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.0.clock.wall())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::NONE;
        capabilities.cells = true;
        capabilities.leases = true;
        capabilities.durable = true;
        capabilities.shared = true;
        capabilities
    }
}

use crate::SqliteStore;
use martlet_base::Clock;
use martlet_store::StoreError;
use std::path::PathBuf;
use std::time::Duration;

/// When a commit is told to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// After the disk says that it has it (`synchronous=FULL`): an acknowledged commit survives a power failure. Each
    /// group of commits costs one sync.
    #[default]
    Full,
    /// After the operating system has it (`synchronous=NORMAL`): an acknowledged commit survives a crash or kill of the
    /// process. A power failure or a crash of the machine may undo the last commits, as a whole and from the end; the
    /// file stays sound. Commits do not wait for the disk: for state that can be had again.
    Normal,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) durability: Durability,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) busy_timeout: Duration,
    pub(crate) readers: usize,
    pub(crate) max_bytes: Option<u64>,
}

/// How to open a [`SqliteStore`]. Made by [`SqliteStore::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct SqliteBuilder(pub(crate) Settings);

impl SqliteBuilder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Settings {
            path,
            clock: Clock::system(),
            durability: Durability::Full,
            create: true,
            read_only: false,
            busy_timeout: Duration::from_secs(10),
            readers: 2,
            max_bytes: None,
        })
    }

    /// The clock by which cells expire and leases end; the system's unless said otherwise. Processes that share a file
    /// should agree on the time. A simulated clock is held while work is under way.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.0.clock = clock;
        self
    }

    /// When a commit is told to be done; [`Durability::Full`] unless said otherwise.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self
    }

    /// Whether a missing file is created; true unless said otherwise. A missing folder never is.
    pub fn create(mut self, create: bool) -> Self {
        self.0.create = create;
        self
    }

    /// Opens the file for reading only: commits are refused. False unless said otherwise.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.0.read_only = read_only;
        self
    }

    /// How long to wait while another process writes; 10 s unless said otherwise. Then every commit that waits fails with
    /// [`StoreErrorKind::Unavailable`](martlet_store::StoreErrorKind::Unavailable), and none of them was applied.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.0.busy_timeout = timeout;
        self
    }

    /// How many threads read; 2 unless said otherwise, at least 1. Each has a connection of about 1 MiB.
    pub fn readers(mut self, readers: usize) -> Self {
        self.0.readers = readers.max(1);
        self
    }

    /// The size beyond which the file does not grow: commits that need more fail with
    /// [`StoreErrorKind::Full`](martlet_store::StoreErrorKind::Full). In bytes, rounded down to pages; no limit unless
    /// said otherwise. The write-ahead log beside it comes on top.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.0.max_bytes = Some(bytes);
        self
    }

    /// Opens the store, creates or upgrades its tables, and starts its threads.
    ///
    /// # Errors
    /// [`NotFound`](martlet_store::StoreErrorKind::NotFound): the file or its folder is missing.
    /// [`Corrupt`](martlet_store::StoreErrorKind::Corrupt): it is no SQLite database, or a damaged one.
    /// [`Incompatible`](martlet_store::StoreErrorKind::Incompatible): a newer martlet wrote it.
    /// [`Unsupported`](martlet_store::StoreErrorKind::Unsupported): it lies on a network file system, where SQLite's
    /// write-ahead log does not work. [`Unavailable`](martlet_store::StoreErrorKind::Unavailable): another process
    /// kept it locked.
    ///
    /// Dropped before it is done, it leaves at most an empty store behind.
    pub async fn open(self) -> Result<SqliteStore, StoreError> {
        SqliteStore::start(self.0).await
    }
}

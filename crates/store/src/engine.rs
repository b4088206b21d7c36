//! For those who bring a database: everything of a [`Store`](crate::Store) that is not the database.
//!
//! The rules of the contract (versions, fences, order keys, receipts, duplicates, histories) are in the [`Engine`], which is
//! [`MemoryStore`](crate::MemoryStore) too. A backend reads and writes rows, in an async client or on a thread, as its database wants it. A
//! commit is three steps, and nobody may write in between what was loaded:
//!
//! 1. **load** what the batch names: [`Named`] lists it;
//! 2. **decide**: [`Engine::commit`], which asks nobody;
//! 3. **write** what changed: [`Engine::changes`].
//!
//! | the database has | so nobody writes in between | see |
//! |---|---|---|
//! | one writer at a time (embedded ones) | all three steps are one write transaction | `examples/another_store` |
//! | transactions with locks (PostgreSQL, MySQL) | a lock for everything that is named, whether it is there or not (`pg_advisory_xact_lock`, or a row in a table of locks), taken in one order; a deadlock or a lost connection before the commit: again | `martlet-postgres` |
//! | conditional writes (Redis, DynamoDB, etcd) | the write is made on condition that everything that is named is as it was loaded, or still is not there, and so are the first of each order key; simpler, and good enough for few writers: that a counter of the cells, of the leases, of each log and of each queue has not moved, which each write moves on. Refused: again | `martlet-redis` |
//!
//! Versions of rows alone do not do for conditions: a batch may also rest on a row that is not there. To begin again is to load again, into a
//! new engine. When a database does not say whether it committed, neither may the store: an error of kind
//! [`Unavailable`](crate::StoreErrorKind::Unavailable), and [`not_applied`](crate::StoreError::not_applied) on all that surely did not.
//!
//! ```
//! # use martlet_base::Timestamp;
//! # use martlet_store::{Cell, CellKey, Expect};
//! # use std::collections::{BTreeMap, BTreeSet};
//! use martlet_store::engine::{Engine, Named};
//! use martlet_store::{Committed, StoreError, StoreErrorKind, Version, WriteBatch};
//!
//! # #[derive(Default)]
//! # struct Database(std::sync::Mutex<(u64, BTreeMap<CellKey, Cell>)>);
//! # impl Database {
//! #     async fn read(&self, keys: &BTreeSet<&CellKey>) -> Result<(u64, Vec<(CellKey, Cell)>), StoreError> {
//! #         let database = self.0.lock().unwrap();
//! #         let found = keys.iter().filter_map(|key| Some(((*key).clone(), database.1.get(*key)?.clone())));
//! #         Ok((database.0, found.collect()))
//! #     }
//! #     async fn write_if(&self, counter: u64, cells: BTreeMap<CellKey, Option<Cell>>) -> Result<bool, StoreError> {
//! #         let mut database = self.0.lock().unwrap();
//! #         if database.0 != counter { return Ok(false) }
//! #         database.0 += 1;
//! #         for (key, cell) in cells {
//! #             match cell {
//! #                 Some(cell) => drop(database.1.insert(key, cell)),
//! #                 None => drop(database.1.remove(&key)),
//! #             }
//! #         }
//! #         Ok(true)
//! #     }
//! #     fn now(&self) -> Timestamp { Timestamp::UNIX_EPOCH }
//! # }
//! /// Cells, in a database with conditional writes.
//! async fn commit(database: &Database, batch: &WriteBatch) -> Result<Committed, StoreError> {
//!     for _ in 0..100 {
//!         let named = Named::of([batch]);
//!         let mut engine = Engine::new([]);
//!         // At one point in time: so a refusal is right, whoever writes meanwhile.
//!         let (counter, cells) = database.read(&named.cells).await?;
//!         for (key, cell) in cells {
//!             engine.load_cell(key, cell.version, cell.expires);
//!         }
//!         let committed = engine.commit(batch.clone(), Version::from_u64(counter + 1), database.now())?;
//!         if database.write_if(counter, engine.changes().cells).await? {
//!             return Ok(committed);
//!         }
//!         // Somebody else was faster. A pause of random length lets both go on.
//!     }
//!     Err(StoreError::new(StoreErrorKind::Unavailable, "others write all the time").not_applied())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), StoreError> {
//! # let database = Database::default();
//! let key = CellKey::new("greeting")?;
//! let first = commit(&database, &WriteBatch::new().put(key.clone(), Expect::Absent, "hello")).await?;
//! commit(&database, &WriteBatch::new().put(key.clone(), first.version(), "good morning")).await?;
//! let late = commit(&database, &WriteBatch::new().put(key, first.version(), "good night")).await;
//! assert!(late.unwrap_err().is_conflict());
//! # Ok(()) }
//! ```
//!
//! Beside commits:
//!
//! * [`Store::receive`](crate::Store::receive) finds [`Item`]s that are due, and stores them as [`Item::deliver`] leaves them, under the same
//!   locks or conditions as a commit;
//! * [`Store::lease`](crate::Store::lease) stores what [`Lease::take`] says, in the same way;
//! * [`Store::ready`](crate::Store::ready) is [`Waiters::ready`];
//! * [`Store::depth`](crate::Store::depth) counts by [`Item::count_in`], or reads counters that move by [`QueueChange`];
//! * a group commit loads and decides about many batches at once: callers send them through a [`Handle`] to a task that takes what is
//!   waiting in its [`Jobs`]. It is also what makes an end of a store that is closed or dropped;
//! * what is left are plain reads. A store without queues, logs or leases leaves those out of its
//!   [`Capabilities`](crate::Capabilities), and their methods as they are.

mod item;
mod lease;
mod named;
mod waiters;

pub use crate::handle::{Closing, Handle, Jobs, Reply};
pub use crate::memory::engine::{Changes, Engine, LogChange, MessageChange, QueueChange};
pub use item::{Item, Place};
pub use lease::Lease;
pub use named::{Named, NamedQueue};
pub use waiters::Waiters;

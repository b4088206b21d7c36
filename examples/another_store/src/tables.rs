//! How it all lies in redb: a table for each thing, and two indexes of messages.

use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::{Item, Place};
use martlet_store::{Cell, LogId, LogInfo, MessageId, QueueName, StoreError, StoreErrorKind, Version};
use redb::{ReadableTable, Table, TableDefinition as Def, WriteTransaction};

/// Each row's columns. Times are microseconds: version, expiry, value.
type CellRow<'a> = (u64, Option<i64>, &'a [u8]);
/// Last sequence number, when it was appended, when the log was sealed.
type LogRow = (u64, i64, Option<i64>);
/// All but the body as JSON, body.
type MessageRow<'a> = (&'a str, &'a [u8]);

pub(crate) const CELLS: Def<'_, &str, CellRow<'_>> = Def::new("cells");
/// Owner, token, end.
pub(crate) const LEASES: Def<'_, &str, (&str, u64, i64)> = Def::new("leases");
/// By kind and id.
pub(crate) const LOGS: Def<'_, (&str, &str), LogRow> = Def::new("logs");
pub(crate) const RECORDS: Def<'_, (&str, &str, u64), (i64, &[u8])> = Def::new("records");
/// By queue and number.
pub(crate) const MESSAGES: Def<'_, (&str, u64), MessageRow<'_>> = Def::new("messages");
/// Messages that can be received at a time: queue, time, number. With their priority.
pub(crate) const DUE: Def<'_, (&str, i64, u64), i16> = Def::new("due");
/// Messages of an order key: queue, key, whether it is blocked, number.
pub(crate) const ORDERED: Def<'_, (&str, &str, bool, u64), ()> = Def::new("ordered");
/// Dedup keys of a queue: the message, and until when the key is remembered.
pub(crate) const DEDUP: Def<'_, (&str, &str), (u64, i64)> = Def::new("dedup");
/// Ever enqueued and ever acknowledged, by queue.
pub(crate) const TOTALS: Def<'_, &str, (u64, u64)> = Def::new("totals");
/// The last version and the last number of a message.
pub(crate) const NUMBERS: Def<'_, &str, u64> = Def::new("numbers");

/// Makes the tables, so that reads find them.
pub(crate) fn create(txn: &WriteTransaction) -> Db<()> {
    drop((txn.open_table(CELLS)?, txn.open_table(LEASES)?, txn.open_table(LOGS)?, txn.open_table(RECORDS)?));
    drop((txn.open_table(DEDUP)?, txn.open_table(TOTALS)?, txn.open_table(NUMBERS)?));
    Messages::open(txn).map(drop)
}

/// Why a transaction comes to nothing: trouble of redb, or the refusal of a batch.
pub(crate) struct Failed(pub(crate) StoreError);
pub(crate) type Db<T> = Result<T, Failed>;

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

macro_rules! not_committed {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Failed {
            fn from(error: redb::$error) -> Self {
                Self(told(error).not_applied())
            }
        })*
    };
}
not_committed!(TransactionError TableError StorageError);

/// From redb's words to ours.
pub(crate) fn told(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let kind = match &error {
        redb::Error::Corrupted(_) => StoreErrorKind::Corrupt,
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => StoreErrorKind::Full,
        redb::Error::ValueTooLarge(_) => StoreErrorKind::TooLarge,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("redb: {error}"))
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn cell((version, expires, value): CellRow<'_>) -> Cell {
    Cell::new(Bytes::copy_from_slice(value), Version::from_u64(version), expires.map(time))
}

pub(crate) fn log((kind, id): (&str, &str), (last, updated, sealed): LogRow) -> Db<LogInfo> {
    let id = LogId::new(kind, id).map_err(StoreError::from)?;
    Ok(LogInfo::new(id, last, time(updated), sealed.map(time)))
}

pub(crate) fn message((head, body): MessageRow<'_>) -> Db<Item> {
    Ok(Item::decode(head.as_bytes(), Bytes::copy_from_slice(body))?)
}

/// Messages and their indexes, to be written.
pub(crate) struct Messages<'txn> {
    pub(crate) items: Table<'txn, (&'static str, u64), MessageRow<'static>>,
    pub(crate) due: Table<'txn, (&'static str, i64, u64), i16>,
    pub(crate) ordered: Table<'txn, (&'static str, &'static str, bool, u64), ()>,
}

impl<'txn> Messages<'txn> {
    pub(crate) fn open(txn: &'txn WriteTransaction) -> Db<Self> {
        let (items, due) = (txn.open_table(MESSAGES)?, txn.open_table(DUE)?);
        Ok(Self { items, due, ordered: txn.open_table(ORDERED)? })
    }

    pub(crate) fn get(&self, queue: &QueueName, id: MessageId) -> Db<Option<Item>> {
        self.items.get((queue.as_str(), id.as_u64()))?.map(|row| message(row.value())).transpose()
    }

    /// The one place where a message changes.
    pub(crate) fn set(
        &mut self,
        queue: &QueueName,
        id: MessageId,
        was: Option<&Item>,
        now: Option<&Item>,
    ) -> Db<()> {
        let (queue, id) = (queue.as_str(), id.as_u64());
        if let Some(item) = was {
            self.items.remove((queue, id))?;
            if let Some(at) = item.due() {
                self.due.remove((queue, at.as_micros(), id))?;
            }
            if let Some(key) = item.order_key() {
                self.ordered.remove((queue, key, item.place == Place::Blocked, id))?;
            }
        }
        if let Some(item) = now {
            self.items.insert((queue, id), (&item.encode_head()[..], &item.message.body[..]))?;
            if let Some(at) = item.due() {
                self.due.insert((queue, at.as_micros(), id), item.message.priority)?;
            }
            if let Some(key) = item.order_key() {
                self.ordered.insert((queue, key, item.place == Place::Blocked, id), ())?;
            }
        }
        Ok(())
    }
}

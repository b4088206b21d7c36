//! How it all lies in redb: a table for each thing, and two indexes of messages.

use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::{Item, Place};
use martlet_store::{BuryKind, BuryReason, Cell, Message, MessageId, PastDelivery, Version};
use redb::{AccessGuard, ReadTransaction, ReadableTable, Table, TableDefinition as Def, WriteTransaction};
use std::time::Duration;

/// What redb answers. What martlet cannot have written is `Corrupted`.
pub(crate) type Db<T> = Result<T, redb::Error>;

/// Each row's columns: version, expiry, value. Times are microseconds.
pub(crate) type CellRow = (u64, Option<i64>, &'static [u8]);
/// Last sequence number, when it was appended, when the log was sealed.
pub(crate) type LogRow = (u64, i64, Option<i64>);
/// All but the body as JSON, body.
pub(crate) type MessageRow = (&'static str, &'static [u8]);

pub(crate) const CELLS: Def<'_, &str, CellRow> = Def::new("cells");
/// Owner, token, end.
pub(crate) const LEASES: Def<'_, &str, (&str, u64, i64)> = Def::new("leases");
/// By kind and id.
pub(crate) const LOGS: Def<'_, (&str, &str), LogRow> = Def::new("logs");
pub(crate) const RECORDS: Def<'_, (&str, &str, u64), (i64, &[u8])> = Def::new("records");
/// By queue and number.
pub(crate) const MESSAGES: Def<'_, (&str, u64), MessageRow> = Def::new("messages");
/// Messages that can be received at a time: queue, time, number. With their priority.
pub(crate) const TIMED: Def<'_, (&str, i64, u64), i16> = Def::new("timed");
/// Messages that have an order key and are not buried: queue, key, whether it is blocked, number.
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

pub(crate) fn corrupt(what: &str) -> redb::Error {
    redb::Error::Corrupted(format!("{what} that martlet does not write"))
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn cell(row: &AccessGuard<'_, CellRow>) -> Cell {
    let (version, expires, value) = row.value();
    Cell::new(Bytes::copy_from_slice(value), Version::from_u64(version), expires.map(time))
}

/// A message without its body: place, times (visible, enqueued, received), last delivery and whether it is held, deliveries, priority,
/// order key, dedup key and its window, not before, why it was buried, history.
type Head = (
    (usize, [i64; 3], u64, bool, u32),
    (i16, Option<String>, Option<String>, u64, Option<i64>),
    (Option<(String, String)>, String),
);

const PLACES: [Place; 4] = [Place::Waiting, Place::InFlight, Place::Blocked, Place::Buried];

fn encode(item: &Item) -> String {
    let message = &item.message;
    let place = PLACES.iter().position(|place| *place == item.place).unwrap_or(0);
    let times = [item.visible_at, item.enqueued, item.received].map(Timestamp::as_micros);
    let window = u64::try_from(message.dedup_window.as_micros()).unwrap_or(u64::MAX);
    let not_before = message.not_before.map(Timestamp::as_micros);
    let buried = item.buried.as_ref().map(|why| (why.kind.as_str().to_owned(), why.detail.clone()));
    let head: Head = (
        (place, times, item.delivery, item.held, item.deliveries),
        (message.priority, message.order_key.clone(), message.dedup.clone(), window, not_before),
        (buried, PastDelivery::encode(&item.history)),
    );
    serde_json::to_string(&head).expect("numbers and text are always JSON")
}

pub(crate) fn decode((head, body): (&str, &[u8])) -> Db<Item> {
    let wrong = || corrupt("a message");
    let (of_item, of_message, (buried, history)): Head = serde_json::from_str(head).map_err(|_| wrong())?;
    let (place, times, delivery, held, deliveries) = of_item;
    let (priority, order_key, dedup, window, not_before) = of_message;
    let mut message = Message::new(Bytes::copy_from_slice(body)).priority(priority);
    (message.order_key, message.dedup) = (order_key, dedup);
    message.dedup_window = Duration::from_micros(window);
    message.not_before = not_before.map(time);
    let [visible_at, enqueued, received] = times.map(time);
    let mut item = Item::new(message, enqueued);
    item.place = PLACES.get(place).copied().ok_or_else(wrong)?;
    (item.visible_at, item.received) = (visible_at, received);
    (item.delivery, item.held, item.deliveries) = (delivery, held, deliveries);
    item.history = PastDelivery::decode(&history).map_err(|_| wrong())?;
    if let Some((kind, detail)) = buried {
        item.buried = Some(BuryReason::new(BuryKind::from_name(&kind).ok_or_else(wrong)?, detail));
    }
    Ok(item)
}

/// Messages and their indexes, to be written.
pub(crate) struct Messages<'txn> {
    items: Table<'txn, (&'static str, u64), MessageRow>,
    timed: Table<'txn, (&'static str, i64, u64), i16>,
    ordered: Table<'txn, (&'static str, &'static str, bool, u64), ()>,
}

impl<'txn> Messages<'txn> {
    pub(crate) fn open(txn: &'txn WriteTransaction) -> Db<Self> {
        let (items, timed) = (txn.open_table(MESSAGES)?, txn.open_table(TIMED)?);
        Ok(Self { items, timed, ordered: txn.open_table(ORDERED)? })
    }

    pub(crate) fn get(&self, queue: &str, id: MessageId) -> Db<Option<Item>> {
        self.items.get((queue, id.as_u64()))?.map(|row| decode(row.value())).transpose()
    }

    /// The one place where a message changes: keeps the indexes.
    pub(crate) fn set(&mut self, queue: &str, id: MessageId, item: Option<&Item>) -> Db<()> {
        if let Some(before) = self.get(queue, id)? {
            self.items.remove((queue, id.as_u64()))?;
            self.index(queue, id, &before, false)?;
        }
        if let Some(item) = item {
            let head = encode(item);
            self.items.insert((queue, id.as_u64()), (&head[..], &item.message.body[..]))?;
            self.index(queue, id, item, true)?;
        }
        Ok(())
    }

    fn index(&mut self, queue: &str, id: MessageId, item: &Item, add: bool) -> Db<()> {
        if matches!(item.place, Place::Waiting | Place::InFlight) {
            let timed = (queue, item.visible_at.as_micros(), id.as_u64());
            if add {
                self.timed.insert(timed, item.message.priority)?;
            } else {
                self.timed.remove(timed)?;
            }
        }
        if let Some(key) = item.message.order_key.as_deref().filter(|_| item.place != Place::Buried) {
            let ordered = (queue, key, item.place == Place::Blocked, id.as_u64());
            if add {
                self.ordered.insert(ordered, ())?;
            } else {
                self.ordered.remove(ordered)?;
            }
        }
        Ok(())
    }

    /// Who is offered or in flight of an order key, then the blocked ones by number.
    pub(crate) fn of_key(&self, queue: &str, key: &str, limit: usize) -> Db<Vec<MessageId>> {
        let all = (queue, key, false, 0)..=(queue, key, true, u64::MAX);
        let id = |row: Result<(AccessGuard<'_, _>, _), redb::StorageError>| {
            let (_, _, _, id): (&str, &str, bool, u64) = row?.0.value();
            Ok(MessageId::from_u64(id))
        };
        self.ordered.range(all)?.take(limit).map(id).collect()
    }

    /// Those whose time has come: high priority first, then low numbers.
    pub(crate) fn due(&self, queue: &str, now: Timestamp) -> Db<Vec<MessageId>> {
        let mut due = Vec::new();
        for row in self.timed.range((queue, i64::MIN, 0)..=(queue, now.as_micros(), u64::MAX))? {
            let (timed, priority) = row?;
            due.push((std::cmp::Reverse(priority.value()), timed.value().2));
        }
        due.sort_unstable();
        Ok(due.into_iter().map(|(_, id)| MessageId::from_u64(id)).collect())
    }
}

/// When something can next be received.
pub(crate) fn next(txn: &ReadTransaction, queue: &str) -> Db<Option<Timestamp>> {
    let timed = txn.open_table(TIMED)?;
    let mut all = timed.range((queue, i64::MIN, 0)..=(queue, i64::MAX, u64::MAX))?;
    Ok(all.next().transpose()?.map(|(timed, _)| time(timed.value().1)))
}

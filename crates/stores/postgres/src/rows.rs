//! How messages lie in their table.

use crate::error::corrupt_row;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::{Item, Place};
use martlet_store::{
    BuryKind, BuryReason, Message, MessageId, MessageState, PastDelivery, QueueItem, StoreError,
};
use std::time::Duration;
use tokio_postgres::Row;

/// The column `state`.
pub(crate) const READY: i16 = 0;
pub(crate) const IN_FLIGHT: i16 = 1;
pub(crate) const DELAYED: i16 = 2;
pub(crate) const BLOCKED: i16 = 3;
pub(crate) const BURIED: i16 = 4;

/// What [`item`] reads, in its order.
pub(crate) const ITEM: &str = "m.id, m.state, m.visible_at, m.enqueued, m.deliveries, m.priority, m.order_key, \
     m.dedup, m.dedup_window, m.not_before, m.bury_kind, m.bury_detail, m.history, m.body";

/// What [`known`] reads, in its order.
pub(crate) const KNOWN: &str = "m.id, m.queue, m.state, m.visible_at, m.received, m.held, m.delivery, m.deliveries, m.order_key, m.history, \
     m.bury_kind, m.bury_detail";

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn id(number: i64) -> MessageId {
    MessageId::from_u64(number.unsigned_abs())
}

fn state(column: i16, visible_at: Timestamp, now: Timestamp) -> MessageState {
    match column {
        BURIED => MessageState::Buried,
        BLOCKED => MessageState::Blocked,
        IN_FLIGHT if now < visible_at => MessageState::InFlight,
        DELAYED if now < visible_at => MessageState::Delayed,
        _ => MessageState::Ready,
    }
}

fn history(text: Option<&str>) -> Result<Vec<PastDelivery>, StoreError> {
    text.map_or(Ok(Vec::new()), PastDelivery::decode)
}

/// From the columns 10 and 11 of either list.
fn reason(row: &Row) -> Result<Option<BuryReason>, StoreError> {
    let (kind, detail): (Option<&str>, Option<&str>) = (row.get(10), row.get(11));
    let Some((kind, detail)) = kind.zip(detail) else { return Ok(None) };
    let kind = BuryKind::from_name(kind).ok_or_else(|| corrupt_row("an unknown reason"))?;
    Ok(Some(BuryReason::new(kind, detail)))
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A message as it is shown at `now`.
pub(crate) fn item(row: &Row, now: Timestamp) -> Result<QueueItem, StoreError> {
    let body: &[u8] = row.get(13);
    let mut message = Message::new(Bytes::copy_from_slice(body)).priority(row.get(5));
    message.order_key = row.get(6);
    message.dedup = row.get(7);
    message.dedup_window = Duration::from_micros(row.get::<_, i64>(8).unsigned_abs());
    message.not_before = row.get::<_, Option<i64>>(9).map(time);
    let visible_at = time(row.get(2));
    let mut item =
        QueueItem::new(id(row.get(0)), message, state(row.get(1), visible_at, now), time(row.get(3)));
    item.visible_at = visible_at;
    item.deliveries = count(row.get(4));
    item.history = history(row.get(12))?;
    item.buried = reason(row)?;
    Ok(item)
}

/// What deciding about a message needs to know: its row of its queue, and all but its content.
pub(crate) fn known(row: &Row) -> Result<(MessageId, i64, Item), StoreError> {
    let mut message = Message::new(Bytes::new());
    message.order_key = row.get(8);
    let mut item = Item::new(message, Timestamp::UNIX_EPOCH);
    item.place = match row.get(2) {
        IN_FLIGHT => Place::InFlight,
        BLOCKED => Place::Blocked,
        BURIED => Place::Buried,
        _ => Place::Waiting,
    };
    item.visible_at = time(row.get(3));
    item.received = time(row.get(4));
    item.held = row.get(5);
    item.delivery = row.get::<_, i64>(6).unsigned_abs();
    item.deliveries = count(row.get(7));
    item.history = history(row.get(9))?;
    item.buried = reason(row)?;
    Ok((id(row.get(0)), row.get(1), item))
}

/// The column `state` for an item at `now`.
pub(crate) fn column(item: &Item, now: Timestamp) -> i16 {
    match item.place {
        Place::Buried => BURIED,
        Place::Blocked => BLOCKED,
        Place::InFlight => IN_FLIGHT,
        Place::Waiting if item.visible_at <= now => READY,
        Place::Waiting => DELAYED,
    }
}

/// A duration as the tables hold it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A time from now on as statements add it to the present: without end is about 146,000 years.
pub(crate) fn ahead(duration: Duration) -> i64 {
    micros(duration).min(i64::MAX / 2)
}

/// The history as the tables hold it.
pub(crate) fn encode(history: &[PastDelivery]) -> Option<String> {
    (!history.is_empty()).then(|| PastDelivery::encode(history))
}

//! How messages lie in their table.

use crate::error::corrupt_row;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::{
    BuryKind, BuryReason, Message, MessageId, MessageState, PastDelivery, QueueItem, StoreError,
};
use rusqlite::Row;
use std::time::Duration;

/// The column `state`.
pub(crate) const READY: i64 = 0;
pub(crate) const IN_FLIGHT: i64 = 1;
pub(crate) const DELAYED: i64 = 2;
pub(crate) const BLOCKED: i64 = 3;
pub(crate) const BURIED: i64 = 4;

/// What [`ItemRow::read`] reads, in its order.
pub(crate) const ITEM: &str = "id, state, visible_at, enqueued, deliveries, priority, order_key, dedup, \
     dedup_window, not_before, bury_kind, bury_detail, history, body";

/// A message as SQLite has it, before it is checked.
pub(crate) struct ItemRow {
    item: QueueItem,
    state: i64,
    bury: Option<(String, String)>,
    history: Option<String>,
}

impl ItemRow {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let time = |column| row.get(column).map(Timestamp::from_micros);
        let body: Vec<u8> = row.get(13)?;
        let mut message = Message::new(Bytes::from(body)).priority(row.get(5)?);
        message.order_key = row.get(6)?;
        message.dedup = row.get(7)?;
        message.dedup_window = Duration::from_micros(row.get(8)?);
        message.not_before = row.get::<_, Option<i64>>(9)?.map(Timestamp::from_micros);
        let id = MessageId::from_u64(row.get(0)?);
        let mut item = QueueItem::new(id, message, MessageState::Ready, time(3)?);
        item.visible_at = time(2)?;
        item.deliveries = u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX);
        let kind: Option<String> = row.get(10)?;
        let detail: Option<String> = row.get(11)?;
        Ok(Self { item, state: row.get(1)?, bury: kind.zip(detail), history: row.get(12)? })
    }

    /// The message as it is at `now`.
    pub(crate) fn item(self, now: Timestamp) -> Result<QueueItem, StoreError> {
        let mut item = self.item;
        item.state = state(self.state, item.visible_at, now);
        if let Some(history) = &self.history {
            item.history = PastDelivery::decode(history)?;
        }
        if let Some((kind, detail)) = self.bury {
            let kind = BuryKind::from_name(&kind).ok_or_else(|| corrupt_row("an unknown reason"))?;
            item.buried = Some(BuryReason::new(kind, detail));
        }
        Ok(item)
    }
}

pub(crate) fn state(column: i64, visible_at: Timestamp, now: Timestamp) -> MessageState {
    match column {
        BURIED => MessageState::Buried,
        BLOCKED => MessageState::Blocked,
        IN_FLIGHT if now < visible_at => MessageState::InFlight,
        DELAYED if now < visible_at => MessageState::Delayed,
        _ => MessageState::Ready,
    }
}

/// A duration as the tables hold it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

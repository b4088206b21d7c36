//! How cells and messages lie in their hashes.

use crate::error::corrupt;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::{Item, Place};
use martlet_store::{BuryKind, BuryReason, Cell, Message, PastDelivery, StoreError, Version};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `version expiry\n` and the value; no expiry is `-`.
pub(crate) fn encode_cell(cell: &Cell) -> Vec<u8> {
    let expires = cell.expires.map_or_else(|| "-".to_owned(), |at| at.as_micros().to_string());
    let mut bytes = format!("{} {expires}\n", cell.version).into_bytes();
    bytes.extend_from_slice(&cell.value);
    bytes
}

pub(crate) fn decode_cell(bytes: &[u8]) -> Result<Cell, StoreError> {
    let wrong = || corrupt("a cell that martlet does not write");
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(wrong)?;
    let head = str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
    let (version, expires) = head.split_once(' ').ok_or_else(wrong)?;
    let version = Version::from_u64(version.parse().map_err(|_| wrong())?);
    let expires = match expires {
        "-" => None,
        micros => Some(Timestamp::from_micros(micros.parse().map_err(|_| wrong())?)),
    };
    Ok(Cell::new(Bytes::copy_from_slice(&bytes[end + 1..]), version, expires))
}

/// A message without its body.
#[derive(Serialize, Deserialize)]
struct Row {
    place: u8,
    visible_at: i64,
    enqueued: i64,
    delivery: u64,
    held: bool,
    received: i64,
    deliveries: u32,
    priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedup: Option<String>,
    dedup_window: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buried: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<String>,
}

const PLACES: [Place; 4] = [Place::Waiting, Place::InFlight, Place::Blocked, Place::Buried];

pub(crate) fn encode_item(item: &Item) -> Vec<u8> {
    let place = PLACES.iter().position(|place| *place == item.place).unwrap_or(0);
    let row = Row {
        place: u8::try_from(place).unwrap_or(0),
        visible_at: item.visible_at.as_micros(),
        enqueued: item.enqueued.as_micros(),
        delivery: item.delivery,
        held: item.held,
        received: item.received.as_micros(),
        deliveries: item.deliveries,
        priority: item.message.priority,
        order_key: item.message.order_key.clone(),
        dedup: item.message.dedup.clone(),
        dedup_window: u64::try_from(item.message.dedup_window.as_micros()).unwrap_or(u64::MAX),
        not_before: item.message.not_before.map(Timestamp::as_micros),
        buried: item.buried.as_ref().map(|reason| (reason.kind.as_str().to_owned(), reason.detail.clone())),
        history: (!item.history.is_empty()).then(|| PastDelivery::encode(&item.history)),
    };
    serde_json::to_vec(&row).expect("numbers and text are always JSON")
}

/// The message, with an empty body.
pub(crate) fn decode_item(bytes: &[u8]) -> Result<Item, StoreError> {
    let wrong = || corrupt("a message that martlet does not write");
    let row: Row = serde_json::from_slice(bytes).map_err(|_| wrong())?;
    let mut message = Message::new(Bytes::new()).priority(row.priority);
    message.order_key = row.order_key;
    message.dedup = row.dedup;
    message.dedup_window = Duration::from_micros(row.dedup_window);
    message.not_before = row.not_before.map(Timestamp::from_micros);
    let mut item = Item::new(message, Timestamp::from_micros(row.enqueued));
    item.place = PLACES.get(usize::from(row.place)).copied().ok_or_else(wrong)?;
    item.visible_at = Timestamp::from_micros(row.visible_at);
    item.received = Timestamp::from_micros(row.received);
    (item.delivery, item.held, item.deliveries) = (row.delivery, row.held, row.deliveries);
    item.history = row.history.as_deref().map_or(Ok(Vec::new()), PastDelivery::decode)?;
    if let Some((kind, detail)) = row.buried {
        item.buried = Some(BuryReason::new(BuryKind::from_name(&kind).ok_or_else(wrong)?, detail));
    }
    Ok(item)
}

/// Where a message stands among the ready ones: higher priority first, then lower numbers. Exact as long as there were fewer than
/// 2^37 messages (1.4 * 10^11).
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a score holds")]
pub(crate) fn ready_score(priority: i16, id: u64) -> f64 {
    (-i64::from(priority) * (1 << 37) + id.cast_signed()) as f64
}

/// What comes before all members of an order key.
pub(crate) fn order_prefix(order_key: &str) -> Vec<u8> {
    // No key holds a zero byte.
    [order_key.as_bytes(), b"\0"].concat()
}

/// The member of an order key's list: whoever is offered or in flight comes first, then the blocked ones by number.
pub(crate) fn order_member(order_key: &str, blocked: bool, id: u64) -> Vec<u8> {
    [&order_prefix(order_key)[..], format!("{}{id:016x}", u8::from(blocked)).as_bytes()].concat()
}

/// The number in a member.
pub(crate) fn order_id(member: &[u8]) -> Option<u64> {
    let digits = member.get(member.len().checked_sub(16)?..)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

//! How cells and messages lie in their hashes.

use crate::error::corrupt;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::Item;
use martlet_store::{Cell, StoreError, Version};

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

/// The message, with an empty body.
pub(crate) fn decode_item(head: &[u8]) -> Result<Item, StoreError> {
    Item::decode(head, Bytes::new())
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

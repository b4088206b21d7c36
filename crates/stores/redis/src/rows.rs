//! How cells and messages lie in their hashes.

use crate::error::corrupt;
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::{Item, Place};
use martlet_store::{Cell, DeliveryEnd, PastDelivery, StoreError, Version};

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

const PLACES: [Place; 4] = [Place::Waiting, Place::InFlight, Place::Blocked, Place::Buried];

/// A message without its body. First, in one line, what scripts read and change: where it is, when it can be received, when it was enqueued, its
/// last delivery, whether that is held, when it was received and how often; its priority, whether it has an order key (`o`, else `-`); then the
/// deliveries that lapsed since it was written, each as `received:ended`. Behind the line the head as all backends have it; where both say
/// something, the line holds.
pub(crate) fn encode_item(item: &Item) -> Vec<u8> {
    let place = PLACES.iter().position(|place| *place == item.place).unwrap_or(0);
    let (visible_at, enqueued, received) = (item.visible_at, item.enqueued, item.received);
    let mut bytes = format!(
        "{place} {} {} {} {} {} {} ",
        visible_at.as_micros(),
        enqueued.as_micros(),
        item.delivery,
        u8::from(item.held),
        received.as_micros(),
        item.deliveries,
    )
    .into_bytes();
    bytes.extend(encode_constant(item));
    bytes
}

/// What of it a receive leaves as it is, if nothing lapsed: from the priority on.
pub(crate) fn encode_constant(item: &Item) -> Vec<u8> {
    let order = if item.message.order_key.is_some() { 'o' } else { '-' };
    format!("{} {order}\n{}", item.message.priority, item.encode_head()).into_bytes()
}

/// The message, with an empty body.
pub(crate) fn decode_item(bytes: &[u8]) -> Result<Item, StoreError> {
    let wrong = || corrupt("a message that martlet does not write");
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(wrong)?;
    let mut item = Item::decode(&bytes[end + 1..], Bytes::new())?;
    let line = str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
    decode_line(line, &mut item).ok_or_else(wrong)?;
    Ok(item)
}

fn decode_line(line: &str, item: &mut Item) -> Option<()> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let time = |word: &str| word.parse().ok().map(Timestamp::from_micros);
    item.place = *PLACES.get(next()?.parse::<usize>().ok()?)?;
    (item.visible_at, item.enqueued) = (time(next()?)?, time(next()?)?);
    (item.delivery, item.held) = (next()?.parse().ok()?, next()? == "1");
    (item.received, item.deliveries) = (time(next()?)?, next()?.parse().ok()?);
    // Priority and order key.
    next()?;
    next()?;
    for lapsed in words {
        let (received, ended) = lapsed.split_once(':')?;
        PastDelivery::new(time(received)?, time(ended)?, DeliveryEnd::Lapsed, "").push_to(&mut item.history);
    }
    Some(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_store::Message;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn read(bytes: impl AsRef<[u8]>) -> Item {
        decode_item(bytes.as_ref()).expect("it was written here")
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = Message::new("").order_key("a b").dedup("c\nd").priority(-3).not_before(at(50));
        let mut item = Item::new(message, at(7));
        (item.place, item.delivery, item.held, item.received) = (Place::InFlight, 4, true, at(40));
        item.deliveries = 2;
        item.history = vec![PastDelivery::new(at(8), at(9), DeliveryEnd::Retried, "because")];
        assert_eq!(read(encode_item(&item)), item);
    }

    #[test]
    fn what_lapsed_since_it_was_written_is_at_the_end_of_its_history() {
        let mut item = Item::new(Message::new(""), at(7));
        item.history = vec![PastDelivery::new(at(8), at(9), DeliveryEnd::Retried, "because")];
        let written = String::from_utf8(encode_item(&item)).expect("it is text");
        let later = written.replacen(" -\n", " - 10:11 12:13\n", 1);
        item.history.push(PastDelivery::new(at(10), at(11), DeliveryEnd::Lapsed, ""));
        item.history.push(PastDelivery::new(at(12), at(13), DeliveryEnd::Lapsed, ""));
        assert_eq!(read(later), item);
    }

    #[test]
    fn what_was_not_written_by_this_crate_is_told() {
        let written =
            String::from_utf8(encode_item(&Item::new(Message::new(""), at(7)))).expect("it is text");
        let (line, rest) = written.split_once('\n').expect("there is a line");
        for wrong in [rest.to_owned(), format!("9{}\n{rest}", &line[1..]), format!("{line} 1\n{rest}")] {
            assert!(decode_item(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

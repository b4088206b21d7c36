//! Logs: a stream for each, in which the id of a record is its place, and beside the streams what is known of each log.

use crate::error::corrupt;
use crate::keys::Keys;
use crate::load::{Change, text};
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::engine::{Changes, LogChange};
use martlet_store::{LogId, LogInfo, Record, StoreError};
use redis::Value;

/// Logs in the order of kind and id, with what is known of them. `KEYS`: order, logs. `ARGV`: where to begin, as `ZRANGEBYLEX` wants it; how many.
pub(crate) const LIST: &str = r"
local from, found, limit = ARGV[1], {}, tonumber(ARGV[2])
while #found < limit * 2 do
    local names = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, math.min(limit - #found / 2, 200))
    if #names == 0 then break end
    for i, known in ipairs(redis.call('HMGET', KEYS[2], unpack(names))) do
        found[#found + 1], found[#found + 2] = names[i], known
    end
    from = '(' .. names[#names]
end
return found
";

/// What is known of a log: `last updated sealed`; one that is open has `-` at the end.
pub(crate) fn decode(log: LogId, bytes: &[u8]) -> Result<LogInfo, StoreError> {
    let wrong = || corrupt("a log that martlet does not write");
    let mut words = text(bytes)?.split(' ');
    let mut number = || words.next().ok_or_else(wrong);
    let last = number()?.parse().map_err(|_| wrong())?;
    let mut time = || -> Result<Option<Timestamp>, StoreError> {
        match number()? {
            "-" => Ok(None),
            micros => Ok(Some(Timestamp::from_micros(micros.parse().map_err(|_| wrong())?))),
        }
    };
    Ok(LogInfo::new(log, last, time()?.ok_or_else(wrong)?, time()?))
}

fn encode(log: &LogInfo) -> String {
    let sealed = log.sealed.map_or_else(|| "-".to_owned(), |at| at.as_micros().to_string());
    format!("{} {} {sealed}", log.last, log.updated.as_micros())
}

/// A log among the others. In the order of these bytes logs are ordered by kind and id: no name holds a zero byte.
pub(crate) fn member(log: &LogId) -> Vec<u8> {
    [log.kind().as_bytes(), b"\0", log.id().as_bytes()].concat()
}

/// The log of a member.
pub(crate) fn from_member(member: &[u8]) -> Result<LogId, StoreError> {
    let (kind, id) = text(member)?.split_once('\0').ok_or_else(|| corrupt("not the name of a log"))?;
    Ok(LogId::new(kind, id)?)
}

/// Where a list of logs begins: behind `after`, and with `kind` if it is given.
pub(crate) fn begin(kind: Option<&str>, after: Option<&LogId>) -> Vec<u8> {
    let first = kind.map(|kind| [kind.as_bytes(), b"\0"].concat());
    match (first, after.map(member)) {
        (Some(first), Some(after)) if after < first => [b"[", &first[..]].concat(),
        (_, Some(after)) => [b"(", &after[..]].concat(),
        (Some(first), None) => [b"[", &first[..]].concat(),
        (None, None) => b"-".to_vec(),
    }
}

/// Where the logs of a kind end.
pub(crate) fn end(kind: &str) -> Vec<u8> {
    // The byte after the one that follows the kind.
    [b"(", kind.as_bytes(), b"\x01"].concat()
}

/// Brings out what was decided about logs.
pub(crate) fn write(change: &mut Change, keys: &Keys, changes: &Changes) {
    for log in &changes.deleted_logs {
        let member = member(log);
        change.call("UNLINK", &keys.log(log), []);
        change.call("HDEL", &keys.logs, [&member]);
        change.call("ZREM", &keys.log_order, [&member]);
        change.call("ZREM", &keys.log_open, [&member]);
    }
    for (log, LogChange { is_new, now, records, .. }) in &changes.logs {
        let (key, member) = (keys.log(log), member(log));
        for record in records {
            let (place, at) = (format!("{}-0", record.sequence), record.appended.as_micros().to_string());
            change.call("XADD", &key, [place.as_bytes(), b"at", at.as_bytes(), b"body", &record.body]);
        }
        change.call("HSET", &keys.logs, [&member, encode(now).as_bytes()]);
        if *is_new {
            change.call("ZADD", &keys.log_order, [b"0", &member]);
            change.call("ZADD", &keys.log_open, [b"0", &member]);
        }
        if now.sealed.is_some() {
            change.call("ZREM", &keys.log_open, [&member]);
        }
    }
}

/// The answer of `XRANGE`.
pub(crate) fn records(answer: Option<Value>) -> Result<Vec<Record>, StoreError> {
    let wrong = || corrupt("a record that martlet does not write");
    type Entry = (String, Vec<Vec<u8>>);
    let entries: Vec<Entry> =
        answer.and_then(|answer| redis::from_redis_value(answer).ok()).ok_or_else(wrong)?;
    let record = |(place, fields): Entry| {
        let sequence = place.strip_suffix("-0").and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        let [_, at, _, body]: [Vec<u8>; 4] = fields.try_into().map_err(|_| wrong())?;
        let at = text(&at)?.parse().map_err(|_| wrong())?;
        Ok(Record::new(sequence, Timestamp::from_micros(at), Bytes::from(body)))
    };
    entries.into_iter().map(record).collect()
}

/// The answer of [`LIST`].
pub(crate) fn infos(answer: Vec<Vec<u8>>) -> Result<Vec<LogInfo>, StoreError> {
    let info = |pair: &[Vec<u8>]| decode(from_member(&pair[0])?, &pair[1]);
    answer.chunks_exact(2).map(info).collect()
}

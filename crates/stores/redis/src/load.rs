//! Reading what a group names, and applying what was decided.

use crate::conn::Conn;
use crate::error::{corrupt, from_redis, is_refusal};
use crate::store::Inner;
use martlet_base::Timestamp;
use martlet_store::StoreError;
use redis::{Pipeline, Value};
use std::collections::HashMap;

/// Does all of it if nothing has changed since it was read, and nothing otherwise. `ARGV`: how many fields were read, each as index of its
/// key, name, up to where it counts (-1: all of it), value (empty: none); how many ends of order keys were read, each as index of its key,
/// from, to, how many, the members behind each other; then commands, each as name, index of its key, count of its arguments, arguments.
pub(crate) const APPLY: &str = r"
local at = 2
for _ = 1, tonumber(ARGV[1]) do
    local value = redis.call('HGET', KEYS[tonumber(ARGV[at])], ARGV[at + 1]) or ''
    if string.sub(value, 1, tonumber(ARGV[at + 2])) ~= ARGV[at + 3] then return 0 end
    at = at + 4
end
local ranges = tonumber(ARGV[at])
at = at + 1
for _ = 1, ranges do
    local members = redis.call('ZRANGEBYLEX', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], 'LIMIT', 0, ARGV[at + 3])
    if table.concat(members) ~= ARGV[at + 4] then return 0 end
    at = at + 5
end
while at <= #ARGV do
    local count, args = tonumber(ARGV[at + 2]), {}
    for i = 1, count do args[i] = ARGV[at + 2 + i] end
    redis.call(ARGV[at], KEYS[tonumber(ARGV[at + 1])], unpack(args))
    at = at + 3 + count
end
return 1
";

/// How often a group is decided anew when others were faster, before it gives way.
pub(crate) const TRIES: usize = 200;

/// What a group read and wants to have done.
#[derive(Default)]
pub(crate) struct Change {
    /// Fields that were read, with their values.
    read: Vec<[Vec<u8>; 4]>,
    /// Beginnings of the lists of order keys.
    ranges: Vec<[Vec<u8>; 5]>,
    keys: Vec<String>,
    /// Where a key is among them, from 1.
    places: HashMap<String, usize>,
    calls: Vec<Call>,
    /// The last call on a key.
    last: HashMap<usize, usize>,
}

struct Call {
    command: &'static str,
    place: usize,
    args: Vec<Vec<u8>>,
}

/// So many arguments can be handed to one command in a script, with room to spare.
const MOST_ARGS: usize = 4_000;

/// Whether two of them on the same key are one with the arguments of both. A script of few long commands is much quicker.
fn joins(command: &str) -> bool {
    matches!(command, "HSET" | "HDEL" | "ZADD" | "ZREM")
}

impl Change {
    /// The index of a key as the script counts.
    fn place(&mut self, key: &str) -> usize {
        self.places.get(key).copied().unwrap_or_else(|| {
            self.keys.push(key.to_owned());
            self.places.insert(key.to_owned(), self.keys.len());
            self.keys.len()
        })
    }

    /// Is done only while this field of a hash has this value; `None`: while it is not there.
    pub(crate) fn only_while(&mut self, key: &str, field: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        let place = self.place(key).to_string().into_bytes();
        self.read.push([place, field.into(), b"-1".to_vec(), value.unwrap_or_default()]);
    }

    /// The same for a field of which only the first word counts. The word of one that is there is `Some`.
    pub(crate) fn only_while_word(&mut self, key: &str, field: &str, word: Option<u64>) {
        let place = self.place(key).to_string().into_bytes();
        let begin = word.map_or_else(String::new, |word| format!("{word} ")).into_bytes();
        let upto = if begin.is_empty() { -1 } else { begin.len().cast_signed() };
        self.read.push([place, field.into(), upto.to_string().into_bytes(), begin]);
    }

    /// Is done only while these are the first `limit` members of a sorted set in this range.
    pub(crate) fn only_while_first(
        &mut self,
        key: &str,
        range: [Vec<u8>; 2],
        limit: usize,
        members: &[Vec<u8>],
    ) {
        let (place, [from, to]) = (self.place(key).to_string().into_bytes(), range);
        self.ranges.push([place, from, to, limit.to_string().into_bytes(), members.concat()]);
    }

    /// One command on one key. Commands on the same key are done in their order, those on different ones in any.
    pub(crate) fn call<const N: usize>(&mut self, command: &'static str, key: &str, args: [&[u8]; N]) {
        let place = self.place(key);
        let args = args.map(<[u8]>::to_vec);
        match self.last.get(&place).map(|last| &mut self.calls[*last]) {
            Some(last) if last.command == command && joins(command) && last.args.len() + N <= MOST_ARGS => {
                last.args.extend(args);
            }
            _ => {
                self.last.insert(place, self.calls.len());
                self.calls.push(Call { command, place, args: args.into() });
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

/// What became of a change.
pub(crate) enum Applied {
    Done,
    /// Somebody else wrote what had been read.
    TooLate,
}

pub(crate) async fn apply(inner: &Inner, change: &Change) -> Result<Applied, StoreError> {
    let mut invocation = inner.apply.prepare_invoke();
    for key in &change.keys {
        invocation.key(key);
    }
    invocation.arg(change.read.len());
    for field in change.read.iter().flatten() {
        invocation.arg(&field[..]);
    }
    invocation.arg(change.ranges.len());
    for field in change.ranges.iter().flatten() {
        invocation.arg(&field[..]);
    }
    for call in &change.calls {
        invocation.arg(call.command).arg(call.place).arg(call.args.len());
        for arg in &call.args {
            invocation.arg(&arg[..]);
        }
    }
    let mut conn = inner.conn.clone();
    let done: i64 = invocation.invoke_async(&mut conn).await.map_err(failed)?;
    if done == 0 {
        return Ok(Applied::TooLate);
    }
    replicated(inner, &mut conn).await?;
    Ok(Applied::Done)
}

/// Why a script that writes failed.
pub(crate) fn failed(error: redis::RedisError) -> StoreError {
    let told = from_redis("cannot write", &error);
    if is_refusal(&error) { told.not_applied() } else { told }
}

/// Waits for replicas, if that is asked for.
pub(crate) async fn replicated(inner: &Inner, conn: &mut Conn) -> Result<(), StoreError> {
    let Some((replicas, timeout)) = inner.replicas else { return Ok(()) };
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
    let reached: Result<usize, _> = redis::cmd("WAIT").arg(replicas).arg(millis).query_async(conn).await;
    let reached = reached.map_err(|error| from_redis("cannot wait for replicas", &error))?;
    if reached < replicas {
        let detail = format!("{reached} of {replicas} replicas have it in time");
        return Err(StoreError::new(martlet_store::StoreErrorKind::Unavailable, detail));
    }
    Ok(())
}

/// Asks all of it at one point in time.
pub(crate) async fn ask(conn: &Conn, pipe: &Pipeline) -> Result<Vec<Value>, StoreError> {
    let mut conn = conn.clone();
    pipe.query_async(&mut conn).await.map_err(|error| from_redis("cannot read", &error).not_applied())
}

pub(crate) fn number(value: Option<Value>) -> Result<u64, StoreError> {
    value.and_then(|value| redis::from_redis_value(value).ok()).ok_or_else(|| corrupt("not a number"))
}

/// The answer of `HMGET`: `None` for a field that is not there.
pub(crate) fn fields(value: Option<Value>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    value.and_then(|value| redis::from_redis_value(value).ok()).ok_or_else(|| corrupt("not a list of fields"))
}

pub(crate) fn list(value: Option<Value>) -> Result<Vec<Vec<u8>>, StoreError> {
    value.and_then(|value| redis::from_redis_value(value).ok()).ok_or_else(|| corrupt("not a list"))
}

/// The answer of `TIME`.
pub(crate) fn time(value: Option<Value>) -> Result<Timestamp, StoreError> {
    let (secs, micros): (i64, i64) =
        value.and_then(|value| redis::from_redis_value(value).ok()).ok_or_else(|| corrupt("not a time"))?;
    Ok(Timestamp::from_micros(secs.saturating_mul(1_000_000).saturating_add(micros)))
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str, StoreError> {
    str::from_utf8(bytes).map_err(|_| corrupt("not text"))
}

pub(crate) fn id(bytes: &[u8]) -> Result<u64, StoreError> {
    text(bytes)?.parse().map_err(|_| corrupt("not the number of a message"))
}

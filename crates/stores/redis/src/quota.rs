use crate::error::from_redis;
use crate::store::RedisStore;
use martlet_store::{StoreError, StoreErrorKind};
use std::time::Duration;

/// Takes units if they fit, by the server's time. `ARGV`: units, limit, window in ms. Answers: whether they were taken, what is left, and when the
/// window ends in ms.
pub(crate) const TAKE: &str = r"
local used, left = tonumber(redis.call('GET', KEYS[1]) or '0'), redis.call('PTTL', KEYS[1])
local units, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if used + units > limit then return {0, math.max(limit - used, 0), math.max(left, 0)} end
used = redis.call('INCRBY', KEYS[1], units)
if left < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) left = tonumber(ARGV[3]) end
return {1, limit - used, left}
";

/// What [`RedisStore::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// Whether the units were taken: all of them or none.
    pub granted: bool,
    /// Units that are left in this window.
    pub left: u64,
    /// When the window ends, from now.
    pub resets_in: Duration,
}

impl RedisStore {
    /// Takes `units` out of the quota `name`, which has `limit` units per `window` for all processes together. A window begins
    /// with the first unit that is taken and is measured by the server. Take several at once to save round trips.
    ///
    /// Like the vendors' own fixed windows it lets at most twice `limit` through within any time of the length of a window.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when the name is empty or holds control characters, or the window is below a millisecond;
    /// [`StoreErrorKind::Unavailable`]. Dropped or failed, the units may be taken.
    pub async fn take(
        &self,
        name: &str,
        units: u32,
        limit: u32,
        window: Duration,
    ) -> Result<Quota, StoreError> {
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
        if name.is_empty() || name.len() > 512 || name.chars().any(char::is_control) || millis == 0 {
            let detail = "a quota has a name of 1 to 512 bytes and a window of at least a millisecond";
            return Err(StoreError::new(StoreErrorKind::Invalid, detail));
        }
        let inner = self.inner()?;
        let mut invocation = inner.take.key(inner.keys.quota(name));
        invocation.arg(units).arg(limit).arg(millis);
        let mut conn = inner.conn.clone();
        let (granted, left, resets): (bool, u64, u64) =
            invocation.invoke_async(&mut conn).await.map_err(|error| from_redis("cannot take", &error))?;
        Ok(Quota { granted, left, resets_in: Duration::from_millis(resets) })
    }
}

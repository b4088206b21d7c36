//! What the cache is told by operations, and what it tells about an answer.

use std::fmt;
use std::time::Duration;

/// How long answers of an operation may be served again. The operation must be [`Safe`](crate::Idempotency::Safe).
///
/// The platform's caching headers decide ([RFC 9111](https://www.rfc-editor.org/rfc/rfc9111), as a private cache: an entry
/// belongs to one client, which is one account); the rule's own times apply where an answer says nothing. An answer that has
/// an `ETag` or a `Last-Modified` is asked for with them when it is old, so that the platform can say "as before" (304).
///
/// An answer is for calls of the same method, URL and body, with the same headers that choose it: where the platform says how
/// long it is fresh, those that its `Vary` names; where the rule's own `ttl` counts, all that the call carries except those of
/// tracing. `Authorization`, `Cookie` and values marked as sensitive always belong to them. Headers that an attempt layer adds
/// are not seen.
///
/// ```
/// use martlet_core::{CacheRule, Operation};
/// use std::time::Duration;
///
/// const FIELDS: CacheRule = CacheRule::reference_data(Duration::from_secs(300), "contact-fields");
/// const LIST: Operation = Operation::get("fields.list", "/v1/fields").cacheable(FIELDS);
/// const CREATE: Operation = Operation::post("fields.create", "/v1/fields").invalidates("contact-fields");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheRule {
    pub(crate) ttl: Duration,
    tag: &'static str,
    pub(crate) stale_while_revalidate: u32,
    pub(crate) stale_if_error: u32,
    pub(crate) negative: u8,
    pub(crate) jitter: u8,
    pub(crate) heuristic: u8,
    pub(crate) ignores_headers: bool,
}

impl CacheRule {
    /// The platform's headers decide; where they do not say how long, an answer is fresh for `ttl`. With a `ttl` of zero only
    /// what the platform calls fresh is served again.
    ///
    /// `tag` names the data: a successful operation that [invalidates](crate::Operation::invalidates) it makes answers stale.
    #[must_use]
    pub const fn new(ttl: Duration, tag: &'static str) -> Self {
        Self {
            ttl,
            tag,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            negative: 0,
            jitter: 0,
            heuristic: 0,
            ignores_headers: false,
        }
    }

    /// For what changes rarely and is read often, such as the definitions of fields: fresh for `ttl` give or take a tenth, for
    /// 10 minutes after that served while one request renews it, for 24 hours served when the platform cannot be reached; that
    /// something does not exist is remembered for 30 s.
    #[must_use]
    pub const fn reference_data(ttl: Duration, tag: &'static str) -> Self {
        Self::new(ttl, tag)
            .stale_while_revalidate(Duration::from_secs(600))
            .stale_if_error(Duration::from_secs(24 * 3_600))
            .negative(Duration::from_secs(30))
            .jitter(10)
    }

    /// The rule's times count, whatever the caching headers say, `no-store` included: for platforms that send the same ones
    /// with everything. `ETag` and `Last-Modified` are used all the same.
    #[must_use]
    pub const fn ignoring_headers(mut self) -> Self {
        self.ignores_headers = true;
        self
    }

    /// For this long after it was fresh an answer is served at once, while one request in the background renews it
    /// ([RFC 5861](https://www.rfc-editor.org/rfc/rfc5861#section-3)). Whole seconds.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = whole_seconds(window);
        self
    }

    /// For this long after it was fresh an answer is served in place of an error that another try may mend: no connection, a
    /// timeout, a server error, a spent quota, an open circuit
    /// ([RFC 5861](https://www.rfc-editor.org/rfc/rfc5861#section-4)). Whole seconds.
    #[must_use]
    pub const fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = whole_seconds(window);
        self
    }

    /// That there is no such thing (404, 410) is remembered for this long, at most 30 s. Whole seconds.
    #[must_use]
    pub const fn negative(mut self, ttl: Duration) -> Self {
        let seconds = whole_seconds(ttl);
        self.negative = if seconds > 30 { 30 } else { seconds as u8 };
        self
    }

    /// Spreads `ttl` by so many percent up and down, at most 50, so that what was read together does not get old together.
    /// Times that the platform says are kept to.
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = if percent > 50 { 50 } else { percent };
        self
    }

    /// Where the platform does not say how long, but when it was last changed (`Last-Modified`), an answer is fresh for so many
    /// percent of the time since, before `ttl` counts ([RFC 9111](https://www.rfc-editor.org/rfc/rfc9111#section-4.2.2) suggests
    /// 10). Off unless said: what an API has not changed for a year may be changed in a minute.
    #[must_use]
    pub const fn heuristic(mut self, percent: u8) -> Self {
        self.heuristic = if percent > 100 { 100 } else { percent };
        self
    }

    /// The data that answers belong to: `contact-properties`.
    #[must_use]
    pub const fn tag(&self) -> &'static str {
        self.tag
    }

    /// How long an answer is fresh when the platform does not say.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }
}

const fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs();
    if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
}

/// What the cache did for an answer. Its text is a member of the header `Cache-Status`
/// ([RFC 9211](https://www.rfc-editor.org/rfc/rfc9211)): `martlet; fwd=stale; fwd-status=304; ttl=300; stored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatus {
    /// Why the platform was asked; `None`: it was not, the answer is a hit.
    pub forward: Option<CacheForward>,
    /// The status that the platform answered with, where it is not the answer's own: 304, or the server error that a stale
    /// answer stands in for.
    pub forward_status: Option<u16>,
    /// Seconds for which it is still fresh; below zero: it is stale for so long.
    pub ttl: Option<i64>,
    /// Whether the answer was kept.
    pub stored: bool,
    /// Whether the request was shared with another call that asked for the same at the same time.
    pub collapsed: bool,
}

/// Why a request went on to the platform although there is a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheForward {
    /// The call keeps out of the cache: `no-store`, a range.
    Bypass,
    /// The call wants a new answer: [`Call::fresh`](crate::Call::fresh), `no-cache`.
    Request,
    /// Nothing was kept for this URL.
    UriMiss,
    /// What was kept answers requests with other headers.
    VaryMiss,
    /// What was kept is too old.
    Stale,
}

impl CacheForward {
    /// As it is written in `Cache-Status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Request => "request",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
        }
    }
}

impl CacheStatus {
    /// Whether the platform was not asked. A hit can be stale: then [`ttl`](Self::ttl) is below zero.
    #[must_use]
    pub const fn is_hit(&self) -> bool {
        self.forward.is_none()
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("martlet; ")?;
        match self.forward {
            None => f.write_str("hit")?,
            Some(reason) => write!(f, "fwd={}", reason.as_str())?,
        }
        if let Some(status) = self.forward_status {
            write!(f, "; fwd-status={status}")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if self.collapsed {
            f.write_str("; collapsed")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hc14_what_does_not_exist_is_remembered_for_30_seconds_at_most() {
        let rule = |secs| CacheRule::new(Duration::ZERO, "x").negative(Duration::from_secs(secs)).negative;
        assert_eq!([rule(0), rule(7), rule(30), rule(31), rule(u64::MAX)], [0, 7, 30, 30, 30]);
    }

    #[test]
    fn the_status_is_written_as_rfc_9211_says() {
        let hit = CacheStatus { ttl: Some(-3), ..CacheStatus::default() };
        assert_eq!((hit.to_string().as_str(), hit.is_hit()), ("martlet; hit; ttl=-3", true));
        let forwarded = CacheStatus {
            forward: Some(CacheForward::Stale),
            forward_status: Some(304),
            ttl: Some(300),
            stored: true,
            collapsed: true,
        };
        assert_eq!(forwarded.to_string(), "martlet; fwd=stale; fwd-status=304; ttl=300; stored; collapsed");
    }
}

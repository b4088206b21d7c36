//! What goes wrong at a simulator, and when.

use crate::{SimReply, SimRequest, WireFault};
use martlet_base::Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// A kind of trouble that a platform can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// 429 that orders a pause of [`RETRY_AFTER`](Self::RETRY_AFTER).
    RateLimitedRetryAfter,
    /// 429 without `Retry-After`.
    RateLimited,
    /// 403 without the platform's own body: what some send at a very high volume.
    Forbidden,
    /// 500.
    InternalError,
    /// 502, with a page of HTML from a proxy.
    BadGateway,
    /// 503 without `Retry-After`.
    Unavailable,
    /// 503 that orders a pause of [`RETRY_AFTER`](Self::RETRY_AFTER).
    UnavailableRetryAfter,
    /// The connection is reset; the request had no effect.
    ResetBefore,
    /// The connection is reset; the request had its effect, and the answer is lost.
    ResetAfter,
    /// Half of the body arrives, then the connection closes; the request had its effect.
    CutBody,
    /// The answer is right, and late by [`SLOW`](Self::SLOW).
    Slow,
    /// The access token ends before its time: 401.
    TokenExpired,
    /// One record of a bulk request is refused, although nothing is wrong with it.
    MemberRejected,
}

impl FaultKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::RateLimitedRetryAfter,
        Self::RateLimited,
        Self::Forbidden,
        Self::InternalError,
        Self::BadGateway,
        Self::Unavailable,
        Self::UnavailableRetryAfter,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::CutBody,
        Self::Slow,
        Self::TokenExpired,
        Self::MemberRejected,
    ];

    /// The pause that an answer with `Retry-After` orders.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// How late a slow answer is.
    pub const SLOW: Duration = Duration::from_millis(800);

    /// The first pause of a client that retries with 1 s, 4 s, 16 s: no request meets two faults, so there is no second one.
    const FIRST_RETRY: Duration = Duration::from_secs(1);

    /// Its name in statistics: `429_retry_after`, `reset_after`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimitedRetryAfter => "429_retry_after",
            Self::RateLimited => "429",
            Self::Forbidden => "403_no_body",
            Self::InternalError => "500",
            Self::BadGateway => "502",
            Self::Unavailable => "503",
            Self::UnavailableRetryAfter => "503_retry_after",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::CutBody => "cut_body",
            Self::Slow => "slow",
            Self::TokenExpired => "token_expired",
            Self::MemberRejected => "member_rejected",
        }
    }

    /// How long it keeps a client that retries after 1 s, or after the ordered pause.
    #[must_use]
    pub const fn delay(self) -> Duration {
        match self {
            Self::TokenExpired | Self::MemberRejected => Duration::ZERO,
            Self::Slow => Self::SLOW,
            Self::RateLimitedRetryAfter | Self::UnavailableRetryAfter => Self::RETRY_AFTER,
            _ => Self::FIRST_RETRY,
        }
    }

    /// Whether the request is not handled at all.
    #[must_use]
    pub const fn is_instead(self) -> bool {
        !matches!(self, Self::ResetAfter | Self::CutBody | Self::Slow | Self::MemberRejected)
    }

    /// The answer to a request that is not handled, where it looks the same at every platform: 502, 503, 500 and a reset.
    /// `None` for the rest, which every platform words in its own way.
    #[must_use]
    pub fn reply(self) -> Option<SimReply> {
        let page = |status: u16, title: &str| {
            let mut reply = SimReply::status(status).header("content-type", "text/html");
            reply.body = format!("<html><head><title>{status} {title}</title></head></html>").into();
            reply
        };
        Some(match self {
            Self::InternalError => page(500, "Internal Server Error"),
            Self::BadGateway => page(502, "Bad Gateway"),
            Self::Unavailable => page(503, "Service Unavailable"),
            Self::UnavailableRetryAfter => {
                page(503, "Service Unavailable").header("retry-after", Self::RETRY_AFTER.as_secs())
            }
            Self::ResetBefore => SimReply::status(500).fault(WireFault::Reset),
            _ => return None,
        })
    }

    /// What becomes of the answer to a request that was handled. What it stores stays.
    #[must_use]
    pub fn spoil(self, reply: SimReply) -> SimReply {
        match self {
            Self::ResetAfter => reply.fault(WireFault::Reset),
            Self::CutBody => {
                let half = reply.body.len() / 2;
                reply.fault(WireFault::Truncate(half))
            }
            Self::Slow => {
                let delay = reply.delay + Self::SLOW;
                reply.after(delay)
            }
            _ => reply,
        }
    }
}

/// A schedule of faults: which kind meets the how-manieth request of which class. Classes are the simulator's words (`list`,
/// `write`); its documentation names them.
///
/// A fault waits for the first request of its class, from its number on, that it can meet: one whose like (same method, path,
/// query and body) met no fault before, so that no call is hit twice and each costs its first retry at most.
///
/// ```
/// use martlet_testkit::{FaultKind, FaultPlan};
///
/// let plan = FaultPlan::none().with(FaultKind::ResetAfter, "write", 2).with(FaultKind::BadGateway, "list", 5);
/// assert_eq!(plan.delay().as_secs(), 2);
/// assert!(FaultPlan::none().is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct FaultPlan(Vec<Planned>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    kind: FaultKind,
    class: &'static str,
    /// 1 is the first request of the class.
    at: u64,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// With one more fault at the `at`th request of a class; 1 is the first.
    pub fn with(mut self, kind: FaultKind, class: &'static str, at: u64) -> Self {
        self.0.push(Planned { kind, class, at });
        self
    }

    /// With `kinds` in this order among the first `expected` requests of a class, at about equal distances that the seed
    /// varies. Where there are too few requests for all, the first ones of them have their place.
    pub fn spread(mut self, seed: u64, class: &'static str, expected: u64, kinds: &[FaultKind]) -> Self {
        // The class takes part, so that two classes do not move together.
        let stream = class.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let rng = Rng::seeded(seed).stream(stream);
        let step = (expected / (kinds.len() as u64 + 1)).max(1);
        let mut at = 0;
        for kind in kinds {
            at += step;
            let jitter = rng.below((step / 2).max(1));
            self.0.push(Planned { kind: *kind, class, at: at - jitter });
        }
        self
    }

    /// How long all of it keeps a client that retries after 1 s, or after the ordered pause. Calls that are under way at the
    /// same time wait at the same time, so that a program loses less.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.0.iter().map(|planned| planned.kind.delay()).sum()
    }

    /// The kinds in it, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<FaultKind> {
        let mut kinds: Vec<_> = self.0.iter().map(|planned| planned.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// A plan while it is carried out: what a simulator asks at each request.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    waiting: Vec<Planned>,
    arrived: HashMap<&'static str, u64>,
    /// Requests that met a fault, so that their like meets no second one.
    hit: HashSet<u64>,
    met: BTreeMap<FaultKind, u64>,
}

impl Faults {
    /// At its beginning.
    #[must_use]
    pub fn new(plan: &FaultPlan) -> Self {
        let mut waiting = plan.0.clone();
        // The earliest first; `sort_by_key` keeps the order of equal ones.
        waiting.sort_by_key(|planned| planned.at);
        Self { waiting, ..Self::default() }
    }

    /// Counts a request of `class`, and says what it meets. `fits` tells whether a kind can happen to this request at all; one
    /// that cannot waits for the next.
    pub fn meet(
        &mut self,
        class: &'static str,
        request: &SimRequest,
        fits: impl Fn(FaultKind) -> bool,
    ) -> Option<FaultKind> {
        let count = self.arrived.entry(class).or_default();
        *count += 1;
        let due = |planned: &Planned| planned.class == class && planned.at <= *count && fits(planned.kind);
        let place = self.waiting.iter().position(due)?;
        if !self.hit.insert(fingerprint(request)) {
            return None;
        }
        let Planned { kind, .. } = self.waiting.remove(place);
        *self.met.entry(kind).or_default() += 1;
        Some(kind)
    }

    /// Gives up on a kind.
    pub fn cancel(&mut self, kind: FaultKind) {
        self.waiting.retain(|planned| planned.kind != kind);
    }

    /// How often each kind was met, by [name](FaultKind::name).
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.met.iter().map(|(kind, count)| (kind.name().to_owned(), *count)).collect()
    }

    /// How long the faults that were met keep a client that retries after 1 s, or after the ordered pause.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let cost =
            |(kind, count): (&FaultKind, &u64)| kind.delay() * u32::try_from(*count).unwrap_or(u32::MAX);
        self.met.iter().map(cost).sum()
    }
}

/// The same for the same request, and for a repetition of it.
fn fingerprint(request: &SimRequest) -> u64 {
    // DefaultHasher::new() has fixed keys: the same in every process.
    let mut hasher = DefaultHasher::new();
    (request.method.as_str(), &request.path, &request.query, &request.body).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn request(n: u64) -> SimRequest {
        SimRequest::new(Method::GET, &format!("/things?after={n}"))
    }

    fn carried_out(plan: &FaultPlan, requests: impl IntoIterator<Item = u64>) -> Vec<(usize, FaultKind)> {
        let mut faults = Faults::new(plan);
        let met = requests.into_iter().map(|n| faults.meet("list", &request(n), |_| true));
        (1..).zip(met).filter_map(|(place, kind)| Some((place, kind?))).collect()
    }

    #[test]
    fn a_fault_meets_the_request_that_the_plan_names() {
        let plan = FaultPlan::none()
            .with(FaultKind::Slow, "list", 4)
            .with(FaultKind::BadGateway, "list", 2)
            .with(FaultKind::CutBody, "write", 1);
        assert_eq!(carried_out(&plan, 1..=9), [(2, FaultKind::BadGateway), (4, FaultKind::Slow)]);
    }

    #[test]
    fn a_repetition_is_let_through() {
        let plan = FaultPlan::none().with(FaultKind::BadGateway, "list", 1).with(FaultKind::Slow, "list", 1);
        let met = carried_out(&plan, [7, 7, 7, 8, 8]);
        assert_eq!(
            met,
            [(1, FaultKind::BadGateway), (4, FaultKind::Slow)],
            "the second waits for another request"
        );
    }

    #[test]
    fn a_fault_that_cannot_happen_waits_and_holds_up_no_other() {
        let plan =
            FaultPlan::none().with(FaultKind::TokenExpired, "list", 1).with(FaultKind::Slow, "list", 1);
        let mut faults = Faults::new(&plan);
        let mut meet =
            |n, token| faults.meet("list", &request(n), |kind| token || kind != FaultKind::TokenExpired);
        assert_eq!(meet(1, false), Some(FaultKind::Slow));
        assert_eq!(meet(2, false), None);
        assert_eq!(meet(3, true), Some(FaultKind::TokenExpired));
        assert_eq!(faults.counts(), [("slow".to_owned(), 1), ("token_expired".to_owned(), 1)].into());
        assert_eq!(faults.delay(), FaultKind::SLOW);
    }

    #[test]
    fn the_seed_moves_the_faults_within_their_bounds() {
        let plan = |seed| FaultPlan::none().spread(seed, "list", 200, &FaultKind::ALL);
        let met = carried_out(&plan(1), 1..=200);
        assert_eq!(met.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), FaultKind::ALL);
        assert_eq!(met, carried_out(&plan(1), 1..=200), "the same seed and the same requests");
        assert_ne!(met, carried_out(&plan(2), 1..=200));
        // As many as fit where there are fewer requests than kinds, the first ones.
        let few = FaultPlan::none().spread(1, "list", 5, &FaultKind::ALL);
        let met = carried_out(&few, 1..=5);
        assert_eq!(met.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), FaultKind::ALL[..5]);
    }

    #[test]
    fn what_a_fault_does_to_an_answer() {
        let good = || SimReply::json(200, &"0123456789").after(Duration::from_secs(1));
        assert_eq!(FaultKind::CutBody.spoil(good()).fault, Some(WireFault::Truncate(6)));
        assert_eq!(FaultKind::ResetAfter.spoil(good()).fault, Some(WireFault::Reset));
        assert_eq!(FaultKind::Slow.spoil(good()).delay, Duration::from_millis(1_800));
        for kind in FaultKind::ALL {
            assert!(kind.is_instead() || kind.reply().is_none(), "{kind:?}");
            assert!(kind.delay() <= Duration::from_secs(2), "{kind:?}");
        }
        let statuses = [FaultKind::InternalError, FaultKind::BadGateway, FaultKind::UnavailableRetryAfter]
            .map(|kind| kind.reply().map(|reply| (reply.status, reply.headers.contains_key("retry-after"))));
        assert_eq!(statuses, [Some((500, false)), Some((502, false)), Some((503, true))]);
        assert_eq!(FaultKind::ResetBefore.reply().and_then(|reply| reply.fault), Some(WireFault::Reset));
    }
}

use super::Limits;
use crate::lock;
use martlet_base::Moment;
use std::sync::Arc;
use std::time::Duration;

/// How long so many calls take at least, and how much of the quota they are. Made by [`Limits::plan`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuotaPlan {
    /// How many units were asked for.
    pub calls: u64,
    /// From now until the last may be sent.
    pub duration: Duration,
    /// The largest share of a window that they take while they run, up to 1.
    pub share: f64,
    /// When the last may be sent, if nobody else takes places.
    pub finishes_at: Moment,
    /// The window that decides, if any makes them wait.
    pub bottleneck: Option<Arc<str>>,
}

impl Limits {
    /// How long `calls` units of cost take from `now` on, with what is in use now: before a large job is begun. It assumes
    /// that calls take no time and nobody else comes; with latency `l` and a cap of `c` at once it is at least `calls * l / c`.
    ///
    /// ```
    /// use martlet_base::Moment;
    /// use martlet_resilience::Limits;
    /// use std::time::Duration;
    ///
    /// let limits = Limits::builder()
    ///     .window("ten_secondly", 100, Duration::from_secs(10))
    ///     .window("daily", 250_000, Duration::from_secs(86_400))
    ///     .build()?;
    /// let plan = limits.plan(50_000, Moment::ZERO);
    /// assert_eq!(plan.duration, Duration::from_secs(4_990)); // 500 windows of 100, the first at once
    /// assert_eq!(&*plan.bottleneck.unwrap(), "ten_secondly");
    /// # Ok::<(), martlet_resilience::ConfigError>(())
    /// ```
    #[must_use]
    pub fn plan(&self, calls: u64, now: Moment) -> QuotaPlan {
        let mut state = lock(&self.0.state);
        state.settle(now);
        let start = state.blocked_until.max(now);
        let none =
            QuotaPlan { calls, duration: start.since(now), share: 0.0, finishes_at: start, bottleneck: None };
        if calls == 0 {
            return none;
        }
        state.rules.iter().fold(none, |mut plan, rule| {
            let at = rule.place_at(calls, start);
            if at > plan.finishes_at {
                plan.finishes_at = at;
                plan.duration = at.since(now);
                plan.bottleneck = Some(Arc::clone(rule.name()));
            }
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
            let share = (calls as f64 / f64::from(rule.limit())).min(1.0);
            plan.share = plan.share.max(share);
            plan
        })
    }
}

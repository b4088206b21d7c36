//! What servers say about quotas in their headers.
//!
//! A server's words arrive in many dialects. [`Dialect`] reads one of them into a [`Reading`]; [`Limits::observe`] takes that in.
//! A platform declares its dialect: nothing is guessed from the values. The precedence is that of the
//! [RateLimit header fields for HTTP](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/):
//!
//! * `Retry-After` wins over everything else.
//! * What is malformed is ignored, field by field; no text panics.
//! * What remains is no promise: it lowers what we believe to be free and never raises it.
//! * A reset is clamped to 24 hours. A window of which nothing remains is taken until its reset; one of which something
//!   remains stops nobody, however far its reset.
//!
//! What each platform sends (unconfirmed where it says so):
//!
//! | platform | dialect |
//! |---|---|
//! | ActiveCampaign, Klaviyo | [`Dialect::RateLimitOld`] |
//! | Braze, Intercom | [`Dialect::XRateLimit`] with [`ResetUnit::EpochSeconds`] |
//! | Brevo | [`Dialect::Brevo`] |
//! | Customer.io, Iterable, LinkedIn Ads, Mailchimp, TikTok Ads | nothing: [`Dialect::RetryAfter`], in case |
//! | GA4 | nothing in headers; [`ga4_quota`] of the body |
//! | Google Ads | nothing in headers; [`google_ads_pause`] of the body |
//! | HubSpot | [`Dialect::HubSpot`] |
//! | Marketo | nothing: errors 606, 607 and 615 in a body with status 200 |
//! | Meta | [`Dialect::Meta`] |
//! | Pipedrive | [`Dialect::Pipedrive`] |
//! | Salesforce | [`Dialect::Salesforce`] |
//! | Segment | [`Dialect::XRateLimit`] with [`ResetUnit::EpochSeconds`] (both unconfirmed) |
//! | SendGrid | [`Dialect::XRateLimit`] with [`ResetUnit::DeltaSeconds`] |
//! | Shopify | [`Dialect::ShopifyRest`]; [`shopify_cost`] of the body for GraphQL |
//! | Stripe | no numbers, only which limit it was: [`Dialect::RetryAfter`] |
//! | Twilio | [`Dialect::RetryAfter`] (unconfirmed), and how many run at once |
//!
//! ```
//! use martlet_base::{Moment, Timestamp};
//! use martlet_resilience::{Limits, quota_headers::Dialect};
//! use std::time::Duration;
//!
//! let headers = [("ratelimit-policy", r#""burst";q=100;w=60"#), ("ratelimit", r#""burst";r=0;t=30"#)];
//! let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
//! let reading = Dialect::RateLimit.read(&header, Timestamp::from_secs(0));
//!
//! let limits = Limits::builder().window("burst", 100, Duration::from_secs(60)).build()?;
//! limits.observe(&reading, Moment::ZERO);
//! let refused = limits.try_acquire(1, Moment::ZERO).unwrap_err();
//! assert_eq!(refused.at, Some(Moment::ZERO + Duration::from_secs(30)));
//! # Ok::<(), martlet_resilience::ConfigError>(())
//! ```

mod vendor;

use crate::Limits;
use crate::hint::parse_retry_after;
use martlet_base::{Moment, Timestamp};
use sfv::{BareItem, List, ListEntry, Parser};
use std::time::Duration;

/// Looks a header up by its name in lower case; gives the values joined by commas.
pub type Header<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// What an answer's headers say.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Reading {
    /// The pause that the server orders (`Retry-After`).
    pub pause: Option<Duration>,
    /// What it says about each of its windows.
    pub windows: Vec<WindowReading>,
}

/// What an answer's headers say about one window.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WindowReading {
    /// The server's name for it, or the dialect's; `""` when there is only one.
    pub name: String,
    /// How much it holds.
    pub limit: Option<u32>,
    /// How much is left.
    pub remaining: Option<u32>,
    /// When it is full again; at most 24 hours.
    pub reset: Option<Duration>,
    /// How long it is.
    pub per: Option<Duration>,
    /// The unit, when it does not count requests: `content-bytes`, `concurrent-requests`.
    pub unit: Option<String>,
    /// Whose quota it is, when the server partitions.
    pub partition: Option<Vec<u8>>,
}

/// How a reset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetUnit {
    /// Seconds from now.
    DeltaSeconds,
    /// Milliseconds from now.
    DeltaMillis,
    /// Seconds of the Unix clock.
    EpochSeconds,
    /// Milliseconds of the Unix clock.
    EpochMillis,
}

/// A way to write quotas into headers. Each names the windows that it tells: give yours the same names, since a
/// [`WindowReading`] is taken for the window of its name or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// `Retry-After` alone.
    RetryAfter,
    /// `RateLimit` and `RateLimit-Policy` as structured fields (draft of 2025): the server's names and lengths.
    RateLimit,
    /// `RateLimit-Limit`, `-Remaining`, `-Reset` in seconds (drafts until 2023; Klaviyo, ActiveCampaign): one
    /// window without a name.
    RateLimitOld,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`. SendGrid and Pipedrive count seconds from now, Braze and Intercom write
    /// the Unix clock. One window without a name.
    XRateLimit(ResetUnit),
    /// HubSpot: `ten_secondly` and `daily`.
    HubSpot,
    /// Brevo: `x-sib-ratelimit-*` (the reset in seconds is unconfirmed), one window without a name.
    Brevo,
    /// Pipedrive: `burst` (`x-ratelimit-*` in seconds) and `daily` (`x-daily-requests-left`, unconfirmed).
    Pipedrive,
    /// Salesforce: `Sforce-Limit-Info: api-usage=695/15000`, of the last 24 hours: `daily`.
    Salesforce,
    /// Shopify's REST API: `X-Shopify-Shop-Api-Call-Limit: 32/40`, a leaky bucket: `bucket`.
    ShopifyRest,
    /// Meta: `X-Business-Use-Case-Usage` and `X-App-Usage`, percent used. The largest percentage decides; minutes to regain
    /// access are a pause.
    Meta,
}

/// A reset further away means "not today"; nobody sleeps that long.
const LONGEST_RESET: Duration = Duration::from_secs(86_400);

impl Dialect {
    /// Reads an answer's headers. `wall` is the present time on the calendar.
    #[must_use]
    pub fn read(self, header: &Header<'_>, wall: Timestamp) -> Reading {
        let mut reading = match self {
            Self::RetryAfter => Reading::default(),
            Self::RateLimit => structured(header),
            Self::RateLimitOld => triple(header, "", "ratelimit-", ResetUnit::DeltaSeconds, wall),
            Self::XRateLimit(unit) => triple(header, "", "x-ratelimit-", unit, wall),
            Self::HubSpot => vendor::hubspot(header),
            Self::Brevo => triple(header, "", "x-sib-ratelimit-", ResetUnit::DeltaSeconds, wall),
            Self::Pipedrive => vendor::pipedrive(header, wall),
            Self::Salesforce => vendor::salesforce(header),
            Self::ShopifyRest => vendor::shopify_rest(header),
            Self::Meta => vendor::meta(header),
        };
        let ordered = header("retry-after").and_then(|value| parse_retry_after(value, wall));
        reading.pause = ordered.or(reading.pause);
        for window in &mut reading.windows {
            window.reset = window.reset.map(|reset| reset.min(LONGEST_RESET));
        }
        reading.windows.retain(|w| w.limit.is_some() || w.remaining.is_some());
        reading
    }
}

impl Limits {
    /// Takes in what a server said at `now`. A window is found by its name, else by its span, else it is the only one there is.
    /// With a pause, which wins over the rest, nothing else is taken in.
    pub fn observe(&self, reading: &Reading, now: Moment) {
        if let Some(pause) = reading.pause {
            self.block_until(now + pause);
            return;
        }
        let known = self.snapshot(now);
        for window in &reading.windows {
            let Some(remaining) =
                window.remaining.filter(|_| window.unit.as_deref().is_none_or(|u| u == "requests"))
            else {
                continue;
            };
            let ours = known
                .iter()
                .find(|k| *k.name == *window.name)
                .or_else(|| known.iter().find(|k| Some(k.per) == window.per))
                .or_else(|| known.first().filter(|_| known.len() == 1 && reading.windows.len() == 1));
            match ours {
                Some(ours) => {
                    let resets = now + window.reset.unwrap_or(ours.per);
                    self.observe_remaining(&ours.name, remaining, resets, now);
                }
                None if remaining == 0 => {
                    if let Some(reset) = window.reset {
                        self.block_until(now + reset);
                    }
                }
                None => {}
            }
        }
    }
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Only digits: what does not parse is too large.
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

fn reset(text: &str, unit: ResetUnit, wall: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let up = u64::from(fraction.bytes().any(|b| b != b'0'));
    let value = whole.parse().unwrap_or(u64::MAX).saturating_add(up);
    let signed = i64::try_from(value).unwrap_or(i64::MAX);
    Some(match unit {
        ResetUnit::DeltaSeconds => Duration::from_secs(value),
        ResetUnit::DeltaMillis => Duration::from_millis(value),
        ResetUnit::EpochSeconds => Timestamp::from_secs(signed).since(wall),
        ResetUnit::EpochMillis => Timestamp::from_millis(signed).since(wall),
    })
}

/// `<prefix>limit`, `<prefix>remaining`, `<prefix>reset`.
fn triple(header: &Header<'_>, name: &str, prefix: &str, unit: ResetUnit, wall: Timestamp) -> Reading {
    let get = |field: &str| header(&format!("{prefix}{field}"));
    // `100, 100;w=60`: the limit and its policies, in the drafts until 2021.
    let limit = get("limit").and_then(|text| {
        let first = text.split([',', ';']).next()?;
        let per = text
            .split(';')
            .find_map(|part| part.trim().strip_prefix("w="))
            .and_then(|w| number(w.split(',').next()?));
        Some((number(first)?, per.filter(|w| *w > 0).map(|w| Duration::from_secs(w.into()))))
    });
    let window = WindowReading {
        name: name.to_owned(),
        limit: limit.map(|(limit, _)| limit),
        per: limit.and_then(|(_, per)| per),
        remaining: get("remaining").and_then(number),
        reset: get("reset").and_then(|text| reset(text, unit, wall)),
        ..WindowReading::default()
    };
    Reading { pause: None, windows: vec![window] }
}

/// The members of a structured field: a name and its parameters. A field that is malformed has none.
fn members(field: Option<&str>) -> Vec<sfv::Item> {
    let list = field.and_then(|field| Parser::new(field).parse::<List>().ok()).unwrap_or_default();
    let items = list.into_iter().filter_map(|entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    items.collect()
}

fn text(item: &BareItem) -> Option<String> {
    match item {
        BareItem::String(s) => Some(s.as_str().to_owned()),
        // Tokens are no names by the draft, but servers write them.
        BareItem::Token(t) => Some(t.as_str().to_owned()),
        _ => None,
    }
}

/// A parameter that is a number and not negative.
fn parameter(item: &sfv::Item, name: &str) -> Option<u32> {
    let key = sfv::KeyRef::from_str(name).ok()?;
    match item.params.get(key)? {
        BareItem::Integer(n) => {
            Some(u32::try_from(i64::from(*n)).unwrap_or(u32::MAX)).filter(|_| i64::from(*n) >= 0)
        }
        _ => None,
    }
}

fn structured(header: &Header<'_>) -> Reading {
    let seconds = |n: u32| Duration::from_secs(n.into());
    let mut windows: Vec<WindowReading> = Vec::new();
    for item in members(header("ratelimit-policy")) {
        // A policy without a quota is malformed, and so is one with a window of nothing.
        let (Some(name), Some(limit)) = (text(&item.bare_item), parameter(&item, "q")) else { continue };
        let get = |name| sfv::KeyRef::from_str(name).ok().and_then(|key| item.params.get(key));
        windows.push(WindowReading {
            name,
            limit: Some(limit),
            per: parameter(&item, "w").filter(|w| *w > 0).map(seconds),
            unit: get("qu").and_then(text),
            partition: partition(get("pk")),
            ..WindowReading::default()
        });
    }
    for item in members(header("ratelimit")) {
        let (Some(name), Some(remaining)) = (text(&item.bare_item), parameter(&item, "r")) else { continue };
        let key = sfv::KeyRef::from_str("pk").ok();
        let pk = partition(key.and_then(|key| item.params.get(key)));
        let index = windows.iter().position(|w| w.name == name).unwrap_or_else(|| {
            windows.push(WindowReading { name, ..WindowReading::default() });
            windows.len() - 1
        });
        let window = &mut windows[index];
        window.remaining = Some(remaining);
        window.reset = parameter(&item, "t").map(seconds);
        window.partition = pk.or(window.partition.take());
    }
    Reading { pause: None, windows }
}

fn partition(item: Option<&BareItem>) -> Option<Vec<u8>> {
    match item? {
        BareItem::ByteSequence(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

pub use vendor::{ga4_quota, google_ads_pause, shopify_cost};

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests;

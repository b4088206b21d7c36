//! What may be done with an answer, and until when. No I/O, no clock: time is an argument.
//!
//! `http-cache-semantics` computes whether an answer may be stored and how long it is fresh. It gets the fields that count in
//! one spelling, because it reads names of directives in lower case only and dates in one form only.

use super::control::{self, Directives};
use crate::{CacheRule, Verb};
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use martlet_base::Moment;
use std::time::{Duration, SystemTime};

/// A platform may ask for more; nobody wants last year's answer.
const LONGEST_STALE: u64 = 24 * 3_600;

/// What `immutable` without an age means.
const IMMUTABLE: Duration = Duration::from_secs(24 * 3_600);

/// Headers of a request that choose no answer: tracing, and those that the cache obeys itself.
const CHOOSES_NOTHING: [&str; 12] = [
    "cache-control",
    "pragma",
    "if-none-match",
    "if-modified-since",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "x-correlation-id",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
];

/// How long an answer may be used, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) arrived: Moment,
    /// How old it was when it arrived.
    age: Duration,
    fresh_until: Moment,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    /// It is never served stale, whoever asks for it.
    strict: bool,
    /// The request's headers that chose it.
    pub(super) selection: Selection,
}

/// What is known of an exchange when its answer has come.
pub(super) struct Exchange<'a> {
    pub(super) rule: &'a CacheRule,
    pub(super) verb: Verb,
    pub(super) request: &'a HeaderMap,
    pub(super) status: StatusCode,
    pub(super) answer: &'a HeaderMap,
    pub(super) now: Moment,
    pub(super) wall: SystemTime,
    /// 0 to 1, for the jitter.
    pub(super) chance: f64,
}

/// What an entry is good for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// As it is.
    Fresh,
    /// As it is, while somebody renews it.
    WhileRevalidating,
    /// It is asked for again first.
    AfterRevalidation,
}

impl Exchange<'_> {
    /// The terms of the answer; `None`: it must not, or need not, be kept.
    pub(super) fn judge(&self) -> Option<Terms> {
        let said = Directives::of(self.answer);
        let names = vary(self.answer);
        let whole = self.status != StatusCode::PARTIAL_CONTENT && self.status != StatusCode::NOT_MODIFIED;
        if !whole || names.is_none() {
            return None;
        }
        let rule = self.rule;
        let guessed = rule.heuristic > 0 && self.answer.contains_key(LAST_MODIFIED);
        let silent = !said.says_how_long() && !self.answer.contains_key(EXPIRES) && !guessed;
        let own_time = rule.ignores_headers || (silent && !rule.ttl.is_zero());
        let obeyed = !rule.ignores_headers;
        let (age, lifetime) = if own_time {
            if !self.status.is_success() {
                return None;
            }
            (Duration::ZERO, jittered(rule.ttl, rule.jitter, self.chance))
        } else {
            self.by_headers(&said)?
        };
        let strict = obeyed && (said.must_revalidate || said.no_cache);
        let window = |said: Option<u64>, own: u32| match said.filter(|_| obeyed) {
            _ if strict => Duration::ZERO,
            Some(seconds) => Duration::from_secs(seconds.min(LONGEST_STALE)),
            None => Duration::from_secs(own.into()),
        };
        let stale_while_revalidate = window(said.stale_while_revalidate, rule.stale_while_revalidate);
        let stale_if_error = window(said.stale_if_error, rule.stale_if_error);
        let useful = [lifetime, stale_while_revalidate, stale_if_error].iter().any(|time| !time.is_zero())
            || self.answer.contains_key(ETAG)
            || self.answer.contains_key(LAST_MODIFIED);
        useful.then(|| Terms {
            arrived: self.now,
            age,
            fresh_until: self.now + lifetime,
            stale_while_revalidate,
            stale_if_error,
            strict,
            // A platform that says how long also says what chose the answer. One that does not is not taken at its silence.
            selection: Selection::of(self.request, if own_time { None } else { names }),
        })
    }

    /// Age and rest of the time that it is fresh, as the headers say; `None`: it must not be stored.
    fn by_headers(&self, said: &Directives) -> Option<(Duration, Duration)> {
        let date = http_date(self.answer, &DATE);
        let apparent = date.and_then(|date| self.wall.duration_since(date).ok()).unwrap_or_default();
        let told = control::age(self.answer);
        let age = told.unwrap_or_default().max(Duration::from_secs(apparent.as_secs()));
        let mut request = http::Request::new(());
        *request.method_mut() = self.verb.method();
        let mut answer = http::Response::new(());
        // Of a status whose rules are not known the headers tell enough: RFC 9111, section 3.
        let explicit = said.max_age.is_some() || self.answer.contains_key(EXPIRES);
        *answer.status_mut() = if explicit && !said.must_understand && !understood(self.status) {
            StatusCode::OK
        } else {
            self.status
        };
        *answer.headers_mut() = self.in_one_spelling(said, date, age);
        let options = CacheOptions {
            shared: false,
            cache_heuristic: f32::from(self.rule.heuristic) / 100.0,
            immutable_min_time_to_live: IMMUTABLE,
            ignore_cargo_cult: false,
        };
        let policy = CachePolicy::new_options(&request, &answer, self.wall, options);
        let left = if told.is_some() { policy.time_to_live(self.wall) } else { Duration::ZERO };
        policy.is_storable().then_some((age, left))
    }

    fn in_one_spelling(&self, said: &Directives, date: Option<SystemTime>, age: Duration) -> HeaderMap {
        let mut directives = Vec::new();
        // Who understands the status does not mind the `no-store` that stands beside `must-understand`.
        if said.must_understand && !understood(self.status) || said.no_store && !said.must_understand {
            directives.push("no-store".to_owned());
        }
        if said.no_cache {
            directives.push("no-cache".to_owned());
        }
        if said.immutable {
            directives.push("immutable".to_owned());
        }
        if said.public {
            directives.push("public".to_owned());
        }
        directives.extend(said.max_age.map(|seconds| format!("max-age={seconds}")));
        let mut headers = HeaderMap::new();
        let mut set = |name, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        if !directives.is_empty() {
            set(CACHE_CONTROL, directives.join(", "));
        }
        set(AGE, age.as_secs().to_string());
        if let Some(date) = date {
            set(DATE, httpdate::fmt_http_date(date));
        }
        if let Some(modified) = http_date(self.answer, &LAST_MODIFIED) {
            set(LAST_MODIFIED, httpdate::fmt_http_date(modified));
        }
        if self.answer.contains_key(EXPIRES) {
            // What is no date is in the past: section 5.3.
            let expires =
                http_date(self.answer, &EXPIRES).map_or_else(|| "0".to_owned(), httpdate::fmt_http_date);
            set(EXPIRES, expires);
        }
        headers
    }
}

/// Statuses whose caching rules are known: [RFC 9110, section 15.1](https://www.rfc-editor.org/rfc/rfc9110#section-15.1).
fn understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300..=303 | 307 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// For how long it is remembered that there is no such thing.
pub(super) fn missing(rule: &CacheRule, request: &HeaderMap, now: Moment) -> Option<Terms> {
    (rule.negative > 0).then(|| Terms {
        arrived: now,
        age: Duration::ZERO,
        fresh_until: now + Duration::from_secs(rule.negative.into()),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        strict: true,
        selection: Selection::of(request, None),
    })
}

fn jittered(ttl: Duration, percent: u8, chance: f64) -> Duration {
    if percent == 0 {
        return ttl;
    }
    let factor = 1.0 + f64::from(percent) / 100.0 * (2.0 * chance - 1.0);
    // What is longer than can be told is for ever anyway.
    Duration::try_from_secs_f64(ttl.as_secs_f64() * factor).unwrap_or(ttl)
}

/// A date in any of the three forms of [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
fn http_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok()
}

impl Terms {
    pub(super) fn usable(&self, now: Moment, asked: &Directives) -> Use {
        if asked.no_cache || asked.max_age.is_some_and(|most| self.age(now) > Duration::from_secs(most)) {
            return Use::AfterRevalidation;
        }
        let left = self.fresh_until.since(now);
        let enough = asked.min_fresh.is_none_or(|least| left >= Duration::from_secs(least));
        if !left.is_zero() {
            return if enough { Use::Fresh } else { Use::AfterRevalidation };
        }
        let stale_for = now.since(self.fresh_until);
        if self.strict || asked.min_fresh.is_some() {
            Use::AfterRevalidation
        } else if stale_for < self.stale_while_revalidate {
            Use::WhileRevalidating
        } else if asked.max_stale.is_some_and(|most| stale_for <= Duration::from_secs(most)) {
            Use::Fresh
        } else {
            Use::AfterRevalidation
        }
    }

    /// Whether it may stand in for an error that another try may mend.
    pub(super) fn stands_in(&self, now: Moment, asked: &Directives) -> bool {
        // No window is left to what is strict.
        !asked.no_cache
            && now.since(self.fresh_until) < self.stale_if_error
            && asked.max_age.is_none_or(|most| self.age(now) <= Duration::from_secs(most))
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        self.age + now.since(self.arrived)
    }

    /// Seconds for which it is fresh, below zero: for which it is stale.
    pub(super) fn ttl(&self, now: Moment) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(self.fresh_until.since(now)) - seconds(now.since(self.fresh_until))
    }
}

/// Headers of a request by which an answer was chosen: those that `Vary` names or, where that is not known, all. Credentials
/// always belong to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    names: Option<Vec<HeaderName>>,
    chosen: Vec<(HeaderName, HeaderValue)>,
}

impl Selection {
    fn of(request: &HeaderMap, names: Option<Vec<HeaderName>>) -> Self {
        let chosen = choosing(request, names.as_deref());
        Self { names, chosen }
    }

    pub(super) fn matches(&self, request: &HeaderMap) -> bool {
        choosing(request, self.names.as_deref()) == self.chosen
    }

    /// Whether a request comes from the same one, as far as its headers tell.
    pub(super) fn is_of_the_same(&self, request: &HeaderMap) -> bool {
        let ours = self.chosen.iter().filter(|(name, value)| identifies(name, value));
        ours.eq(&choosing(request, Some(&[])))
    }

    pub(super) fn size(&self) -> usize {
        self.chosen.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }
}

/// Whether a header tells who asks.
fn identifies(name: &HeaderName, value: &HeaderValue) -> bool {
    value.is_sensitive() || *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION || *name == COOKIE
}

/// The headers of a request that choose the answer, in the order of their names.
pub(super) fn choosing(request: &HeaderMap, names: Option<&[HeaderName]>) -> Vec<(HeaderName, HeaderValue)> {
    let chooses = |name: &HeaderName, value: &HeaderValue| {
        identifies(name, value)
            || names.map_or_else(|| !CHOOSES_NOTHING.contains(&name.as_str()), |names| names.contains(name))
    };
    let mut chosen: Vec<_> = request
        .iter()
        .filter(|(name, value)| chooses(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Stable: values of one name stay in order.
    chosen.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    chosen
}

/// The names in `Vary`; `None` where it says that nothing is ever chosen again.
fn vary(answer: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in answer.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            // `*` is a token, and therefore a name for this parser.
            names.push(name.parse::<HeaderName>().ok().filter(|name| name != "*")?);
        }
    }
    Some(names)
}

/// Whether a request asks for a part, or sets a condition that only the platform can judge.
pub(super) fn keeps_out(request: &HeaderMap) -> bool {
    // Few requests have so many headers that looking for four names matters, and these have none.
    [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE].iter().any(|name| request.contains_key(name))
}

/// Whether the caller sets a condition of its own, and gets the 304 itself.
pub(super) fn is_conditional(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE)
}

/// Whether the caller of a conditional request has this answer already.
pub(super) fn caller_has_it(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let Some(etag) = stored.get(ETAG).and_then(|etag| etag.to_str().ok()) else { return false };
        return request
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|list| list.trim() == "*" || entity_tags(list).any(|tag| weak(tag) == weak(etag.trim())));
    }
    // Without a time of the last change it is the time at which it was as it is.
    let modified = http_date(stored, &LAST_MODIFIED).or_else(|| http_date(stored, &DATE));
    match (http_date(request, &IF_MODIFIED_SINCE), modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// The members of a list of entity tags, in which a comma may stand inside quotes.
fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
}

/// An entity tag without its `W/`: what weak comparison compares.
fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The conditions under which the platform may say that one of these answers is still right.
pub(super) fn conditions<'a>(
    answers: impl IntoIterator<Item = &'a HeaderMap>,
) -> Vec<(HeaderName, HeaderValue)> {
    let answers: Vec<_> = answers.into_iter().collect();
    let tags: Vec<_> = answers.iter().filter_map(|headers| headers.get(ETAG)?.to_str().ok()).collect();
    let mut conditions = Vec::new();
    if let Ok(list) = HeaderValue::try_from(tags.join(", "))
        && !list.is_empty()
    {
        conditions.push((IF_NONE_MATCH, list));
    }
    // A date tells nothing about which of several it is.
    if let [only] = answers[..]
        && let Some(modified) = only.get(LAST_MODIFIED)
    {
        conditions.push((IF_MODIFIED_SINCE, modified.clone()));
    }
    conditions
}

/// Which of the answers that were asked about a 304 is about: RFC 9111, section 4.3.4.
pub(super) fn confirmed<'a>(
    asked: impl IntoIterator<Item = &'a HeaderMap>,
    not_modified: &HeaderMap,
) -> Option<usize> {
    let asked: Vec<_> = asked.into_iter().collect();
    let tag = |headers: &'a HeaderMap| headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::trim);
    if let Some(new) = not_modified.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::trim) {
        // A strong tag confirms nothing but itself.
        let same = |old: &str| if new.starts_with("W/") { weak(old) == weak(new) } else { weak(old) == new };
        return asked.iter().position(|headers| tag(headers).is_some_and(same));
    }
    match (asked.len(), not_modified.get(LAST_MODIFIED)) {
        (1, None) => Some(0),
        (_, Some(new)) => asked.iter().position(|headers| headers.get(LAST_MODIFIED) == Some(new)),
        _ => None,
    }
}

/// The headers of a stored answer after a 304: what that has replaces what was there, except what describes the body.
pub(super) fn updated(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    // An answer that was just confirmed is not as old as it was.
    headers.remove(AGE);
    let of_the_body = |name: &HeaderName| {
        matches!(
            name.as_str(),
            "content-encoding" | "content-length" | "content-range" | "content-md5" | "content-digest"
        )
    };
    for name in not_modified.keys().filter(|name| !of_the_body(name)) {
        headers.remove(name);
        for value in not_modified.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// What of an answer's headers is kept: not those of the connection, nor those that `no-cache` names.
pub(super) fn kept(mut headers: HeaderMap) -> HeaderMap {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let hop = [CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    let named = ["keep-alive", "proxy-connection", "proxy-authentication-info"].map(HeaderName::from_static);
    for name in hop.iter().chain(&named).chain(&listed).chain(&Directives::of(&headers).no_cache_fields) {
        headers.remove(name);
    }
    headers
}

/// Whether a body is as long as its headers say. One that is not was cut off.
pub(super) fn is_complete(headers: &HeaderMap, length: usize) -> bool {
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    said.is_none_or(|said: usize| said == length)
}

/// Headers of an answer that says "as you have it".
pub(super) fn not_modified(stored: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE] {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value): (_, HeaderValue)| {
            headers.append(name, value);
        });
        headers
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn hc9_a_304_replaces_all_values_of_a_field_and_keeps_all_of_the_others() {
        // The bug of http-cache: of several cookies one was left.
        let stored = headers(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=1"),
            ("link", "<1>"),
            ("link", "<2>"),
            ("age", "9"),
        ]);
        let stored = updated(
            &stored,
            &headers(&[("set-cookie", "a=2"), ("set-cookie", "c=2"), ("content-length", "0")]),
        );
        assert_eq!(all(&stored, "set-cookie"), ["a=2", "c=2"]);
        assert_eq!(all(&stored, "link"), ["<1>", "<2>"]);
        assert!(!stored.contains_key("age") && !stored.contains_key("content-length"));
    }

    #[test]
    fn hc9_a_strong_tag_confirms_itself_alone() {
        for (stored, told, confirms) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "W/\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            // What we asked with, without the mark that an intermediary put there.
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "\"b\"", false),
            ("W/\"a\"", "W/\"b\"", false),
        ] {
            let found = confirmed([&headers(&[("etag", stored)])], &headers(&[("etag", told)]));
            assert_eq!(found.is_some(), confirms, "{stored} {told}");
        }
        let both = [&headers(&[("etag", "\"a\"")]), &headers(&[("etag", "\"b\"")])];
        assert_eq!(confirmed(both, &headers(&[("etag", "\"b\"")])), Some(1));
        assert_eq!(confirmed(both, &HeaderMap::new()), None, "which one?");
        assert_eq!(confirmed([both[0]], &HeaderMap::new()), Some(0));
    }

    #[test]
    fn a_comma_in_an_entity_tag_separates_nothing() {
        let stored = headers(&[("etag", "\"a,b\"")]);
        assert!(caller_has_it(&headers(&[("if-none-match", "\"x\", W/\"a,b\"")]), &stored));
        assert!(caller_has_it(&headers(&[("if-none-match", "*")]), &stored));
        assert!(!caller_has_it(&headers(&[("if-none-match", "\"a\", \"b\"")]), &stored));
        assert!(!caller_has_it(&HeaderMap::new(), &stored));
    }

    #[test]
    fn no_time_is_too_long_to_be_jittered() {
        for chance in [0.0, 0.5, 0.999] {
            assert!(jittered(Duration::MAX, 50, chance) >= Duration::MAX / 3);
        }
        assert_eq!(jittered(Duration::from_secs(100), 10, 0.0), Duration::from_secs(90));
        assert_eq!(jittered(Duration::MAX, 0, 0.7), Duration::MAX);
    }

    const RULES: [CacheRule; 3] = [
        CacheRule::new(Duration::ZERO, "x"),
        CacheRule::new(Duration::from_secs(60), "x").stale_if_error(Duration::MAX).heuristic(10),
        CacheRule::reference_data(Duration::MAX, "x"),
    ];

    fn judge(rule: &CacheRule, status: u16, answer: &HeaderMap) -> Option<Terms> {
        let exchange = Exchange {
            rule,
            verb: Verb::Get,
            request: &HeaderMap::new(),
            status: StatusCode::from_u16(status).unwrap(),
            answer,
            now: Moment::ZERO,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            chance: 0.5,
        };
        exchange.judge()
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_and_what_may_not_be_stored_is_not(
            fields in prop::collection::vec((
                prop::sample::select(vec!["cache-control", "expires", "date", "age", "vary", "last-modified", "etag", "pragma"]),
                "(max-age=|no-cache|immutable|stale-if-error=|Sun, 06 Nov |, |\"|[ -~]){0,6}",
            ), 0..8),
            status in 100u16..1000,
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut answer = headers(&fields);
            for rule in &RULES {
                if let Some(terms) = judge(rule, status, &answer) {
                    for seconds in [0, 1, 1 << 40] {
                        let now = Moment::ZERO + Duration::from_secs(seconds);
                        let _ = (terms.usable(now, &Directives::default()), terms.age(now), terms.ttl(now));
                    }
                }
            }
            answer.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60, no-store"));
            prop_assert_eq!(RULES.map(|rule| judge(&rule, status, &answer)), [None, None, None]);
        }
    }
}

//! Dialects of single platforms, as recorded from their answers.

use super::{Header, Reading, ResetUnit, WindowReading, number, triple};
use martlet_base::Timestamp;
use serde_json::Value;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn window(name: &str, limit: Option<u32>, remaining: Option<u32>, per: Option<Duration>) -> WindowReading {
    WindowReading { name: name.to_owned(), limit, remaining, per, ..WindowReading::default() }
}

pub(super) fn hubspot(header: &Header<'_>) -> Reading {
    let get = |name: &str| header(&format!("x-hubspot-ratelimit-{name}"));
    let n = |name: &str| get(name).and_then(number);
    let interval = n("interval-milliseconds").filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()));
    Reading {
        pause: None,
        windows: vec![
            window("ten_secondly", n("max"), n("remaining"), interval),
            window("daily", n("daily"), n("daily-remaining"), Some(DAY)),
        ],
    }
}

pub(super) fn pipedrive(header: &Header<'_>, wall: Timestamp) -> Reading {
    let mut reading = triple(header, "burst", "x-ratelimit-", ResetUnit::DeltaSeconds, wall);
    let left = header("x-daily-requests-left").and_then(number);
    reading.windows.push(window("daily", None, left, Some(DAY)));
    reading
}

/// `used/limit`
fn used_of(text: &str) -> Option<(u32, u32)> {
    let (used, limit) = text.split_once('/')?;
    Some((number(used)?, number(limit)?))
}

pub(super) fn salesforce(header: &Header<'_>) -> Reading {
    // `api-usage=18/5000; per-app-api-usage=17/250(appName=sample-app)`
    let usage = header("sforce-limit-info")
        .into_iter()
        .flat_map(|text| text.split([';', ',']))
        .find_map(|part| used_of(part.trim().strip_prefix("api-usage=")?));
    let windows =
        usage.map(|(used, limit)| window("daily", Some(limit), Some(limit.saturating_sub(used)), Some(DAY)));
    Reading { pause: None, windows: windows.into_iter().collect() }
}

pub(super) fn shopify_rest(header: &Header<'_>) -> Reading {
    let usage = header("x-shopify-shop-api-call-limit").and_then(used_of);
    let windows =
        usage.map(|(used, limit)| window("bucket", Some(limit), Some(limit.saturating_sub(used)), None));
    Reading { pause: None, windows: windows.into_iter().collect() }
}

/// Shopify's GraphQL API says what a query cost in the body of each answer, at `extensions.cost`: points are left of a
/// bucket that fills at a steady rate. `body` is the whole answer.
#[must_use]
pub fn shopify_cost(body: &Value) -> Reading {
    let status = &body["extensions"]["cost"]["throttleStatus"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within a u32")]
    let n = |name: &str| {
        status[name].as_f64().filter(|n| (0.0..=f64::from(u32::MAX)).contains(n)).map(|n| n as u32)
    };
    let (limit, remaining) = (n("maximumAvailable"), n("currentlyAvailable"));
    let mut points = window("points", limit, remaining, None);
    points.unit = Some("points".to_owned());
    if let (Some(limit), Some(left), Some(rate)) = (limit, remaining, n("restoreRate").filter(|r| *r > 0)) {
        points.reset = Some(Duration::from_secs(limit.saturating_sub(left).div_ceil(rate).into()));
    }
    let throttled =
        body["errors"].as_array().into_iter().flatten().any(|e| e["extensions"]["code"] == "THROTTLED");
    let requested = body["extensions"]["cost"]["requestedQueryCost"].as_f64();
    let mut reading = Reading { pause: None, windows: vec![points] };
    reading.windows.retain(|w| w.remaining.is_some());
    if throttled
        && let (Some(requested), Some(left), Some(rate)) =
            (requested, remaining, n("restoreRate").filter(|r| *r > 0))
    {
        let missing = (requested - f64::from(left)).max(0.0) / f64::from(rate);
        reading.pause = Duration::try_from_secs_f64(missing).ok();
    }
    reading
}

/// GA4 says in the body of each answer to a request with `returnPropertyQuota` what is left, at `propertyQuota`. `body` is the whole
/// answer.
#[must_use]
pub fn ga4_quota(body: &Value) -> Reading {
    const HOUR: Duration = Duration::from_secs(3_600);
    let kinds = [
        ("tokensPerDay", "tokens", Some(DAY)),
        ("tokensPerHour", "tokens", Some(HOUR)),
        ("tokensPerProjectPerHour", "tokens", Some(HOUR)),
        ("concurrentRequests", "concurrent-requests", None),
    ];
    let windows = kinds.into_iter().filter_map(|(name, unit, per)| {
        let left = body["propertyQuota"][name]["remaining"].as_u64()?;
        let mut w = window(name, None, Some(u32::try_from(left).unwrap_or(u32::MAX)), per);
        w.unit = Some(unit.to_owned());
        Some(w)
    });
    Reading { pause: None, windows: windows.collect() }
}

/// Google Ads says in the body of a refusal how long to stay away: the longest `quotaErrorDetails.retryDelay`, such as `"30s"`. `body`
/// is the whole answer.
#[must_use]
pub fn google_ads_pause(body: &Value) -> Reading {
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let errors = each(&body["error"]["details"]).into_iter().flat_map(|detail| each(&detail["errors"]));
    let delays = errors.filter_map(|error| {
        let delay = error["details"]["quotaErrorDetails"]["retryDelay"].as_str()?.strip_suffix('s')?;
        Duration::try_from_secs_f64(delay.parse().ok()?).ok()
    });
    Reading { pause: delays.max(), windows: Vec::new() }
}

pub(super) fn meta(header: &Header<'_>) -> Reading {
    let mut reading = Reading::default();
    let json = |name: &str| header(name).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let percent = |usage: &Value| {
        ["call_count", "total_cputime", "total_time", "acc_id_util_pct"]
            .iter()
            .filter_map(|key| usage[key].as_f64())
            .fold(None, |max: Option<f64>, p| Some(max.map_or(p, |m| m.max(p))))
    };
    let left = |used: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
        let left = (100.0 - used).clamp(0.0, 100.0).floor() as u32;
        left
    };
    let mut push = |name: String, used: Option<f64>, reset: Option<Duration>| {
        let Some(used) = used else { return };
        let mut w = window(&name, Some(100), Some(left(used)), None);
        w.unit = Some("percent".to_owned());
        w.reset = reset;
        reading.windows.push(w);
    };
    let mut regain = 0;
    if let Some(Value::Object(accounts)) = json("x-business-use-case-usage") {
        for usage in accounts.values().filter_map(Value::as_array).flatten() {
            let minutes = usage["estimated_time_to_regain_access"].as_u64().unwrap_or(0);
            regain = regain.max(minutes);
            push(usage["type"].as_str().unwrap_or("business_use_case").to_owned(), percent(usage), None);
        }
    }
    if let Some(usage) = json("x-app-usage") {
        push("app".to_owned(), percent(&usage), None);
    }
    if let Some(usage) = json("x-ad-account-usage") {
        let seconds = usage["reset_time_duration"].as_u64().map(Duration::from_secs);
        push("ad_account".to_owned(), percent(&usage), seconds);
    }
    if regain > 0 {
        reading.pause = Some(Duration::from_secs(regain.saturating_mul(60)));
    }
    reading
}

use crate::HubSpotPlan;
use crate::model::error::Envelope;
use crate::operations;
use http::StatusCode;
use martlet_base::{Delivery, Recovery};
use martlet_core::{
    Descriptor, ErrorKind, LimitSpec, Operation, Platform, Response, VendorFault, Verdict,
    quota_headers::Dialect,
};
use serde::Deserialize;
use std::time::Duration;

/// The API version, in one place: what `{version}` in the paths stands for.
const API_VERSION: &str = "v3";

/// A spent daily quota comes back at midnight in the portal's time zone, which no answer tells (unconfirmed). So the next
/// try is an hour away: soon enough after any midnight, and far too rare to matter.
const DAILY_PAUSE: Duration = Duration::from_secs(3600);

/// Errors are small; a success of this size is not looked at for an error inside.
const MAX_ENVELOPE: usize = 16 << 10;

/// HubSpot's facts: limits, error envelope, quota headers.
#[derive(Debug)]
pub struct HubSpotPlatform(Descriptor);

impl HubSpotPlatform {
    /// Where a public app refreshes its tokens, for [`OAuth2Config`](https://docs.rs/martlet-auth). Version 1 of it, which older
    /// programs use, **will be removed on 2027-02-16**.
    pub const TOKEN_URL: &'static str = "https://api.hubapi.com/oauth/v3/token";

    /// The facts, with the limits of [`HubSpotPlan::Free`].
    #[must_use]
    pub fn new() -> Self {
        let descriptor = Descriptor::new("hubspot", "https://api.hubapi.com")
            .expect("a constant id and a constant URL, both valid")
            .version(API_VERSION)
            .limit(HubSpotPlan::Free.limit())
            .limit(LimitSpec::new(operations::SEARCH_BUCKET).window("secondly", 5, Duration::from_secs(1)))
            .quota_headers(Dialect::HubSpot)
            .check(operations::LIST);
        Self(descriptor)
    }
}

impl Default for HubSpotPlatform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform for HubSpotPlatform {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn classify(&self, _operation: &Operation, response: &Response) -> Verdict {
        let status = response.status();
        if status.is_success() {
            // A 207 is a success in parts: the operation that asked reads it.
            let hidden = status == StatusCode::OK && response.body().len() <= MAX_ENVELOPE;
            return match hidden.then(|| Envelope::parse(response.body())).flatten() {
                Some(envelope) if envelope.is_error() => Verdict::Fault(fault(
                    VendorFault::new(envelope.kind(), "HubSpot answered 200 with an error"),
                    Some(&envelope),
                )),
                _ => Verdict::Success,
            };
        }
        let envelope = Envelope::parse(response.body());
        let basic = match status.as_u16() {
            // Cloudflare, before HubSpot: a token that is no token. It may come with a page of HTML.
            530 => VendorFault::new(
                ErrorKind::Unauthenticated,
                "HubSpot's edge could not read the access token: it is malformed (cut off, quoted or padded)",
            )
            .delivery(Delivery::Rejected)
            .recovery(Recovery::Fatal),
            429 => throttled(response, envelope.as_ref()),
            _ => VendorFault::from_status(status),
        };
        Verdict::Fault(fault(basic, envelope.as_ref()))
    }

    fn request_id<'r>(&self, response: &'r Response) -> Option<&'r str> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Id<'a> {
            #[serde(borrow)]
            correlation_id: Option<&'a str>,
        }
        let in_body = || {
            let failed = response.status().is_client_error() || response.status().is_server_error();
            if !failed {
                return None;
            }
            serde_json::from_slice::<Id<'r>>(response.body()).ok()?.correlation_id
        };
        response.header("x-hubspot-correlation-id").or_else(in_body)
    }
}

/// Completes what the status says with what the envelope says.
fn fault(basic: VendorFault, envelope: Option<&Envelope>) -> VendorFault {
    let Some(envelope) = envelope else { return basic };
    let mut fault = basic;
    let text = envelope.text();
    if !text.is_empty() {
        // Our own explanation of a 530 is better than Cloudflare's.
        if fault.recovery != Some(Recovery::Fatal) {
            fault = fault.message(text);
        }
    }
    match envelope.code() {
        Some(code) => fault.code(code),
        None => fault,
    }
}

/// A 429 names its policy in `policyName` (unconfirmed), or only in its message (recorded).
fn throttled(response: &Response, envelope: Option<&Envelope>) -> VendorFault {
    let policy = envelope.and_then(|e| e.policy_name.as_deref().or(e.message.as_deref())).unwrap_or_default();
    let policy = policy.to_ascii_lowercase();
    if policy.contains("daily") {
        return VendorFault::new(ErrorKind::QuotaExhausted, "the daily quota is spent")
            .retry_after(DAILY_PAUSE);
    }
    // HubSpot sends no Retry-After with most of them; where it does, the client prefers it.
    let interval = response
        .header("x-hubspot-ratelimit-interval-milliseconds")
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_millis);
    let ten = policy.contains("ten_second") || policy.contains("ten second");
    let fault = VendorFault::new(ErrorKind::RateLimited, "too many requests");
    match interval {
        _ if policy.contains("second") && !ten => fault.retry_after(Duration::from_secs(1)),
        Some(interval) => fault.retry_after(interval.min(Duration::from_secs(60))),
        None if ten => fault.retry_after(Duration::from_secs(10)),
        // Nothing is known: the retry's own schedule decides.
        None => fault,
    }
}

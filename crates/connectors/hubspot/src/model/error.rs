//! HubSpot's one error envelope, and what its categories mean.

use martlet_core::ErrorKind;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `{"status":"error","message":..,"correlationId":..,"category":..,"errors":[..],"context":{..}}`. Everything may be
/// missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Envelope {
    pub(crate) status: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) sub_category: Option<Value>,
    pub(crate) policy_name: Option<String>,
    pub(crate) error_type: Option<String>,
    pub(crate) context: Option<BTreeMap<String, Value>>,
    pub(crate) errors: Option<Vec<Detail>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Detail {
    message: Option<String>,
    context: Option<BTreeMap<String, Value>>,
}

/// The members of `context` that name a missing scope.
const SCOPES: [&str; 2] = ["requiredScopes", "requiredGranularScopes"];

impl Envelope {
    /// Reads a body; `None` when it is no JSON object (a proxy's HTML page, an empty body).
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(crate) fn is_error(&self) -> bool {
        self.status.as_deref() == Some("error")
    }

    /// The most telling code: the policy of a limit, else the category.
    pub(crate) fn code(&self) -> Option<&str> {
        [&self.policy_name, &self.category, &self.error_type].into_iter().find_map(|code| code.as_deref())
    }

    /// The message, with the details that say more than it does and the scopes that are missing.
    pub(crate) fn text(&self) -> String {
        let mut text = self.message.clone().unwrap_or_default();
        let details = self.errors.as_deref().unwrap_or_default();
        for message in details.iter().filter_map(|detail| detail.message.as_deref()).take(3) {
            if !text.contains(message) {
                let between = if text.is_empty() { "" } else { "; " };
                let _ = write!(text, "{between}{message}");
            }
        }
        let contexts = self.context.iter().chain(details.iter().filter_map(|detail| detail.context.as_ref()));
        let mut scopes: Vec<&str> = contexts
            .flat_map(|context| SCOPES.iter().filter_map(|name| context.get(*name)))
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        scopes.dedup();
        if !scopes.is_empty() {
            let _ = write!(text, "; missing scopes: {}", scopes.join(", "));
        }
        text
    }

    /// The ids that tie an error of a 207 to its inputs.
    pub(crate) fn trace_ids(&self) -> Vec<&str> {
        match self.context.as_ref().and_then(|context| context.get("objectWriteTraceId")) {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(id)) => vec![id],
            _ => Vec::new(),
        }
    }

    /// What the category says when there is no status to go by: in a 207, and in a 200 that holds an error.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.category.as_deref() {
            Some("RATE_LIMITS") => ErrorKind::RateLimited,
            Some("OBJECT_NOT_FOUND") => ErrorKind::NotFound,
            Some("CONFLICT" | "OBJECT_ALREADY_EXISTS") => ErrorKind::Conflict,
            Some("MISSING_SCOPES" | "BANNED" | "FORBIDDEN") => ErrorKind::Forbidden,
            Some("INVALID_AUTHENTICATION" | "EXPIRED_AUTHENTICATION") => ErrorKind::Unauthenticated,
            Some("INTERNAL_ERROR" | "SERVICE_UNAVAILABLE") => ErrorKind::Server,
            // A category that is unknown here still says that HubSpot looked at the request and said no.
            _ => ErrorKind::Rejected,
        }
    }
}

use crate::operations;
use http::StatusCode;
use martlet_core::{Descriptor, ErrorKind, LimitSpec, Operation, Platform, Response, VendorFault, Verdict};
use serde::Deserialize;
use std::time::Duration;

/// The facts about Mailchimp that the generic layers need.
#[derive(Clone, Debug)]
pub struct MailchimpPlatform(Descriptor);

impl MailchimpPlatform {
    pub(crate) const ID: &'static str = "mailchimp";

    /// The API version this crate is written for: the one place where it is pinned.
    pub const VERSION: &'static str = "3.0";

    /// How many requests the platform takes at once, for all programs of the user together.
    pub const CONNECTIONS: u32 = 10;

    /// The facts. The host of the descriptor is that of one data centre; [`MailchimpBuilder`](crate::MailchimpBuilder) puts
    /// the credential's in its place.
    #[must_use]
    pub fn new() -> Self {
        let descriptor = Descriptor::new(Self::ID, "https://us1.api.mailchimp.com")
            .expect("the id and the URL are constants that a test covers");
        Self(
            descriptor
                .version(Self::VERSION)
                .limit(LimitSpec::new(LimitSpec::DEFAULT).concurrency(Self::CONNECTIONS))
                // The platform gives up after 120 s by itself.
                .attempt_timeout(Duration::from_secs(120))
                .check(operations::PING),
        )
    }
}

impl Default for MailchimpPlatform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform for MailchimpPlatform {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn classify(&self, _operation: &Operation, response: &Response) -> Verdict {
        verdict(response.status(), response.body())
    }

    fn request_id<'r>(&self, response: &'r Response) -> Option<&'r str> {
        #[derive(Deserialize)]
        struct Instance<'a> {
            #[serde(borrow)]
            instance: Option<&'a str>,
        }
        response.header("x-request-id").or_else(|| {
            let failed = !response.status().is_success();
            let body = failed.then(|| serde_json::from_slice::<Instance<'_>>(response.body()).ok());
            body.flatten()?.instance
        })
    }
}

/// What a status and a body say, of a request or of one operation of a batch.
pub(crate) fn verdict(status: StatusCode, body: &[u8]) -> Verdict {
    let fault = match Verdict::from_status(status) {
        Verdict::Fault(fault) => fault,
        success => return success,
    };
    Verdict::Fault(match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.fault(fault),
        // Above its limits the platform also says 403, without its own envelope: a proxy in front answers.
        Err(_) if status == StatusCode::FORBIDDEN => {
            VendorFault::new(ErrorKind::RateLimited, "refused without an explanation: too many requests")
        }
        // An HTML page or nothing: the status says all there is.
        Err(_) => fault,
    })
}

/// Problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) as Mailchimp fills them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    errors: Option<Vec<FieldProblem>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FieldProblem {
    field: Option<String>,
    message: Option<String>,
}

impl Problem {
    fn fault(self, by_status: VendorFault) -> VendorFault {
        let title = self.title.unwrap_or_default();
        let kind = match title.as_str() {
            "Member Exists" => ErrorKind::Conflict,
            "Member In Compliance State" | "Forgotten Email Not Subscribed" => ErrorKind::Rejected,
            "API Key Invalid" | "API Key Missing" => ErrorKind::Unauthenticated,
            _ => by_status.kind,
        };
        let mut message = self.detail.unwrap_or_default();
        for FieldProblem { field, message: text } in self.errors.into_iter().flatten() {
            let text = text.unwrap_or_default();
            if !message.is_empty() {
                message.push(' ');
            }
            match field.filter(|field| !field.is_empty()) {
                Some(field) => message.push_str(&format!("[{field}: {text}]")),
                None => message.push_str(&format!("[{text}]")),
            }
        }
        let message = without_addresses(&message);
        let mut fault = if kind == by_status.kind { by_status } else { VendorFault::new(kind, "") };
        if !message.is_empty() {
            fault = fault.message(message);
        }
        if title.is_empty() { fault } else { fault.code(title) }
    }
}

/// The platform quotes addresses in its texts ("zoe@example.org is already a list member"). Errors end up in logs, where
/// they have no business.
pub(crate) fn without_addresses(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.contains('@') { "(address)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_is_the_documented_one() {
        let platform = MailchimpPlatform::new();
        let descriptor = platform.descriptor();
        assert_eq!(descriptor.api_version(), "3.0");
        assert_eq!(descriptor.limits()[0].get_concurrency(), Some(10));
        assert_eq!(descriptor.get_attempt_timeout(), Duration::from_secs(120));
        assert_eq!(descriptor.check_operation(), Some(&operations::PING));
    }

    #[test]
    fn addresses_in_texts_are_hidden() {
        assert_eq!(
            without_addresses("\"a@b.example\" is already a list member. Use PUT."),
            "(address) is already a list member. Use PUT."
        );
    }
}

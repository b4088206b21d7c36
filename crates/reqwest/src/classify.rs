//! What became of a request that reqwest failed to send.

use martlet_base::Delivery;
use martlet_core::{TransportError, TransportErrorKind};
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::iter::successors;

/// Classifies an error of sending a request or reading its answer.
pub(crate) fn classify(error: &reqwest::Error) -> TransportError {
    if error.is_connect() && chain(error).any(asks_for_proxy_credentials) {
        return proxy_refused();
    }
    let (kind, delivery) = if error.is_connect() {
        (TransportErrorKind::Connect, Delivery::NotSent)
    } else if error.is_builder() {
        (TransportErrorKind::InvalidRequest, Delivery::NotSent)
    } else if error.is_timeout() {
        (TransportErrorKind::Timeout, Delivery::Unknown)
    } else if not_http(error) {
        (TransportErrorKind::Protocol, Delivery::Unknown)
    } else {
        // Once there was a connection nothing proves that no byte has left.
        (TransportErrorKind::Interrupted, Delivery::Unknown)
    };
    TransportError::new(kind, delivery, describe(error))
}

/// The proxy answered 407 (RFC 9110, 15.5.8).
pub(crate) fn proxy_refused() -> TransportError {
    let message = "the proxy wants other credentials (407): see Proxy::basic_auth";
    TransportError::new(TransportErrorKind::Connect, Delivery::NotSent, message)
}

/// hyper-util's errors of tunnels have no public type; a test holds their text.
fn asks_for_proxy_credentials(error: &(dyn StdError + 'static)) -> bool {
    error.to_string().ends_with("proxy authorization required")
}

#[cfg(feature = "rustls")]
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    // One `io::Error` may hold another, and shows it in no chain.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

#[cfg(not(feature = "rustls"))]
const fn is_tls(_: &(dyn StdError + 'static)) -> bool {
    false
}

fn chain<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(error.source(), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

fn not_http(error: &reqwest::Error) -> bool {
    let chunk_size =
        |e: &io::Error| e.kind() == io::ErrorKind::InvalidInput || e.kind() == io::ErrorKind::InvalidData;
    chain(error).any(|e| {
        e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
            || e.downcast_ref::<io::Error>().is_some_and(chunk_size)
    })
}

/// The causes in one line. The errors themselves are not handed on: reqwest's print the URL, whose query may be a secret,
/// so each of them is left out at whatever depth.
fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    for cause in chain(error).filter(|cause| !cause.is::<reqwest::Error>()) {
        let (before, is_tls, cause) = (text.len(), is_tls(cause), cause.to_string());
        // Some errors repeat their source.
        if !text.ends_with(&cause) {
            let separator = if before == 0 { "" } else { ": " };
            let tls = if is_tls { "TLS: " } else { "" };
            write!(text, "{separator}{tls}{cause}").expect("a String takes any text");
        }
    }
    if text.is_empty() { "the request cannot be sent".to_owned() } else { text }
}

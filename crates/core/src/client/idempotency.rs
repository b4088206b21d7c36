//! One key per call: made here, outside Retry, so that every attempt sends the same one with the same body.

use crate::{Error, ErrorKind, Idempotency, IdempotencyKey, KeyStyle, Request, Result};
use http::{HeaderName, HeaderValue};
use martlet_base::Rng;

pub(super) fn apply(request: &mut Request, rng: &Rng) -> Result<()> {
    let context = std::sync::Arc::clone(request.context());
    let Idempotency::Keyed(style) = context.operation.get_idempotency() else {
        return match &context.key {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::InvalidRequest, "this operation takes no idempotency key")),
        };
    };
    let key = context.key.clone().unwrap_or_else(|| IdempotencyKey::random(rng));
    match style {
        KeyStyle::Header(name) => set(request, name, key.as_str()),
        KeyStyle::QuotedHeader(name) => set(request, name, &format!("\"{}\"", key.as_str())),
        KeyStyle::BodyField(field) => {
            let mut body: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&request.body().bytes()).map_err(|_| {
                    let message = "the idempotency key goes into a JSON object, and the body is none";
                    Error::new(ErrorKind::InvalidRequest, message)
                })?;
            body.insert(field.to_owned(), key.as_str().into());
            request.set_body(serde_json::Value::Object(body).to_string());
            Ok(())
        }
    }
}

fn set(request: &mut Request, name: &'static str, value: &str) -> Result<()> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| {
        Error::new(ErrorKind::Config, "the operation's key header has no valid name").with_source(e)
    })?;
    let value = HeaderValue::from_str(value).map_err(|e| {
        Error::new(ErrorKind::InvalidRequest, "the idempotency key does not fit a header").with_source(e)
    })?;
    request.headers_mut().insert(name, value);
    Ok(())
}

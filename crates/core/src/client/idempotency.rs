//! One key per call: made here, outside Retry, so that every attempt sends the same one with the same body.

mod durable;

pub(crate) use durable::DurableKeys;

use crate::{Error, ErrorKind, Idempotency, IdempotencyKey, KeyStyle, Request, Result, Verb};
use http::{HeaderName, HeaderValue};
use martlet_base::Rng;

/// Puts the call's key onto the request, and returns it. `durable`: it must be one that can be found again.
pub(super) fn apply(request: &mut Request, rng: &Rng, durable: bool) -> Result<Option<IdempotencyKey>> {
    let context = std::sync::Arc::clone(request.context());
    let operation = &context.operation;
    let Idempotency::Keyed(style) = operation.get_idempotency() else {
        return match &context.key {
            None => Ok(None),
            Some(_) => Err(invalid("this operation takes no idempotency key")),
        };
    };
    // GET and DELETE are idempotent by definition; platforms refuse or ignore a key there.
    if matches!(operation.verb(), Verb::Get | Verb::Delete) {
        return Ok(None);
    }
    let key = match &context.key {
        Some(key) => key.clone(),
        None if operation.is_key_required() => {
            return Err(invalid(
                "this operation needs an idempotency key of the caller's, such as IdempotencyKey::derived",
            ));
        }
        None if durable => {
            return Err(invalid(
                "a random idempotency key cannot be found again after a crash; derive one from a business id",
            ));
        }
        None => IdempotencyKey::random(rng),
    };
    put(request, style, &key).map(|()| Some(key))
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

fn put(request: &mut Request, style: KeyStyle, key: &IdempotencyKey) -> Result<()> {
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

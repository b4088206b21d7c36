use crate::support::{Acme, CREATE, Recorder, World, descriptor};
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use martlet_base::Delivery;
use martlet_core::{
    ApiClient, Call, Client, Credential, Error, IdempotencyKey, Layer, Next, Request, Response, Result,
    Secret, SendContext, Transport, TransportError, TransportErrorKind, WireRequest,
};
use martlet_core::{BodyStream, Operation, Verb};
use serde_json::json;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex};

const CANARY: &str = "canary-7d21";

/// Keeps the debug texts of what passes.
#[derive(Debug, Default)]
struct Texts(Mutex<Vec<String>>);

impl Texts {
    fn add(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

#[derive(Debug)]
struct Look(Arc<Texts>, &'static str);

#[async_trait]
impl Layer for Look {
    fn name(&self) -> &'static str {
        self.1
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        self.0.add(format!("{request:?} {:?} {next:?}", request.context()));
        let result = next.run(request).await;
        self.0.add(format!("{result:?}"));
        result
    }
}

#[derive(Debug)]
struct Wire(Arc<Texts>, u16);

#[async_trait]
impl Transport for Wire {
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        self.0.add(format!("{request:?} {cx:?}"));
        assert!(request.url.query().unwrap().contains(CANARY) && request.body.len() > 10);
        if self.1 == 0 {
            return Err(TransportError::new(TransportErrorKind::Connect, Delivery::NotSent, "refused"));
        }
        let body = BodyStream::whole(format!("{{\"email\":\"{CANARY}\"}}").into());
        let mut response = http::Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(self.1).unwrap();
        let secret = HeaderValue::from_static("session=canary-7d21");
        response.headers_mut().insert(http::header::SET_COOKIE, secret);
        Ok(response)
    }
}

fn call() -> Call {
    Call::new(CREATE)
        .query("token", CANARY)
        .header(HeaderName::from_static("x-secret"), HeaderValue::from_static(CANARY))
        .json(&json!({ "email": CANARY }))
}

fn error_texts(error: &Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(error) = cause {
        texts.extend([error.to_string(), format!("{error:?}")]);
        cause = error.source();
    }
    texts
}

#[tokio::test]
async fn a_secret_is_in_no_text_of_anything() {
    for status in [200, 400, 401, 429, 503, 0] {
        let world = World::new();
        let (texts, seen) = (Arc::new(Texts::default()), Arc::new(Recorder::default()));
        let credential = Credential::basic("user", Secret::new(CANARY));
        texts.add(format!("{credential:?}"));
        let builder = Client::builder(Acme(descriptor()))
            .transport(Wire(Arc::clone(&texts), status))
            .credentials(credential)
            .clock(world.clock.clone())
            .observer(seen.clone())
            .call_layer(Look(Arc::clone(&texts), "call"))
            .attempt_layer(Look(Arc::clone(&texts), "attempt"));
        texts.add(format!("{builder:?}"));
        let client = builder.build().unwrap();
        texts.add(format!("{client:?} {:?} {:?}", client.shared_state(), call()));
        match world.run(client.execute(call())).await {
            Ok(response) => {
                texts.add(format!("{response:?}"));
                let error = response.json::<Vec<u8>>().unwrap_err();
                error_texts(&error).into_iter().for_each(|text| texts.add(text));
            }
            Err(error) => error_texts(&error).into_iter().for_each(|text| texts.add(text)),
        }
        let signals = seen.all("");
        assert!(!signals.is_empty());
        for text in texts.0.lock().unwrap().iter().chain(&signals) {
            assert!(!text.contains(CANARY), "{status}: {text}");
            // Base64 of user:canary-7d21.
            assert!(!text.contains("dXNlcjpjYW5hcnk"), "{status}: {text}");
        }
    }
}

#[test]
fn secrets_hide_in_every_credential() {
    for credential in [
        Credential::bearer(CANARY),
        Credential::basic("u", CANARY),
        Credential::api_key(HeaderName::from_static("api-key"), CANARY),
    ] {
        assert!(!format!("{credential:?}").contains(CANARY));
    }
    let secret = Secret::from(CANARY);
    assert_eq!((secret.expose(), format!("{secret:?}")), (CANARY, "Secret(..)".to_owned()));
}

#[tokio::test]
async fn a_credential_is_marked_sensitive_on_the_wire() {
    let world = World::new();
    world.transport.on(&CREATE).reply(200).times(3);
    let key = HeaderName::from_static("api-key");
    for (credential, header, value) in [
        (Credential::bearer("t"), "authorization", "Bearer t"),
        (Credential::basic("user", "pass"), "authorization", "Basic dXNlcjpwYXNz"),
        (Credential::api_key(key, "k"), "api-key", "k"),
    ] {
        let client = world.builder().credentials(credential).build().unwrap();
        world.execute(&client, Call::new(CREATE)).await.unwrap();
        let headers: HeaderMap = world.transport.requests().pop().unwrap().headers;
        assert_eq!((headers[header].to_str().unwrap(), headers[header].is_sensitive()), (value, true));
    }
}

#[test]
fn names_are_shown_and_values_are_not() {
    const OPERATION: Operation = Operation::custom(Verb::Patch, "things.update", "/v1/things/{id}");
    let call = Call::new(OPERATION).path("id", CANARY).query("email", CANARY).body(CANARY.to_owned());
    assert_eq!(
        format!("{call:?}"),
        r#"Call { operation: "things.update", path: ["id"], query: ["email"], body: Body(11 bytes), timeout: None, .. }"#
    );
    assert!(
        format!("{:?}", IdempotencyKey::new("order-1").unwrap()).contains("order-1"),
        "a key is no secret"
    );
}

/// Takes what the platform says for its text, whatever it is.
#[derive(Debug)]
struct Quoting(martlet_core::Descriptor);

impl martlet_core::Platform for Quoting {
    fn descriptor(&self) -> &martlet_core::Descriptor {
        &self.0
    }

    fn classify(&self, _operation: &Operation, response: &Response) -> martlet_core::Verdict {
        if response.status().is_success() {
            return martlet_core::Verdict::Success;
        }
        let text = String::from_utf8_lossy(response.body());
        let fault = martlet_core::VendorFault::from_status(response.status());
        martlet_core::Verdict::Fault(fault.message(&*text).code(&*text))
    }
}

#[tokio::test]
async fn a_credential_that_the_platform_quotes_is_in_no_error() {
    use base64::Engine as _;
    let canary = martlet_testkit::Canary::new("token");
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("user:{}", canary.text()));
    for credential in [
        Credential::bearer(canary.text()),
        Credential::basic("user", canary.text()),
        Credential::api_key(HeaderName::from_static("api-key"), canary.text()),
    ] {
        for status in [200, 401, 403, 422, 500] {
            let world = World::new();
            let said = format!("the token {} ({pair}) is no good; {}", canary.text(), canary.text());
            world.transport.on(&CREATE).reply(status).body(said).forever();
            let transport: Arc<dyn Transport> = Arc::new(world.transport.clone());
            let builder = Client::builder(Quoting(descriptor())).shared_transport(transport);
            let client = builder.clock(world.clock.clone()).credentials(credential.clone()).build().unwrap();
            let error = match world.run(client.execute(Call::new(CREATE))).await {
                Ok(response) => {
                    // As a connector that finds an error in an answer of 200.
                    let text = String::from_utf8_lossy(response.body()).into_owned();
                    response.error(martlet_core::ErrorKind::Rejected, text)
                }
                Err(error) => error,
            };
            assert!(error.to_string().contains("the token (secret)"), "{error}");
            if let Credential::Basic { .. } = credential {
                canary.absent_from_error("what a platform quotes", &error);
            } else {
                // The pair is a secret of those who use it.
                assert!(!format!("{error} {error:?}").contains(canary.text()), "{status}");
            }
        }
    }
}

//! The same call, made in four ways: an upsert of one contact, whose answer is read to its end.

use async_trait::async_trait;
use martlet_core::{
    ApiClient as _, Call, Client, Credential, Descriptor, Idempotency, Layer, LimitSpec, Next, Operation,
    Platform, Request, Response,
};
use martlet_reqwest::ReqwestTransport;
use reqwest_middleware::ClientWithMiddleware;
use reqwest_retry::RetryTransientMiddleware;
use reqwest_retry::policies::ExponentialBackoff;
use serde::Serialize;
use std::error::Error;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PATH: &str = "/crm/v3/objects/contacts";
const TOKEN: &str = "pat-eu1-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const AGENT: &str = "layer-overhead/1";

const UPSERT: Operation = Operation::post("contacts.upsert", PATH).idempotency(Idempotency::Idempotent);

#[derive(Debug, Serialize)]
struct Contact {
    email: &'static str,
    firstname: &'static str,
    lastname: &'static str,
    lifecyclestage: &'static str,
}

const CONTACT: Contact =
    Contact { email: "ada@example.com", firstname: "Ada", lastname: "Lovelace", lifecyclestage: "customer" };

#[derive(Debug)]
struct Acme(Descriptor);

impl Platform for Acme {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

/// A user's layer that changes nothing: its place is what is measured.
#[derive(Debug)]
struct Passing(&'static str);

#[async_trait]
impl Layer for Passing {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, request: Request, next: Next<'_>) -> martlet_core::Result<Response> {
        next.run(request).await
    }
}

/// Who makes the call.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Reqwest(reqwest::Client, String),
    Middleware(ClientWithMiddleware, String),
    Martlet(Client),
}

impl Subject {
    /// Their names, the bare one first, and how to build them. Each has connections of its own.
    pub(crate) fn all(base: &str) -> Outcome<Vec<(&'static str, Self)>> {
        let url = format!("{base}{PATH}");
        let bare = || reqwest::Client::builder().user_agent(AGENT).build();
        let retry = ExponentialBackoff::builder().build_with_max_retries(3);
        let middleware = reqwest_middleware::ClientBuilder::new(bare()?)
            .with(RetryTransientMiddleware::new_with_policy(retry))
            .build();
        // The limits are part of the stack, and never reached.
        let limit = LimitSpec::new(LimitSpec::DEFAULT).window("second", 1_000_000, Duration::from_secs(1));
        let martlet = || -> Outcome<_> {
            Ok(Client::builder(Acme(Descriptor::new("acme", base)?.limit(limit.clone())))
                .transport(ReqwestTransport::new()?)
                .credentials(Credential::bearer(TOKEN))
                .user_agent(AGENT))
        };
        Ok(vec![
            ("reqwest", Self::Reqwest(bare()?, url.clone())),
            ("reqwest-middleware + reqwest-retry", Self::Middleware(middleware, url)),
            ("martlet", Self::Martlet(martlet()?.build()?)),
            (
                "martlet, two users' layers",
                Self::Martlet(
                    martlet()?.call_layer(Passing("call")).attempt_layer(Passing("attempt")).build()?,
                ),
            ),
        ])
    }

    /// Makes the call and returns the length of its answer.
    pub(crate) async fn call(&self) -> Outcome<usize> {
        Ok(match self {
            Self::Reqwest(client, url) => {
                let answer = client.post(url).bearer_auth(TOKEN).json(&CONTACT).send().await?;
                answer.error_for_status()?.bytes().await?.len()
            }
            Self::Middleware(client, url) => {
                let answer = client.post(url).bearer_auth(TOKEN).json(&CONTACT).send().await?;
                answer.error_for_status()?.bytes().await?.len()
            }
            Self::Martlet(client) => client.execute(Call::new(UPSERT).json(&CONTACT)).await?.body().len(),
        })
    }
}

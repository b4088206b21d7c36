//! The storage from which the platform hands out results: another origin, to which no credential goes.

use crate::operations;
use async_trait::async_trait;
use martlet_core::{
    ApiClient, Call, Client, Descriptor, Error, ErrorKind, Layer, Next, Platform, Request, Response, Result,
};
use std::fmt;
use url::Url;

const ID: &str = "mailchimp-results";

/// Fetches what is at `address`, without a credential: https only, or http on loopback.
pub(super) async fn fetch(client: &Client, address: &str) -> Result<Response> {
    // Neither error quotes the address: whoever knows it can read the results.
    let unusable = |error: Error| {
        let message = "the address of the results that the platform gave cannot be used";
        Error::new(ErrorKind::Decode, message)
            .with_operation(&ID.into(), operations::BATCH_RESULTS.name())
            .with_source(error)
    };
    let url = Url::parse(address).ok().filter(|url| url.username().is_empty() && url.password().is_none());
    let url =
        url.ok_or_else(|| unusable(Error::new(ErrorKind::Decode, "it is not a URL, or holds a user")))?;
    let origin = url.origin().ascii_serialization();
    let storage = Descriptor::new(ID, &origin).map(Storage).map_err(unusable)?;
    let storage = client.builder_elsewhere(storage).call_layer(Exactly(url)).build().map_err(unusable)?;
    storage.execute(Call::new(operations::BATCH_RESULTS)).await
}

#[derive(Debug)]
struct Storage(Descriptor);

impl Platform for Storage {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

/// Sends requests to this address as it stands: it is signed.
struct Exactly(Url);

#[async_trait]
impl Layer for Exactly {
    fn name(&self) -> &'static str {
        "exact_url"
    }

    async fn call(&self, mut request: Request, next: Next<'_>) -> Result<Response> {
        *request.url_mut() = self.0.clone();
        next.run(request).await
    }
}

impl fmt::Debug for Exactly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exactly(..)")
    }
}

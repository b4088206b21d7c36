use crate::client::Core;
use crate::{Request, Response, Result};
use async_trait::async_trait;
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A user's piece of behaviour around a call or an attempt.
///
/// The built-in layers have a fixed order; users' layers have two marked places in it, see
/// [`Client::layers`](crate::Client::layers).
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    note = "implement `martlet_core::Layer`: a `name()` and an async `call(request, next)`"
)]
pub trait Layer: fmt::Debug + Send + Sync + 'static {
    /// Its name, unique within a client.
    fn name(&self) -> &'static str;

    /// Handles the request: change it, pass it on with [`Next::run`], change or replace the answer.
    ///
    /// # Errors
    /// Whatever `next` returns, or an error of its own.
    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Call,
    Attempt,
}

type BoxedCall<'a> = Pin<Box<dyn Future<Output = Result<Response>> + Send + 'a>>;

/// The layers that are still to come.
pub struct Next<'a> {
    pub(crate) rest: &'a [Arc<dyn Layer>],
    pub(crate) core: &'a Arc<Core>,
    pub(crate) phase: Phase,
}

impl Next<'_> {
    /// Passes the request on. It can be done once: only the Retry layer runs the rest again.
    ///
    /// # Errors
    /// What the rest of the layers returns.
    pub async fn run(self, request: Request) -> Result<Response> {
        self.start(request).await
    }
}

impl<'a> Next<'a> {
    /// The rest in a box, so that the future of the layer before it stays small; and the compiler cannot see by itself that the
    /// recursion ends.
    pub(crate) fn start(self, request: Request) -> BoxedCall<'a> {
        let core = self.core;
        match (self.rest.split_first(), self.phase) {
            (Some((layer, rest)), phase) => layer.call(request, Next { rest, core, phase }),
            (None, Phase::Call) => Box::pin(core.call_rest(request)),
            (None, Phase::Attempt) => {
                let attempt = request.attempt();
                Box::pin(core.attempt_rest(Cow::Owned(request), attempt))
            }
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rest.iter().map(|layer| layer.name())).finish()
    }
}

use crate::client::Core;
use crate::{Request, Response, Result};
use async_trait::async_trait;
use std::fmt;
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
        match self.rest.split_first() {
            Some((layer, rest)) => {
                layer.call(request, Next { rest, core: self.core, phase: self.phase }).await
            }
            None => match self.phase {
                Phase::Call => self.core.boxed_call_rest(request).await,
                Phase::Attempt => self.core.attempt_rest(request).await,
            },
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rest.iter().map(|layer| layer.name())).finish()
    }
}

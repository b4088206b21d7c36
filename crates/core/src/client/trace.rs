//! Tells observers how a call ended, also when its future is dropped.

use super::Core;
use crate::{CallContext, Error, ErrorKind, Response, Result};
use martlet_base::{CallOutcome, Signal};
use std::sync::Arc;

pub(super) struct CallTrace<'a> {
    core: &'a Core,
    context: &'a Arc<CallContext>,
    done: bool,
}

impl<'a> CallTrace<'a> {
    pub(super) const fn start(core: &'a Core, context: &'a Arc<CallContext>) -> Self {
        Self { core, context, done: false }
    }

    /// Fills in what the call cost, and reports it.
    pub(super) fn finish(&mut self, result: Result<Response>) -> Result<Response> {
        self.done = true;
        let context = self.context;
        let elapsed = self.core.clock.now().since(context.started);
        let result = match result {
            Ok(mut response) => {
                let meta = response.meta_mut();
                // What was shared with others may have been attempted by another call.
                meta.attempts = meta.attempts.max(context.effort.attempts());
                meta.elapsed = elapsed;
                meta.quota_wait = context.effort.quota_wait();
                Ok(response)
            }
            Err(error) => {
                let attempts = error.attempts().max(context.effort.attempts());
                Err(error
                    .with_operation(&context.platform, context.operation.name())
                    .with_effort(attempts, elapsed))
            }
        };
        match &result {
            Ok(response) => self.report(CallOutcome::Ok, Some(response), None),
            Err(error) => {
                let throttled = matches!(
                    error.kind(),
                    ErrorKind::RateLimited | ErrorKind::QuotaExhausted | ErrorKind::Overloaded
                );
                let outcome = if throttled { CallOutcome::Throttled } else { CallOutcome::Error };
                self.report(outcome, None, Some(error));
            }
        }
        result
    }

    fn report(&self, outcome: CallOutcome, response: Option<&Response>, error: Option<&Error>) {
        let context = self.context;
        let attempts = match (response, error) {
            (Some(response), _) => response.meta().attempts,
            (_, Some(error)) => error.attempts(),
            _ => context.effort.attempts(),
        };
        self.core.observers.emit(|| {
            Signal::call_finished(
                &context.platform,
                context.operation.name(),
                &context.connection,
                context.ids(),
                outcome,
                response.map(|r| r.status().as_u16()).or_else(|| error.and_then(Error::status)),
                error.map(|e| e.kind().as_str()),
                error.and_then(Error::code),
                response
                    .and_then(|r| r.meta().request_id.as_deref())
                    .or_else(|| error.and_then(Error::request_id)),
                error.and_then(Error::retry_at),
                attempts,
                context.effort.bytes_out(),
                context.effort.bytes_in(),
                self.core.clock.now().since(context.started),
                context.effort.quota_wait(),
                context.effort.queued(),
                context.pages,
            )
        });
    }
}

impl Drop for CallTrace<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.report(CallOutcome::Cancelled, None, None);
        }
    }
}

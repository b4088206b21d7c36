//! Answers in HubSpot's form.

use martlet_testkit::SimReply;
use serde_json::{Value, json};

/// An error of one request or of one input of a batch.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) category: &'static str,
    pub(super) message: String,
    pub(super) context: Option<Value>,
}

impl Failure {
    pub(super) fn new(status: u16, category: &'static str, message: impl Into<String>) -> Self {
        Self { status, category, message: message.into(), context: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "VALIDATION_ERROR", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "OBJECT_NOT_FOUND", "resource not found")
    }

    pub(super) fn with_context(mut self, name: &str, value: &str) -> Self {
        self.context = Some(json!({ name: [value] }));
        self
    }

    /// As one of the errors of a 207.
    pub(super) fn in_batch(&self) -> Value {
        let mut error = json!({"status": "error", "category": self.category, "message": self.message});
        if let Some(context) = &self.context {
            error["context"] = context.clone();
        }
        error
    }

    /// As the answer to a request.
    pub(super) fn reply(&self, correlation: &str) -> SimReply {
        let mut error = self.in_batch();
        error["correlationId"] = correlation.into();
        SimReply::json(self.status, &error)
    }
}

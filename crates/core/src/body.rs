use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// The body of a request. It can be sent again: bytes, or a factory that gives the same bytes each time.
#[derive(Clone, Default)]
pub struct Body(Repr);

#[derive(Clone, Default)]
enum Repr {
    #[default]
    Empty,
    Bytes(Bytes),
    Factory(Arc<dyn Fn() -> Bytes + Send + Sync>),
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Repr::Empty)
    }

    /// A body that is made anew for each attempt, so that it need not be kept in memory while the call waits. It must
    /// give the same bytes each time: the idempotency key stands for them.
    #[must_use]
    pub fn from_factory(make: impl Fn() -> Bytes + Send + Sync + 'static) -> Self {
        Self(Repr::Factory(Arc::new(make)))
    }

    /// The bytes of this attempt.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match &self.0 {
            Repr::Empty => Bytes::new(),
            Repr::Bytes(bytes) => bytes.clone(),
            Repr::Factory(make) => make(),
        }
    }

    /// Whether there is certainly none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Empty => true,
            Repr::Bytes(bytes) => bytes.is_empty(),
            Repr::Factory(_) => false,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Bytes(bytes.into()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self(Repr::Bytes(text.into()))
    }
}

impl fmt::Debug for Body {
    /// The size only: bodies hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Empty => f.write_str("Body(empty)"),
            Repr::Bytes(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Repr::Factory(_) => f.write_str("Body(factory)"),
        }
    }
}

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One account of one tenant at one platform: the unit that has credentials, quota, breaker, state and health.
///
/// 1 to 128 characters out of `A-Z a-z 0-9 . _ - : @ /`, so that it is safe in a log line, a key and a file name's
/// escape. It is an identifier, not a secret: it appears in logs and metrics. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// Checks and wraps `id`.
    ///
    /// # Errors
    /// [`InvalidConnectionId`] when it is empty, longer than 128 bytes, or holds another character.
    pub fn new(id: &str) -> Result<Self, InvalidConnectionId> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-:@/".contains(&b);
        if id.is_empty() || id.len() > 128 || !id.bytes().all(good) {
            return Err(InvalidConnectionId);
        }
        Ok(Self(id.into()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ConnectionId {
    /// `default`: for programs with one account per platform.
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({})", self.0)
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;
    fn from_str(id: &str) -> Result<Self, InvalidConnectionId> {
        Self::new(id)
    }
}

/// The text cannot be a [`ConnectionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidConnectionId;

impl fmt::Display for InvalidConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a connection id is 1 to 128 characters out of A-Z a-z 0-9 . _ - : @ /")
    }
}

impl std::error::Error for InvalidConnectionId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_tenant_like_names_only() {
        assert!(ConnectionId::new("acme/hubspot:eu-1@x.y_z").is_ok());
        for bad in ["", "a b", "a\nb", "é", &"x".repeat(129)] {
            assert_eq!(ConnectionId::new(bad), Err(InvalidConnectionId), "{bad:?}");
        }
    }
}

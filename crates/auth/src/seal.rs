use std::fmt::Debug;

/// Encrypts tokens before they reach the store, and decrypts them. A hook: martlet brings no cryptography of its own.
///
/// Use an authenticated cipher (AES-GCM, XChaCha20-Poly1305) or a key service with `cell` as associated data, so that a
/// value that is copied to another cell does not open. It is called on an async task: it computes, and does not block on I/O.
/// A seal that rotates keys puts the key's number into what it returns.
pub trait Seal: Debug + Send + Sync + 'static {
    /// The name that is stored beside the sealed value, such as `aes-gcm`. Tokens under another name are not opened.
    fn name(&self) -> &str;

    /// Encrypts `plain` for the cell with the key `cell`.
    ///
    /// # Errors
    /// [`SealError`]; nothing is stored then.
    fn seal(&self, cell: &str, plain: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Decrypts what [`seal`](Self::seal) returned for the same cell.
    ///
    /// # Errors
    /// [`SealError`] when it is damaged, of another cell or of another key.
    fn open(&self, cell: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError>;
}

/// No encryption: whoever can read the store can use the tokens. The default, for stores that are protected otherwise
/// (file permissions, an encrypted disk).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSeal;

impl Seal for NoSeal {
    fn name(&self) -> &str {
        "none"
    }

    fn seal(&self, _cell: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.to_vec())
    }

    fn open(&self, _cell: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(sealed.to_vec())
    }
}

/// A value could not be encrypted or decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SealError {
    message: String,
}

impl SealError {
    /// A failure. The message must hold neither key nor value.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

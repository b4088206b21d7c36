use crate::tokens::{Unreadable, decode, encode};
use crate::{NoSeal, Seal, Tokens};
use martlet_store::{CellKey, Cells, Expect, Fence, StoreError, StoreErrorKind, Version};
use std::sync::Arc;
use std::time::Duration;

/// The tokens of one account in one cell of a store. Cheap to clone.
///
/// Every program that shares the account shares the cell: that is what keeps two of them from using one refresh token
/// twice. It takes a store with leases; without them only one process may use the account. A store of one process ([`MemoryStore`](martlet_store::MemoryStore)) loses a rotated refresh token at its end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_auth::{TokenStore, Tokens};
/// use martlet_base::Clock;
/// use martlet_store::{Cells, MemoryStore};
/// use std::sync::Arc;
///
/// let cells = Cells::new(Arc::new(MemoryStore::new(Clock::system())), "tokens/");
/// let tokens = TokenStore::new(cells, "hubspot/acme")?;
/// assert!(tokens.seed(&Tokens::from_refresh_token("r-1")).await?); // the first start
/// assert!(!tokens.seed(&Tokens::from_refresh_token("r-1")).await?); // every other start
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TokenStore {
    cells: Cells,
    name: Arc<str>,
    key: CellKey,
    seal: Arc<dyn Seal>,
}

impl TokenStore {
    /// The tokens in the cell `name` of `cells`. Name the platform and the account, `hubspot/acme`: an account has one
    /// cell per client id and set of scopes.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when prefix and name are no [`CellKey`].
    pub fn new(cells: Cells, name: &str) -> Result<Self, StoreError> {
        let key = cells.key(name)?;
        Ok(Self { cells, name: name.into(), key, seal: Arc::new(NoSeal) })
    }

    /// With encryption; [`NoSeal`] unless said. To begin encrypting tokens that are stored in the clear, load them through
    /// a store without and [`replace`](Self::replace) them through one with the seal, once.
    #[must_use]
    pub fn with_seal(mut self, seal: impl Seal) -> Self {
        self.seal = Arc::new(seal);
        self
    }

    /// The full key of the cell, for messages.
    #[must_use]
    pub const fn key(&self) -> &CellKey {
        &self.key
    }

    /// The tokens and their version; `None` when there are none yet. Changes nothing and can be dropped at any time.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] when the cell holds something else or does not open, [`StoreErrorKind::Incompatible`] when
    /// a newer version of this library wrote it; and the store's own trouble.
    pub async fn load(&self) -> Result<Option<(Tokens, Version)>, StoreError> {
        let Some(cell) = self.cells.get(&self.name).await? else { return Ok(None) };
        let tokens = decode(&cell.value, &*self.seal, self.key.as_str()).map_err(|error| {
            let kind = match error {
                Unreadable::Newer(_) => StoreErrorKind::Incompatible,
                _ => StoreErrorKind::Corrupt,
            };
            StoreError::new(kind, format!("the tokens in {}: {error}", self.key)).not_applied()
        })?;
        Ok(Some((tokens, cell.version)))
    }

    /// Writes `tokens` if the cell is as `expect` says (the version that [`load`](Self::load) gave), and returns its new
    /// version. Dropped, it may still write.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] when somebody else wrote, [`StoreErrorKind::Invalid`] when the seal failed, and the
    /// store's own trouble: [`Fault::delivery`](martlet_base::Fault::delivery) says whether it may have been written.
    pub async fn compare_and_swap(
        &self,
        expect: impl Into<Expect>,
        tokens: &Tokens,
    ) -> Result<Version, StoreError> {
        let value = encode(tokens, &*self.seal, self.key.as_str()).map_err(|error| {
            let detail = format!("the tokens for {} cannot be sealed: {error}", self.key);
            StoreError::new(StoreErrorKind::Invalid, detail)
        })?;
        self.cells.put(&self.name, expect, value).await
    }

    /// Writes the first tokens, unless there are any: for the start of a program. Whether it wrote.
    ///
    /// # Errors
    /// As [`compare_and_swap`](Self::compare_and_swap), but never a conflict.
    pub async fn seed(&self, tokens: &Tokens) -> Result<bool, StoreError> {
        match self.compare_and_swap(Expect::Absent, tokens).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes `tokens` whatever was there: for an account that was connected anew. Sources that wait for that take them at
    /// the next call.
    ///
    /// # Errors
    /// As [`compare_and_swap`](Self::compare_and_swap), but never a conflict.
    pub async fn replace(&self, tokens: &Tokens) -> Result<Version, StoreError> {
        self.compare_and_swap(Expect::Any, tokens).await
    }

    /// Takes or renews the right to refresh these tokens, for `owner` and until `ttl` from now; `None` when another owner has
    /// it. A `ttl` of zero gives it back. See [`Store::lease`](martlet_store::Store::lease).
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] in a store without leases, and the store's own trouble.
    pub async fn lease(&self, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        self.cells.store().lease(&self.key, owner, ttl).await
    }

    pub(crate) fn has_leases(&self) -> bool {
        self.cells.store().capabilities().leases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SealError;
    use martlet_base::{ManualClock, Timestamp};
    use martlet_store::MemoryStore;

    fn cells() -> Cells {
        Cells::new(Arc::new(MemoryStore::new(ManualClock::new().clock())), "tokens/")
    }

    fn tokens() -> Tokens {
        Tokens::new("canary-access", "canary-refresh")
            .expires(Timestamp::from_secs(1_767_229_200))
            .scope("read write")
    }

    /// Not a cipher: enough to see that the hook is called with the right cell.
    #[derive(Debug)]
    struct Xor(u8);

    impl Seal for Xor {
        fn name(&self) -> &str {
            "xor"
        }
        fn seal(&self, cell: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
            let mut out = vec![self.0];
            out.extend(cell.bytes().chain([0]).chain(plain.iter().copied()).map(|b| b ^ self.0));
            Ok(out)
        }
        fn open(&self, cell: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
            let plain: Vec<u8> = sealed.iter().skip(1).map(|b| b ^ self.0).collect();
            let rest = plain.strip_prefix(cell.as_bytes()).and_then(|rest| rest.strip_prefix(&[0]));
            rest.map(<[u8]>::to_vec).ok_or_else(|| SealError::new("another cell or another key"))
        }
    }

    #[tokio::test]
    async fn the_stored_form_is_pinned() {
        let cells = cells();
        let store = TokenStore::new(cells.clone(), "acme").unwrap();
        store.seed(&tokens()).await.unwrap();
        let golden = concat!(
            r#"{"format":1,"seal":"none","sealed":"eyJhY2Nlc3NfdG9rZW4iOiJjYW5hcnktYWNjZXNzIiwicmVmcmVzaF90b2tlbiI6"#,
            r#"ImNhbmFyeS1yZWZyZXNoIiwiZXhwaXJlcyI6IjIwMjYtMDEtMDFUMDE6MDA6MDBaIiwic2NvcGUiOiJyZWFkIHdyaXRlIn0="}"#,
        );
        let cell = cells.get("acme").await.unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&cell.value).unwrap(), golden);
        // And what an earlier program wrote is read.
        cells.put("old", Expect::Absent, golden).await.unwrap();
        let (read, _) = TokenStore::new(cells, "old").unwrap().load().await.unwrap().unwrap();
        assert!(read.same_as(&tokens()));
        assert_eq!((read.expires, read.scope.as_deref()), (tokens().expires, Some("read write")));
    }

    #[tokio::test]
    async fn a_seed_never_overwrites_and_a_replacement_always_does() {
        let store = TokenStore::new(cells(), "acme").unwrap();
        assert!(store.seed(&Tokens::from_refresh_token("one")).await.unwrap());
        assert!(!store.seed(&Tokens::from_refresh_token("two")).await.unwrap());
        let (read, version) = store.load().await.unwrap().unwrap();
        assert_eq!(read.refresh_token.unwrap().expose(), "one");
        store.replace(&Tokens::from_refresh_token("three")).await.unwrap();
        let late = store.compare_and_swap(version, &tokens()).await.unwrap_err();
        assert!(late.is_conflict());
    }

    #[tokio::test]
    async fn sealed_tokens_open_with_their_seal_in_their_cell_only() {
        let cells = cells();
        let store = TokenStore::new(cells.clone(), "acme").unwrap().with_seal(Xor(7));
        store.seed(&tokens()).await.unwrap();
        assert!(store.load().await.unwrap().unwrap().0.same_as(&tokens()));
        let value = cells.get("acme").await.unwrap().unwrap().value;
        cells.put("other", Expect::Absent, value).await.unwrap();
        for (store, said) in [
            (TokenStore::new(cells.clone(), "acme").unwrap(), "sealed by \"xor\""),
            (TokenStore::new(cells.clone(), "acme").unwrap().with_seal(Xor(8)), "another key"),
            (TokenStore::new(cells.clone(), "other").unwrap().with_seal(Xor(7)), "another cell"),
        ] {
            let error = store.load().await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn o10_a_value_that_is_not_tokens_is_named_and_not_quoted() {
        let cells = cells();
        let store = TokenStore::new(cells.clone(), "acme").unwrap();
        for (value, kind) in [
            (r#"{"format":2,"seal":"canary","sealed":"canary"}"#, StoreErrorKind::Incompatible),
            (r#"{"format":1,"seal":"none","sealed":"canary!"}"#, StoreErrorKind::Corrupt),
            (r#"{"format":1,"seal":"none","sealed":"Y2FuYXJ5"}"#, StoreErrorKind::Corrupt),
            (r#""canary""#, StoreErrorKind::Corrupt),
        ] {
            cells.put("acme", Expect::Any, value).await.unwrap();
            let error = store.load().await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(
                error.to_string().contains("tokens/acme") && !format!("{error:?}").contains("canary"),
                "{error}"
            );
        }
        assert!(!format!("{:?} {store:?}", tokens()).contains("canary"));
    }
}

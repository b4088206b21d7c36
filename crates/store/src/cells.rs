use crate::{Cell, CellKey, Expect, Store, StoreError, StoreErrorKind, Version, WriteBatch};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The cells under one prefix, as bytes or as JSON. A thin view: cheap to make and to clone.
///
/// **Cancel safety**: what writes may still be applied when its future is dropped; reads change nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{Cells, Expect, MemoryStore};
/// use std::sync::Arc;
///
/// let cells = Cells::new(Arc::new(MemoryStore::new(Clock::system())), "checkpoint/");
/// let version = cells.put_json("contacts", Expect::Absent, &("page", 3)).await?;
/// let (value, read) = cells.get_json::<(String, u32)>("contacts").await?.expect("it was just written");
/// assert_eq!((value.1, read), (3, version));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Cells {
    store: Arc<dyn Store>,
    prefix: Arc<str>,
}

impl Cells {
    /// The cells of `store` whose keys start with `prefix`. End it with a separator, such as `checkpoint/`: names are
    /// appended as they are.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self { store, prefix: prefix.into() }
    }

    /// The store behind it: for batches that write more than one cell.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The prefix of all keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of the cell `name`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when prefix and name are no [`CellKey`].
    pub fn key(&self, name: &str) -> Result<CellKey, StoreError> {
        Ok(CellKey::new(&format!("{}{name}", self.prefix))?)
    }

    /// Reads a cell; `None` when it is absent or expired.
    ///
    /// # Errors
    /// See [`Store::get`].
    pub async fn get(&self, name: &str) -> Result<Option<Cell>, StoreError> {
        let key = self.key(name)?;
        Ok(self.store.get(&[key]).await?.pop().flatten())
    }

    /// Writes a cell that never expires and returns its version.
    ///
    /// # Errors
    /// See [`Store::commit`]. Dropped, it may still write.
    pub async fn put(
        &self,
        name: &str,
        expect: impl Into<Expect>,
        value: impl Into<Bytes>,
    ) -> Result<Version, StoreError> {
        let batch = WriteBatch::new().put(self.key(name)?, expect, value);
        Ok(self.store.commit(batch).await?.version())
    }

    /// Removes a cell.
    ///
    /// # Errors
    /// See [`Store::commit`]. Dropped, it may still remove.
    pub async fn delete(&self, name: &str, expect: impl Into<Expect>) -> Result<(), StoreError> {
        self.store.commit(WriteBatch::new().delete(self.key(name)?, expect)).await.map(drop)
    }

    /// At most `limit` cells in the order of their names, beginning behind the name `after`.
    ///
    /// # Errors
    /// See [`Store::scan`].
    pub async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Cell)>, StoreError> {
        let after = after.map(|name| self.key(name)).transpose()?;
        let page = self.store.scan(&self.prefix, after.as_ref(), limit).await?;
        // Every key starts with the prefix: that is what was asked for.
        let name = |key: CellKey| key.as_str().strip_prefix(&*self.prefix).unwrap_or(key.as_str()).to_owned();
        Ok(page.into_iter().map(|(key, cell)| (name(key), cell)).collect())
    }

    /// Reads a cell as JSON, with the version that a compare-and-set needs.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] when its value is not the JSON of a `T`. See also [`Store::get`].
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<(T, Version)>, StoreError> {
        let Some(cell) = self.get(name).await? else { return Ok(None) };
        match serde_json::from_slice(&cell.value) {
            Ok(value) => Ok(Some((value, cell.version))),
            // The decoder's own words may quote the value.
            Err(error) => Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "cell {}{name} is not the expected JSON ({:?} error at line {} column {})",
                    self.prefix,
                    error.classify(),
                    error.line(),
                    error.column()
                ),
            )
            .not_applied()),
        }
    }

    /// Writes a cell as JSON and returns its version.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when `value` cannot be JSON (a map with other keys than text). See also [`Store::commit`].
    #[expect(clippy::future_not_send, reason = "it can be sent where `&T` can")]
    pub async fn put_json<T: Serialize + ?Sized>(
        &self,
        name: &str,
        expect: impl Into<Expect>,
        value: &T,
    ) -> Result<Version, StoreError> {
        let json = serde_json::to_vec(value).map_err(|_| {
            let detail = format!("the value for cell {}{name} cannot be written as JSON", self.prefix);
            StoreError::new(StoreErrorKind::Invalid, detail)
        })?;
        self.put(name, expect, json).await
    }

    /// Reads a cell, computes its next value and writes it, again and again until nobody else wrote in between.
    /// `change` gets `None` when there is no cell, may run several times, and should be quick.
    ///
    /// # Errors
    /// Everything but [`StoreErrorKind::Conflict`]: see [`Store::commit`]. Dropped, it may still write.
    pub async fn update(
        &self,
        name: &str,
        mut change: impl FnMut(Option<&Cell>) -> Bytes + Send,
    ) -> Result<Version, StoreError> {
        // Each conflict means that somebody else succeeded: the whole makes progress.
        loop {
            let cell = self.get(name).await?;
            let value = change(cell.as_ref());
            match self.put(name, cell.map(|cell| cell.version), value).await {
                Err(error) if error.is_conflict() => {}
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use martlet_base::ManualClock;
    use std::collections::HashMap;

    fn cells(prefix: &str) -> Cells {
        Cells::new(Arc::new(MemoryStore::new(ManualClock::new().clock())), prefix)
    }

    #[tokio::test]
    async fn a_value_that_is_not_the_json_asked_for_is_corrupt_and_not_quoted() {
        let cells = cells("p/");
        cells.put("a", Expect::Any, r#""secret""#).await.unwrap();
        let error = cells.get_json::<u32>("a").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("p/a") && !error.to_string().contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn a_value_that_json_cannot_hold_is_refused() {
        let value: HashMap<(u8, u8), u8> = [((1, 2), 3)].into();
        let error = cells("p/").put_json("a", Expect::Any, &value).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
    }

    #[tokio::test]
    async fn two_views_do_not_see_each_other_and_names_come_back_without_prefix() {
        let a = cells("a/");
        let b = Cells::new(Arc::clone(a.store()), "b/");
        for name in ["2", "1", "3"] {
            a.put(name, Expect::Any, name.to_owned()).await.unwrap();
        }
        b.put("1", Expect::Any, "other").await.unwrap();
        let names = |page: Vec<(String, Cell)>| page.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(a.scan(None, 2).await.unwrap()), ["1", "2"]);
        assert_eq!(names(a.scan(Some("2"), 2).await.unwrap()), ["3"]);
        a.delete("1", Expect::Any).await.unwrap();
        assert_eq!(a.get("1").await.unwrap(), None);
        assert_eq!(b.get("1").await.unwrap().unwrap().value, "other");
    }
}

//! Pages as HubSpot writes them: `{"results":[..],"paging":{"next":{"after":".."}}}`.

use martlet_core::{Response, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A page of a list or a search.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct RawPage<T> {
    #[serde(default)]
    pub(crate) total: Option<u64>,
    pub(crate) results: Vec<T>,
    #[serde(default)]
    pub(crate) paging: Option<RawPaging>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RawPaging {
    #[serde(default)]
    next: Option<RawNext>,
}

#[derive(Debug, Deserialize)]
struct RawNext {
    /// A next page that nobody can find is an error, not the end.
    after: String,
}

impl RawPaging {
    /// The token of the next page; `None` at the end.
    pub(crate) fn after(self) -> Option<String> {
        self.next.map(|next| next.after).filter(|after| !after.is_empty())
    }
}

impl<T> RawPage<T> {
    pub(crate) fn next(&mut self) -> Option<String> {
        self.paging.take()?.after()
    }
}

/// The items of a page, and the token of the next one.
pub(crate) fn read<T: DeserializeOwned>(response: &Response) -> Result<(Vec<T>, Option<String>)> {
    let mut page: RawPage<T> = response.json()?;
    let next = page.next();
    Ok((page.results, next))
}

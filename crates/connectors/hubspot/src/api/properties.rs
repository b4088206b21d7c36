//! What properties an account's objects have.

use crate::model::page::RawPage;
use crate::model::property::{NewProperty, Property};
use crate::operations::properties as operations;
use martlet_core::{ApiClient, Call, Result};
use std::fmt;
use std::sync::Arc;

/// The properties that one type of objects has, the account's own ones included.
/// From [`HubSpot::properties`](crate::HubSpot::properties).
///
/// They are [reference data](martlet_core::CacheRule::reference_data): answers are fresh for five minutes, or until a property is
/// created through the same client, and are renewed in the background after that.
///
/// [CRM API, properties](https://developers.hubspot.com/docs/api/crm/properties), version 3.
#[derive(Clone)]
pub struct Properties {
    api: Arc<dyn ApiClient>,
    object_type: String,
}

impl Properties {
    pub(crate) const fn new(api: Arc<dyn ApiClient>, object_type: String) -> Self {
        Self { api, object_type }
    }

    /// All of them that are not archived.
    ///
    /// # Errors
    /// What kept them from being read.
    pub async fn list(&self) -> Result<Vec<Property>> {
        self.read(Call::new(operations::LIST)).await
    }

    /// The same, asked for anew: somebody may have changed them in HubSpot.
    ///
    /// # Errors
    /// What kept them from being read.
    pub async fn list_fresh(&self) -> Result<Vec<Property>> {
        self.read(Call::new(operations::LIST).fresh()).await
    }

    async fn read(&self, call: Call) -> Result<Vec<Property>> {
        let page: RawPage<Property> = self.execute(call).await?.json()?;
        Ok(page.results)
    }

    /// One of them by its internal name.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none of this name, or what kept it from being read.
    pub async fn get(&self, name: &str) -> Result<Property> {
        self.execute(Call::new(operations::GET).path("name", name)).await?.json()
    }

    /// Creates one. **Not sent again** when the fate of the request is unknown.
    ///
    /// # Errors
    /// [`Conflict`](martlet_core::ErrorKind::Conflict) when there is one of this name already;
    /// [`Rejected`](martlet_core::ErrorKind::Rejected) for a definition that HubSpot does not take, such as an unknown
    /// group; or what kept it from being done.
    pub async fn create(&self, property: &NewProperty) -> Result<Property> {
        self.execute(Call::new(operations::CREATE).json(property)).await?.json()
    }

    async fn execute(&self, call: Call) -> Result<martlet_core::Response> {
        self.api.execute(call.path("objectType", &self.object_type)).await
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("object_type", &self.object_type).finish_non_exhaustive()
    }
}

use super::listed;
use crate::{Customer, Order, Product, Shop, operations};
use martlet_core::{ApiClient, Call, Operation, Pager, Result};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The shops ("stores" in the e-commerce API) of an account, to read.
#[derive(Clone, Debug)]
pub struct Shops {
    api: Arc<dyn ApiClient>,
}

impl Shops {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// Lists them all.
    pub fn list(&self) -> Pager<Shop> {
        listed(&self.api, "stores", "", Call::new(operations::SHOPS_LIST))
    }
}

/// One shop, to read. Its lists have no filter for what changed, and their order is the platform's: what is deleted
/// meanwhile shifts the rest.
#[derive(Clone, Debug)]
pub struct ShopApi {
    api: Arc<dyn ApiClient>,
    id: String,
}

impl ShopApi {
    pub(crate) fn new(api: Arc<dyn ApiClient>, id: String) -> Self {
        Self { api, id }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is no such shop.
    pub async fn get(&self) -> Result<Shop> {
        let call = self.call(operations::SHOPS_GET).query("exclude_fields", "_links");
        self.api.execute(call).await?.json()
    }

    /// Lists its customers.
    pub fn customers(&self) -> Pager<Customer> {
        self.list("customers", operations::SHOP_CUSTOMERS_LIST)
    }

    /// Lists its orders.
    pub fn orders(&self) -> Pager<Order> {
        self.list("orders", operations::SHOP_ORDERS_LIST)
    }

    /// Lists its products.
    pub fn products(&self) -> Pager<Product> {
        self.list("products", operations::SHOP_PRODUCTS_LIST)
    }

    fn list<T: DeserializeOwned + Send + 'static>(
        &self,
        collection: &'static str,
        operation: Operation,
    ) -> Pager<T> {
        listed(&self.api, collection, format!("store={}", self.id), self.call(operation))
    }

    fn call(&self, operation: Operation) -> Call {
        Call::new(operation).path("store_id", &self.id)
    }
}

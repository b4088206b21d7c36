use super::lenient;
use serde::Deserialize;
use std::fmt;

/// A store: where an account's customers buy. In this crate's words a shop, because a store keeps state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Shop {
    /// Its id.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// The audience that its customers are in.
    #[serde(deserialize_with = "lenient")]
    pub list_id: String,
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// With what it is run.
    #[serde(deserialize_with = "lenient")]
    pub platform: String,
    /// Its domain.
    #[serde(deserialize_with = "lenient")]
    pub domain: String,
    /// Its currency, ISO 4217.
    #[serde(deserialize_with = "lenient")]
    pub currency_code: String,
    /// When it was created, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub created_at: String,
    /// When it last changed, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub updated_at: String,
}

/// A customer of a shop.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Customer {
    /// The id in the shop.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// The address.
    #[serde(deserialize_with = "lenient")]
    pub email_address: String,
    /// Whether the customer agreed to be written to.
    #[serde(deserialize_with = "lenient")]
    pub opt_in_status: bool,
    /// The given name.
    #[serde(deserialize_with = "lenient")]
    pub first_name: String,
    /// The family name.
    #[serde(deserialize_with = "lenient")]
    pub last_name: String,
    /// How many orders there were.
    #[serde(deserialize_with = "lenient")]
    pub orders_count: u64,
    /// What they came to, in the shop's currency.
    #[serde(deserialize_with = "lenient")]
    pub total_spent: f64,
    /// When it was created, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub created_at: String,
    /// When it last changed, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub updated_at: String,
}

impl fmt::Debug for Customer {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer")
            .field("id", &self.id)
            .field("opt_in_status", &self.opt_in_status)
            .finish_non_exhaustive()
    }
}

/// An order of a shop. Amounts are in its currency.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Order {
    /// The id in the shop.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// Who ordered.
    #[serde(deserialize_with = "lenient")]
    pub customer: Customer,
    /// The campaign that led to it; empty when none did.
    #[serde(deserialize_with = "lenient")]
    pub campaign_id: String,
    /// Whether it is paid, in the shop's words.
    #[serde(deserialize_with = "lenient")]
    pub financial_status: String,
    /// Whether it is sent, in the shop's words.
    #[serde(deserialize_with = "lenient")]
    pub fulfillment_status: String,
    /// Its currency, ISO 4217.
    #[serde(deserialize_with = "lenient")]
    pub currency_code: String,
    /// What it comes to.
    #[serde(deserialize_with = "lenient")]
    pub order_total: f64,
    /// Of it, tax.
    #[serde(deserialize_with = "lenient")]
    pub tax_total: f64,
    /// Of it, shipping.
    #[serde(deserialize_with = "lenient")]
    pub shipping_total: f64,
    /// When it was placed, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub processed_at_foreign: String,
    /// When it last changed in the shop, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub updated_at_foreign: String,
    /// What was ordered.
    #[serde(deserialize_with = "lenient")]
    pub lines: Vec<OrderLine>,
}

/// A line of an order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OrderLine {
    /// Its id within the order.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// The product.
    #[serde(deserialize_with = "lenient")]
    pub product_id: String,
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub product_title: String,
    /// The variant of it.
    #[serde(deserialize_with = "lenient")]
    pub product_variant_id: String,
    /// How many.
    #[serde(deserialize_with = "lenient")]
    pub quantity: u64,
    /// For how much each (unconfirmed).
    #[serde(deserialize_with = "lenient")]
    pub price: f64,
}

/// A product of a shop.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Product {
    /// The id in the shop.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub title: String,
    /// Its page.
    #[serde(deserialize_with = "lenient")]
    pub url: String,
    /// What it is, in the shop's words.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// Who makes it.
    #[serde(deserialize_with = "lenient")]
    pub vendor: String,
    /// What it can be bought as.
    #[serde(deserialize_with = "lenient")]
    pub variants: Vec<ProductVariant>,
}

/// What a product can be bought as.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ProductVariant {
    /// The id in the shop.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub title: String,
    /// Its number in stock keeping.
    #[serde(deserialize_with = "lenient")]
    pub sku: String,
    /// For how much.
    #[serde(deserialize_with = "lenient")]
    pub price: f64,
    /// How many are there.
    #[serde(deserialize_with = "lenient")]
    pub inventory_quantity: i64,
}

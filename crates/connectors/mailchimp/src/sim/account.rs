//! What the simulator's account holds beside its audience, to be read: campaigns with their reports, and shops.

use super::audience::{Refusal, time};
use crate::{CampaignStatus, SubscriberHash};
use martlet_base::Timestamp;
use martlet_testkit::SimRequest;
use serde_json::{Value, json};
use std::collections::HashSet;

/// A campaign of the account.
#[derive(Clone, Debug)]
pub struct SeedCampaign {
    id: String,
    title: String,
    created: Timestamp,
    sent: Option<Timestamp>,
    recipients: Vec<String>,
    activity: Vec<(String, String, Timestamp)>,
    unsubscribed: Vec<(String, Timestamp)>,
}

impl SeedCampaign {
    /// A draft.
    #[must_use]
    pub fn new(id: impl Into<String>, title: impl Into<String>, created: Timestamp) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            created,
            sent: None,
            recipients: Vec::new(),
            activity: Vec::new(),
            unsubscribed: Vec::new(),
        }
    }

    /// One that was sent, to these addresses.
    #[must_use]
    pub fn sent(mut self, at: Timestamp, recipients: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sent = Some(at);
        self.recipients = recipients.into_iter().map(Into::into).collect();
        self
    }

    /// A recipient did something: `open`, `click`, `bounce`.
    #[must_use]
    pub fn activity(mut self, email: impl Into<String>, action: impl Into<String>, at: Timestamp) -> Self {
        self.activity.push((email.into(), action.into(), at));
        self
    }

    /// A recipient opted out by it.
    #[must_use]
    pub fn unsubscribed(mut self, email: impl Into<String>, at: Timestamp) -> Self {
        self.unsubscribed.push((email.into(), at));
        self
    }

    fn status(&self) -> CampaignStatus {
        if self.sent.is_some() { CampaignStatus::Sent } else { CampaignStatus::Save }
    }

    fn show(&self, list: &str) -> Value {
        json!({
            "id": self.id, "web_id": 1, "type": "regular", "create_time": stamp(self.created),
            "send_time": self.sent.map(stamp).unwrap_or_default(), "status": self.status(),
            "emails_sent": self.recipients.len(), "content_type": "template",
            "recipients": { "list_id": list, "recipient_count": self.recipients.len() },
            "settings": { "title": self.title, "subject_line": self.title }, "_links": [],
        })
    }

    fn show_report(&self, list: &str) -> Value {
        let of = |action: &str| -> Vec<&str> {
            let those = self.activity.iter().filter(|(_, did, _)| did == action);
            those.map(|(email, _, _)| email.as_str()).collect()
        };
        let (opens, clicks, bounces) = (of("open"), of("click"), of("bounce"));
        let distinct = |emails: &[&str]| emails.iter().collect::<HashSet<_>>().len();
        json!({
            "id": self.id, "campaign_title": self.title, "type": "regular", "list_id": list,
            "subject_line": self.title, "emails_sent": self.recipients.len(), "abuse_reports": 0,
            "unsubscribed": self.unsubscribed.len(), "send_time": self.sent.map(stamp).unwrap_or_default(),
            "bounces": { "hard_bounces": bounces.len(), "soft_bounces": 0, "syntax_errors": 0 },
            "opens": { "opens_total": opens.len(), "unique_opens": distinct(&opens) },
            "clicks": { "clicks_total": clicks.len(), "unique_subscriber_clicks": distinct(&clicks) },
            "_links": [],
        })
    }
}

/// A shop of the account.
#[derive(Clone, Debug)]
pub struct SeedShop {
    id: String,
    name: String,
    customers: Vec<Value>,
    orders: Vec<Value>,
    products: Vec<Value>,
}

impl SeedShop {
    /// One that nobody has bought in. Its currency is the euro.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        let (customers, orders, products) = Default::default();
        Self { id: id.into(), name: name.into(), customers, orders, products }
    }

    /// With a customer.
    #[must_use]
    pub fn customer(mut self, id: &str, email: &str) -> Self {
        self.customers.push(json!({ "id": id, "email_address": email, "opt_in_status": true, "_links": [] }));
        self
    }

    /// With an order of a customer's.
    #[must_use]
    pub fn order(mut self, id: &str, customer: &str, total: f64) -> Self {
        self.orders.push(json!({
            "id": id, "customer": { "id": customer }, "currency_code": "EUR", "order_total": total,
            "lines": [], "_links": [],
        }));
        self
    }

    /// With a product in one variant.
    #[must_use]
    pub fn product(mut self, id: &str, title: &str, price: f64) -> Self {
        let variants = json!([{ "id": id, "title": title, "price": price }]);
        self.products.push(json!({ "id": id, "title": title, "variants": variants, "_links": [] }));
        self
    }

    fn show(&self, list: &str) -> Value {
        json!({ "id": self.id, "list_id": list, "name": self.name, "currency_code": "EUR", "_links": [] })
    }
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) campaigns: Vec<SeedCampaign>,
    pub(super) shops: Vec<SeedShop>,
}

impl Account {
    /// The answer to a GET, before `fields` cut it; `path` is without the version. `None` when nothing of the account is there.
    pub(super) fn read(
        &self,
        list: &str,
        path: &[&str],
        request: &SimRequest,
    ) -> Option<Result<Value, Refusal>> {
        Some(match path {
            ["campaigns"] => self.campaigns(list, request),
            ["campaigns", id] => Ok(self.campaign(id)?.show(list)),
            ["reports"] => since(request, "since_send_time").and_then(|since| {
                let sent = self.campaigns.iter().filter(|c| c.sent.is_some_and(|at| after(at, since)));
                page(request, "reports", sent.map(|campaign| campaign.show_report(list)))
            }),
            ["reports", id, rest @ ..] => {
                let campaign = self.campaign(id).filter(|campaign| campaign.sent.is_some())?;
                match rest {
                    [] => Ok(campaign.show_report(list)),
                    ["email-activity"] => activity(campaign, list, request),
                    ["unsubscribed"] => {
                        let those = campaign.unsubscribed.iter().map(|(email, at)| {
                            json!({
                                "email_id": SubscriberHash::of(email).to_string(), "email_address": email,
                                "timestamp": stamp(*at), "reason": "None given", "campaign_id": campaign.id,
                                "list_id": list,
                            })
                        });
                        page(request, "unsubscribes", those)
                    }
                    _ => return None,
                }
            }
            ["ecommerce", "stores"] => page(request, "stores", self.shops.iter().map(|shop| shop.show(list))),
            ["ecommerce", "stores", id, rest @ ..] => {
                let shop = self.shops.iter().find(|shop| shop.id == *id)?;
                match rest {
                    [] => Ok(shop.show(list)),
                    ["customers"] => page(request, "customers", shop.customers.iter().cloned()),
                    ["orders"] => page(request, "orders", shop.orders.iter().cloned()),
                    ["products"] => page(request, "products", shop.products.iter().cloned()),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    fn campaign(&self, id: &str) -> Option<&SeedCampaign> {
        self.campaigns.iter().find(|campaign| campaign.id == id)
    }

    fn campaigns(&self, list: &str, request: &SimRequest) -> Result<Value, Refusal> {
        let (created, sent) = (since(request, "since_create_time")?, since(request, "since_send_time")?);
        let status = request.param("status");
        let mut those: Vec<_> = self
            .campaigns
            .iter()
            .filter(|campaign| status.is_none_or(|status| campaign.status().as_str() == status))
            .filter(|campaign| after(campaign.created, created))
            .filter(|campaign| sent.is_none() || campaign.sent.is_some_and(|at| after(at, sent)))
            .collect();
        match request.param("sort_field") {
            None => {}
            Some("create_time") => those.sort_by_key(|campaign| campaign.created),
            Some("send_time") => those.sort_by_key(|campaign| campaign.sent),
            Some(_) => return Err(Refusal::value("sort_field")),
        }
        if request.param("sort_dir").is_some_and(|dir| dir.eq_ignore_ascii_case("desc")) {
            those.reverse();
        }
        page(request, "campaigns", those.into_iter().map(|campaign| campaign.show(list)))
    }
}

fn activity(campaign: &SeedCampaign, list: &str, request: &SimRequest) -> Result<Value, Refusal> {
    let since = since(request, "since")?;
    let recipients = campaign.recipients.iter().map(|email| {
        let those = campaign.activity.iter().filter(|(who, _, at)| who == email && after(*at, since));
        let those: Vec<Value> =
            those.map(|(_, action, at)| json!({ "action": action, "timestamp": stamp(*at) })).collect();
        json!({
            "campaign_id": campaign.id, "list_id": list, "email_id": SubscriberHash::of(email).to_string(),
            "email_address": email, "activity": those, "_links": [],
        })
    });
    // With `since` only those who did something (unconfirmed).
    let recipients =
        recipients.filter(|one| since.is_none() || one["activity"].as_array().is_some_and(|a| !a.is_empty()));
    page(request, "emails", recipients)
}

/// A page of a collection.
pub(super) fn page(
    request: &SimRequest,
    name: &str,
    items: impl Iterator<Item = Value>,
) -> Result<Value, Refusal> {
    let (offset, count) = super::http::window(request)?;
    let mut items: Vec<Value> = items.collect();
    let total = items.len();
    items.truncate(offset.saturating_add(count));
    items.drain(..offset.min(items.len()));
    Ok(json!({ name: items, "total_items": total, "_links": [] }))
}

fn since(request: &SimRequest, name: &'static str) -> Result<Option<Timestamp>, Refusal> {
    request.param(name).map(str::parse).transpose().map_err(|_| Refusal::value(name))
}

/// The bound is left out (unconfirmed).
fn after(at: Timestamp, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| at > since)
}

fn stamp(at: Timestamp) -> String {
    time(at.as_secs())
}

//! What an account has beside objects: owners, associations, lists, subscriptions and events. Small, and plain.

use super::data::{Data, iso};
use super::objects::Paging;
use super::options::SimStats;
use super::reply::Failure;
use super::{ACCOUNT, Handled, body, seed};
use http::Method;
use martlet_testkit::{SimReply, SimRequest, SimWrite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

/// What was changed. It is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    /// Of each list: the ids on it, and since when.
    members: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// Of each address, in lower case: what it subscribed to or not.
    statuses: BTreeMap<String, BTreeMap<u64, Status>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Status {
    state: String,
    legal_basis: Option<String>,
    explanation: Option<String>,
    at: u64,
}

const OWNERS: Range<u64> = 1..131;
const LEFT: Range<u64> = 131..133;
const LISTS: Range<u64> = 1..121;
/// The list that HubSpot keeps by a filter: contacts of the tier "gold".
const GOLD: u64 = 2;
const SUBSCRIPTIONS: [(u64, &str); 2] = [(1, "Newsletter"), (2, "Product news")];
/// Associations of one object in one answer.
const ASSOCIATIONS: usize = 100;

fn wrong_method() -> Failure {
    Failure::new(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")
}

/// `limit` and `after` of a request; cursors are ids.
fn window(request: &SimRequest, default: usize, most: usize) -> Result<(usize, u64), Failure> {
    let limit = request.param("limit").map_or(Ok(default), str::parse).ok();
    let after = request.param("after").filter(|text| !text.is_empty()).map_or(Ok(0), str::parse).ok();
    match (limit.filter(|limit| (1..=most).contains(limit)), after) {
        (Some(limit), Some(after)) => Ok((limit, after)),
        _ => Err(Failure::invalid(format!("limit must be between 1 and {most}, and after a cursor of ours"))),
    }
}

/// A page of `all`, which come with their ids in ascending order.
fn page(all: impl Iterator<Item = (u64, Value)>, limit: usize, after: u64) -> Value {
    let mut found: Vec<(u64, Value)> = all.filter(|(id, _)| *id > after).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(id, _)| Paging::new(id));
    let mut page = json!({ "results": found.into_iter().map(|(_, item)| item).collect::<Vec<_>>() });
    if let Some(next) = next {
        page["paging"] = serde_json::to_value(next).expect("a text serialises as JSON");
    }
    page
}

pub(super) fn owners(request: &SimRequest) -> Handled {
    if request.method != Method::GET {
        return Err(wrong_method());
    }
    let (limit, after) = window(request, 100, 500)?;
    let archived = request.param("archived") == Some("true");
    let all = if archived { LEFT } else { OWNERS }.map(|id| {
        let mut owner = json!({
            "id": id.to_string(), "email": format!("owner{id}@example.com"), "type": "PERSON",
            "firstName": "Olu", "lastName": format!("Owner {id}"), "userIdIncludingInactive": 1_000 + id,
            "createdAt": "2024-01-02T03:04:05.006Z", "updatedAt": "2024-01-02T03:04:05.006Z", "archived": archived,
        });
        if !archived {
            owner["userId"] = (1_000 + id).into();
            owner["teams"] = json!([{"id": "7", "name": "Sales", "primary": true}]);
        }
        (id, owner)
    });
    let wanted = request.param("email");
    let all = all.filter(|(_, owner)| wanted.is_none_or(|email| owner["email"] == email));
    Ok(SimReply::json(200, &page(all, limit, after)))
}

#[derive(Deserialize)]
pub(super) struct Asked {
    inputs: Vec<AskedFor>,
}

#[derive(Deserialize)]
struct AskedFor {
    id: String,
    #[serde(default)]
    after: Option<String>,
}

/// Seeded objects of two types belong together by their places: the longer list goes round the shorter one.
pub(super) fn associations(
    seed: u64,
    (from, from_count): (&Data, u64),
    (to, to_count): (&Data, u64),
    asked: &Asked,
    now: u64,
) -> Handled {
    if !(1..=1_000).contains(&asked.inputs.len()) {
        return Err(Failure::invalid("The batch must have 1 to 1000 inputs"));
    }
    let same = from.kind().name == to.kind().name;
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in &asked.inputs {
        let id: Option<u64> = input.id.parse().ok();
        let living = id.filter(|&id| !same && from.get(id).is_some_and(|object| object.is_living()));
        let place = living.and_then(seed::index_of).filter(|&place| place < from_count && to_count > 0);
        let places: Vec<u64> = match place {
            None => Vec::new(),
            Some(place) if from_count >= to_count => vec![place % to_count],
            Some(place) => {
                (place..to_count).step_by(usize::try_from(from_count).unwrap_or(usize::MAX)).collect()
            }
        };
        let after: u64 = input.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or_default();
        let ids = places.into_iter().map(|place| seed::id(seed, place));
        let ids = ids.filter(|&id| to.get(id).is_some_and(|object| object.is_living()));
        let types = json!([{"category": "HUBSPOT_DEFINED", "typeId": 1, "label": null}]);
        let found = page(
            ids.map(|id| (id, json!({"toObjectId": id, "associationTypes": types}))),
            ASSOCIATIONS,
            after,
        );
        if found["results"].as_array().is_some_and(Vec::is_empty) {
            let message =
                format!("No {} is associated with {} {}.", to.kind().name, from.kind().name, input.id);
            errors
                .push(Failure::new(404, "OBJECT_NOT_FOUND", message).with_context("fromObjectId", &input.id));
            continue;
        }
        let mut result = json!({"from": {"id": input.id}, "to": found["results"]});
        if found["paging"].is_object() {
            result["paging"] = found["paging"].clone();
        }
        results.push(result);
    }
    Ok(super::objects::batch_reply(200, results, &errors, now))
}

#[derive(Deserialize)]
struct ListSearch {
    #[serde(default)]
    query: String,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    count: Option<usize>,
}

fn list(id: u64) -> Value {
    let (name, object_type, processing) = match id {
        1 => ("Newsletter readers".to_owned(), "0-1", "MANUAL"),
        GOLD => ("Gold customers".to_owned(), "0-1", "DYNAMIC"),
        3 => ("Key accounts".to_owned(), "0-2", "SNAPSHOT"),
        _ => (format!("Import {id}"), "0-1", "MANUAL"),
    };
    json!({"listId": id.to_string(), "name": name, "objectTypeId": object_type, "processingType": processing,
           "processingStatus": "COMPLETE", "createdAt": "2024-01-02T03:04:05.006Z",
           "updatedAt": "2024-01-02T03:04:05.006Z"})
}

impl Account {
    fn stored(&self) -> SimWrite {
        SimWrite::put(ACCOUNT, serde_json::to_vec(self).expect("texts and numbers serialise as JSON"))
    }

    pub(super) fn lists(
        &mut self,
        request: &SimRequest,
        rest: &[&str],
        contacts: &Data,
        companies: &Data,
        now: u64,
    ) -> Handled {
        let known = |text: &str| {
            let id = text.parse().ok().filter(|id| LISTS.contains(id));
            id.ok_or_else(|| Failure::new(404, "OBJECT_NOT_FOUND", format!("List {text} does not exist.")))
        };
        match (&request.method, rest) {
            (&Method::POST, ["search"]) => {
                let search: ListSearch = body(request)?;
                let query = search.query.to_lowercase();
                let fits = |list: &Value| {
                    list["name"].as_str().is_some_and(|name| name.to_lowercase().contains(&query))
                };
                let all: Vec<Value> = LISTS.map(list).filter(fits).collect();
                let total = all.len();
                let page: Vec<Value> =
                    all.into_iter().skip(search.offset).take(search.count.unwrap_or(20)).collect();
                let offset = search.offset + page.len();
                let answer =
                    json!({"lists": page, "offset": offset, "hasMore": offset < total, "total": total});
                Ok(SimReply::json(200, &answer))
            }
            (&Method::GET, [id]) => Ok(SimReply::json(200, &json!({ "list": list(known(id)?) }))),
            (&Method::GET, [id, "memberships"]) => {
                let (limit, after) = window(request, 100, 250)?;
                let shown = |id: u64, at: u64| {
                    (id, json!({"recordId": id.to_string(), "membershipTimestamp": iso(at)}))
                };
                let page = if known(id)? == GOLD {
                    let gold = contacts
                        .living_after(after)
                        .filter(|object| object.text("loyalty_tier").is_some_and(|tier| tier == "gold"));
                    page(gold.map(|object| shown(object.id(), object.modified())), limit, after)
                } else {
                    let on_it = self.members.get(&known(id)?).into_iter().flatten();
                    page(on_it.map(|(id, at)| shown(*id, *at)), limit, after)
                };
                Ok(SimReply::json(200, &page))
            }
            (&Method::PUT, [id, "memberships", what @ ("add" | "remove")]) => {
                let id = known(id)?;
                if id == GOLD {
                    return Err(Failure::invalid("Members of a DYNAMIC list cannot be added or removed"));
                }
                let data = if list(id)["objectTypeId"] == "0-2" { companies } else { contacts };
                let members = self.members.entry(id).or_default();
                let (mut changed, mut missing) = (Vec::new(), Vec::new());
                for text in body::<Vec<String>>(request)? {
                    let record = text.parse::<u64>().ok();
                    match record.filter(|&id| data.get(id).is_some_and(|object| object.is_living())) {
                        None => missing.push(text),
                        Some(record) if *what == "remove" => {
                            changed.extend(members.remove(&record).map(|_| text));
                        }
                        Some(record) => {
                            if members.insert(record, now).is_none() {
                                changed.push(text);
                            }
                        }
                    }
                }
                // HubSpot leaves out what is empty.
                let mut answer = json!({});
                let name = if *what == "add" { "recordsIdsAdded" } else { "recordIdsRemoved" };
                for (name, ids) in [(name, changed), ("recordIdsMissing", missing)] {
                    if !ids.is_empty() {
                        answer[name] = ids.into();
                    }
                }
                Ok(SimReply::json(200, &answer).store([self.stored()]))
            }
            (_, [_] | [_, "memberships" | "search"]) => Err(wrong_method()),
            _ => Err(Failure::not_found()),
        }
    }

    pub(super) fn statuses(
        &mut self,
        request: &SimRequest,
        email: &str,
        contacts: &Data,
        now: u64,
    ) -> Handled {
        let known = self.statuses.get(&email.to_lowercase());
        // Who opted out of everything is unsubscribed from each.
        let contact = contacts.find(email, "email")?;
        let out = contact.is_some_and(|c| c.text("hs_email_optout").is_some_and(|text| text == "true"));
        let shown = |id: u64, name: &str, status: Option<&Status>| {
            let state = if out { "UNSUBSCRIBED" } else { "NOT_SPECIFIED" };
            json!({
                "channel": "EMAIL", "subscriberIdString": email, "subscriptionId": id, "subscriptionName": name,
                "status": status.map_or(state, |status| status.state.as_str()),
                "source": "API", "timestamp": iso(status.map_or(0, |status| status.at)),
                "legalBasis": status.and_then(|status| status.legal_basis.as_deref()),
                "legalBasisExplanation": status.and_then(|status| status.explanation.as_deref()),
            })
        };
        if request.method == Method::GET {
            if request.param("channel") != Some("EMAIL") {
                return Err(Failure::invalid("channel must be EMAIL"));
            }
            let all = SUBSCRIPTIONS.map(|(id, name)| shown(id, name, known.and_then(|known| known.get(&id))));
            return Ok(SimReply::json(200, &json!({"status": "COMPLETE", "results": all})));
        }
        if request.method != Method::POST {
            return Err(wrong_method());
        }
        let change: StatusChange = body(request)?;
        let definition = SUBSCRIPTIONS.iter().find(|(id, _)| *id == change.subscription_id);
        let (id, name) = *definition.ok_or_else(|| {
            let message = format!("Subscription {} does not exist", change.subscription_id);
            Failure::invalid(message)
        })?;
        if change.channel != "EMAIL"
            || !["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"].contains(&change.status_state.as_str())
        {
            return Err(Failure::invalid("channel or statusState is not one of those that are known"));
        }
        let status = Status {
            state: change.status_state,
            legal_basis: change.legal_basis,
            explanation: change.legal_basis_explanation,
            at: now,
        };
        let answer = json!({"status": "COMPLETE", "results": [shown(id, name, Some(&status))]});
        self.statuses.entry(email.to_lowercase()).or_default().insert(id, status);
        Ok(SimReply::json(200, &answer).store([self.stored()]))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusChange {
    channel: String,
    status_state: String,
    subscription_id: u64,
    #[serde(default)]
    legal_basis: Option<String>,
    #[serde(default)]
    legal_basis_explanation: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_name: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    object_id: Option<String>,
    #[serde(default)]
    utk: Option<String>,
    #[serde(default)]
    occurred_at: Option<String>,
}

#[derive(Deserialize)]
struct EventBatch {
    inputs: Vec<Event>,
}

pub(super) fn events(request: &SimRequest, rest: &[&str], stats: &mut SimStats) -> Handled {
    let events: Vec<Event> = match (&request.method, rest) {
        (&Method::POST, ["send"]) => vec![body(request)?],
        (&Method::POST, ["send", "batch"]) => body::<EventBatch>(request)?.inputs,
        _ => return Err(Failure::not_found()),
    };
    if events.len() > 500 {
        return Err(Failure::invalid("The batch must not have more than 500 events"));
    }
    for event in &events {
        // Names of an account's own events begin with its number.
        if !event.event_name.starts_with("pe") {
            return Err(Failure::invalid(format!("Event {} does not exist", event.event_name)));
        }
        if event.email.is_none() && event.object_id.is_none() && event.utk.is_none() {
            return Err(Failure::invalid("One of email, objectId and utk is required"));
        }
        let at = event.occurred_at.as_deref();
        if at.is_some_and(|at| at.parse::<martlet_base::Timestamp>().is_err()) {
            return Err(Failure::invalid("occurredAt is not a date"));
        }
    }
    stats.events += events.len() as u64;
    Ok(SimReply::status(204))
}

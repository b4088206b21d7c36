//! The endpoints of the simulator.

use super::World;
use super::account::page;
use super::audience::{
    Audience, FieldBody, Listing, MemberBody, Refusal, Segment, Shown, TagsBody, check_address,
    member_exists, time,
};
use super::fields::{Selection, View};
use crate::SubscriberHash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use martlet_base::Timestamp;
use martlet_testkit::{FaultKind, SimReply, SimRequest, SimTime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;

const MAX_BULK: usize = 500;
const MAX_PAGE: usize = 1000;

/// Ten requests are under way already: no envelope, no headers.
pub(super) fn too_many(id: u64) -> SimReply {
    problem(
        &Refusal::new(
            429,
            "Too Many Requests",
            "You have exceeded the limit of 10 simultaneous connections.",
        ),
        id,
    )
}

/// The faults that the platform words in its own way.
pub(super) fn refuse(kind: FaultKind, id: u64) -> SimReply {
    match kind {
        FaultKind::RateLimitedRetryAfter => {
            too_many(id).header("retry-after", FaultKind::RETRY_AFTER.as_secs())
        }
        // A proxy in front of it has had enough.
        FaultKind::Forbidden => SimReply::status(403),
        _ => too_many(id),
    }
}

pub(super) fn unauthorized(id: u64) -> SimReply {
    let detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter.";
    problem(&Refusal::new(401, "API Key Invalid", detail), id)
}

/// What the fault plan calls a request.
pub(super) fn class_of(request: &SimRequest) -> &'static str {
    match (&request.method, request.segments().as_slice()) {
        (&Method::GET, _) => "read",
        (&Method::POST, [_, lists, _]) if lists == "lists" => "write",
        _ => "single",
    }
}

/// The member of a bulk request that is refused without a reason: one in the middle whose address is good.
pub(super) fn rejected_of(request: &SimRequest) -> Option<SubscriberHash> {
    let members = request.json::<Bulk>()?.members;
    let half = members.len() / 2;
    let addresses = members.iter().cycle().skip(half).take(members.len());
    let mut addresses = addresses.filter_map(|member| member.email_address.as_deref());
    addresses.find(|email| check_address(email).is_ok()).map(SubscriberHash::of)
}

/// Answers a request that is authorized; `reject` is the member that a bulk request shall fail for.
pub(super) fn answer(
    world: &mut World,
    request: &SimRequest,
    now: SimTime,
    id: u64,
    reject: Option<SubscriberHash>,
) -> SimReply {
    match route(world, request, now.wall, reject) {
        Ok(reply) => reply.header("x-request-id", request_id(id)),
        Err(refusal) => problem(&refusal, id),
    }
}

/// Basic with any user, or Bearer.
pub(super) fn is_authorized(request: &SimRequest, api_key: &str) -> bool {
    let Some((scheme, rest)) = request.header("authorization").and_then(|value| value.split_once(' ')) else {
        return false;
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => rest == api_key,
        "basic" => {
            let pair = STANDARD.decode(rest).ok().and_then(|pair| String::from_utf8(pair).ok());
            pair.is_some_and(|pair| pair.split_once(':').is_some_and(|(_, key)| key == api_key))
        }
        _ => false,
    }
}

/// Looks like the platform's; the same request gets the same one in each run.
fn request_id(id: u64) -> String {
    format!("{:08x}-5137-4f00-8000-{id:012x}", id.wrapping_mul(0x9e37_79b9) & 0xffff_ffff)
}

pub(super) fn problem(refusal: &Refusal, id: u64) -> SimReply {
    let mut body = json!({
        "type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "instance": request_id(id),
    });
    if !refusal.errors.is_empty() {
        let errors =
            refusal.errors.iter().map(|(field, message)| json!({ "field": field, "message": message }));
        body["errors"] = errors.collect();
    }
    SimReply::json(refusal.status, &body).header("content-type", "application/problem+json; charset=utf-8")
}

pub(super) fn route(
    world: &mut World,
    request: &SimRequest,
    now: Timestamp,
    reject: Option<SubscriberHash>,
) -> Result<SimReply, Refusal> {
    let segments = request.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let [version, path @ ..] = path.as_slice() else { return Err(Refusal::not_found()) };
    if *version != "3.0" {
        return Err(Refusal::not_found());
    }
    #[cfg(feature = "batches")]
    if let ["batches", rest @ ..] = path {
        return super::batches::route(world, request, rest, now);
    }
    let World { audience, account, .. } = world;
    if matches!(path, ["lists", list, ..] if *list != audience.id) {
        return Err(Refusal::not_found());
    }
    let see = Selection::new(request.param("fields"), request.param("exclude_fields"));
    let ok = |value: Value| Ok(SimReply::json(200, &see.apply(value)));
    match (&request.method, path) {
        (&Method::GET, ["ping"]) => ok(json!({ "health_status": "Everything's Chimpy!" })),
        (&Method::GET, ["lists"]) => {
            let (offset, _) = window(request)?;
            let lists: Vec<Value> = (offset == 0).then(|| show(audience)).into_iter().collect();
            ok(json!({ "lists": lists, "total_items": 1, "_links": [] }))
        }
        (&Method::GET, ["lists", _]) => ok(show(audience)),
        (&Method::POST, ["lists", _]) => bulk(audience, request, now, reject),
        (&Method::GET, ["lists", list, "merge-fields"]) => {
            let fields = audience.fields().iter().map(|field| show_field(field, list));
            ok(page(request, "merge_fields", fields)?)
        }
        (&Method::POST, ["lists", list, "merge-fields"]) => {
            let body: Value = body(request)?;
            let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
            let (field, write) = audience.create_field(text("tag"), text("name"), text("type"))?;
            Ok(SimReply::json(200, &show_field(&field, list)).store([write]))
        }
        (&Method::GET, ["lists", _, "merge-fields", id]) => {
            ok(show_field(audience.field_by_id(id)?, &audience.id))
        }
        (&Method::PATCH, ["lists", list, "merge-fields", id]) => {
            let (field, write) = audience.update_field(id, body::<FieldBody>(request)?)?;
            Ok(SimReply::json(200, &show_field(&field, list)).store([write]))
        }
        (&Method::DELETE, ["lists", _, "merge-fields", id]) => {
            Ok(SimReply::status(204).store([audience.delete_field(id)?]))
        }
        (&Method::GET, ["lists", _, "segments"]) => {
            // Only tags are simulated.
            let all = request.param("type").is_none_or(|kind| kind == "static");
            let segments = audience.segments().iter().filter(|_| all);
            ok(page(request, "segments", segments.map(|segment| show_segment(segment, audience)))?)
        }
        (&Method::GET, ["lists", _, "segments", id]) => ok(show_segment(audience.segment(id)?, audience)),
        (&Method::GET, ["lists", _, "segments", id, "members"]) => {
            let segment = Some(audience.segment(id)?.id);
            members(audience, &Listing { segment, ..listing(request)? }, &see)
        }
        (&Method::GET, ["lists", _, "members"]) => members(audience, &listing(request)?, &see),
        (&Method::GET, ["lists", _, "members", member, "tags"]) => {
            ok(page(request, "tags", audience.tags_of((*member).into())?.into_iter())?)
        }
        (&Method::POST, ["lists", _, "members", member, "tags"]) => {
            let writes = audience.change_tags((*member).into(), &body::<TagsBody>(request)?, now)?;
            Ok(SimReply::status(204).store(writes))
        }
        (&Method::POST, ["lists", _, "members"]) => create(audience, &body(request)?, now),
        (&Method::GET, ["lists", _, "members", member]) => {
            ok(value_of(&audience.member((*member).into(), &View::ALL)?))
        }
        (&Method::PUT, ["lists", _, "members", member]) => {
            let body: MemberBody = body(request)?;
            let mut hash = SubscriberHash::from(*member);
            // Whoever is not there is created under the hash of the address, whatever the path says.
            if let (false, Some(email)) = (audience.is_present(hash), &body.email_address) {
                hash = SubscriberHash::of(email);
                if hash != (*member).into() && audience.is_present(hash) {
                    return Err(member_exists(email));
                }
            }
            write(audience, hash, &body, now)
        }
        (&Method::PATCH, ["lists", _, "members", member]) => {
            let hash = (*member).into();
            audience.member(hash, &View::ALL)?;
            write(audience, hash, &body(request)?, now)
        }
        (&Method::DELETE, ["lists", _, "members", member]) => {
            Ok(SimReply::status(204).store([audience.archive((*member).into(), now)?]))
        }
        (&Method::POST, ["lists", _, "members", member, "actions", "delete-permanent"]) => {
            Ok(SimReply::status(204).store([audience.forget((*member).into(), now)?]))
        }
        (_, ["ping"] | ["lists"] | ["lists", _] | ["lists", _, "members" | "merge-fields"]) => {
            let detail = "The requested method and resource are not compatible.";
            Err(Refusal::new(405, "Method Not Allowed", detail))
        }
        (&Method::GET, path) => match account.read(&audience.id, path, request) {
            Some(answer) => ok(answer?),
            None => Err(Refusal::not_found()),
        },
        _ => Err(Refusal::not_found()),
    }
}

fn members(audience: &Audience, listing: &Listing, see: &Selection) -> Result<SimReply, Refusal> {
    let view = View::new(see, "members");
    let (members, total) = audience.list(listing, &view);
    let page = MemberPage {
        members: see.wants_top("members").then_some(members),
        list_id: see.wants_top("list_id").then_some(&audience.id),
        total_items: see.wants_top("total_items").then_some(total),
    };
    if see.is_deep() {
        Ok(SimReply::json(200, &see.apply(value_of(&page))))
    } else {
        Ok(SimReply::json(200, &page))
    }
}

pub(super) fn body<T: for<'de> Deserialize<'de>>(request: &SimRequest) -> Result<T, Refusal> {
    request.json().ok_or_else(|| {
        Refusal::new(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.")
    })
}

fn show(audience: &Audience) -> Value {
    let stats = audience.stats();
    json!({
        "id": audience.id,
        "web_id": 4242,
        "name": audience.name,
        "stats": {
            "member_count": stats.subscribed,
            "unsubscribe_count": stats.unsubscribed,
            "cleaned_count": stats.cleaned,
        },
        "_links": [],
    })
}

fn show_field(field: &super::audience::Field, list: &str) -> Value {
    json!({
        "merge_id": field.merge_id, "tag": field.tag, "name": field.name, "type": field.kind,
        "required": field.required, "default_value": field.default_value, "public": field.public, "display_order": field.merge_id, "list_id": list, "_links": [],
    })
}

fn show_segment(segment: &Segment, audience: &Audience) -> Value {
    json!({
        "id": segment.id, "name": segment.name, "type": "static", "list_id": audience.id,
        "member_count": audience.segment_size(segment.id), "created_at": time(segment.created),
        "updated_at": time(segment.created), "_links": [],
    })
}

/// `offset` and `count`.
pub(super) fn window(request: &SimRequest) -> Result<(usize, usize), Refusal> {
    let number = |name: &str, default: usize, max: usize| match request.param(name).map(str::parse::<usize>) {
        None => Ok(default),
        Some(Ok(n)) if n <= max => Ok(n),
        _ => Err(Refusal::value(name)),
    };
    Ok((number("offset", 0, usize::MAX)?, number("count", 10, MAX_PAGE)?))
}

fn listing(request: &SimRequest) -> Result<Listing, Refusal> {
    let invalid = Refusal::value;
    let (offset, count) = window(request)?;
    let by_change = match request.param("sort_field") {
        None | Some("timestamp_opt" | "timestamp_signup") => false,
        Some("last_changed") => true,
        Some(_) => return Err(invalid("sort_field")),
    };
    let since = request.param("since_last_changed").map(|text| text.parse::<Timestamp>());
    Ok(Listing {
        status: request.param("status").map(str::to_owned),
        segment: None,
        since_last_changed: since.transpose().map_err(|_| invalid("since_last_changed"))?,
        by_change,
        descending: request.param("sort_dir").is_some_and(|dir| dir.eq_ignore_ascii_case("desc")),
        offset,
        count,
    })
}

fn create(audience: &mut Audience, body: &MemberBody, now: Timestamp) -> Result<SimReply, Refusal> {
    let Some(email) = body.email_address.as_deref() else {
        return Err(Refusal::new(400, "Invalid Resource", "The resource submitted could not be validated.")
            .field("email_address", "This value should not be blank."));
    };
    let hash = SubscriberHash::of(email);
    if audience.is_present(hash) {
        return Err(member_exists(email));
    }
    write(audience, hash, body, now)
}

fn write(
    audience: &mut Audience,
    hash: SubscriberHash,
    body: &MemberBody,
    now: Timestamp,
) -> Result<SimReply, Refusal> {
    let (_, hash, writes) = audience.write(hash, body, now)?;
    Ok(SimReply::json(200, &audience.member(hash, &View::ALL)?).store(writes))
}

#[derive(Deserialize)]
struct Bulk {
    members: Vec<MemberBody>,
    #[serde(default)]
    update_existing: bool,
}

fn bulk(
    audience: &mut Audience,
    request: &SimRequest,
    now: Timestamp,
    reject: Option<SubscriberHash>,
) -> Result<SimReply, Refusal> {
    let Bulk { members, update_existing } = body(request)?;
    if members.len() > MAX_BULK {
        let detail = format!("A batch holds at most {MAX_BULK} members.");
        return Err(Refusal::new(400, "Invalid Resource", detail));
    }
    let (mut new, mut updated, mut errors, mut writes) = (vec![], vec![], vec![], vec![]);
    let mut seen = HashSet::new();
    for member in &members {
        let email = member.email_address.as_deref().unwrap_or_default();
        let hash = SubscriberHash::of(email);
        let mut fail = |code: &str, error: &str, field: &str| {
            errors.push(json!({
                "email_address": email, "error": error, "error_code": code, "field": field, "field_message": "",
            }));
        };
        if !seen.insert(hash) {
            fail("ERROR_GENERIC", "Duplicate items found in the batch request.", "");
            continue;
        }
        if reject == Some(hash) {
            let error = format!("{email} looks fake or invalid, please enter a real email address.");
            fail("ERROR_GENERIC", &error, "");
            continue;
        }
        if !update_existing && audience.is_present(hash) {
            let error = format!(
                "{email} is already a list member, do you want to update? please provide \
                                 update_existing:true in the request body"
            );
            fail("ERROR_CONTACT_EXISTS", &error, "");
            continue;
        }
        // Without a `status` the ones who are there keep theirs, and new ones get `status_if_new` (unconfirmed).
        match audience.write(hash, member, now) {
            Ok((created, hash, stored)) => {
                if created {
                    new.push(hash)
                } else {
                    updated.push(hash)
                }
                writes.extend(stored);
            }
            Err(refusal) => {
                let field = refusal.errors.first().map_or("", |(field, _)| field.as_str());
                let message = refusal.errors.first().map(|(_, message)| message.as_str());
                let error = match message {
                    Some(message) => format!("{} {message}", refusal.detail),
                    None => refusal.detail.clone(),
                };
                fail("ERROR_GENERIC", &error, field);
            }
        }
    }
    let show = |hashes: Vec<SubscriberHash>| -> Result<Vec<_>, Refusal> {
        hashes.into_iter().map(|hash| audience.member(hash, &View::ALL)).collect()
    };
    let answer = BulkAnswer {
        total_created: new.len(),
        total_updated: updated.len(),
        error_count: errors.len(),
        new_members: show(new)?,
        updated_members: show(updated)?,
        errors,
        _links: [],
    };
    Ok(SimReply::json(200, &answer).store(writes))
}

#[derive(Serialize)]
struct BulkAnswer<'s> {
    new_members: Vec<Shown<'s>>,
    updated_members: Vec<Shown<'s>>,
    errors: Vec<Value>,
    total_created: usize,
    total_updated: usize,
    error_count: usize,
    _links: [Value; 0],
}

#[derive(Serialize)]
struct MemberPage<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Shown<'s>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list_id: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_items: Option<usize>,
}

fn value_of(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("a simulator's own answers serialise")
}

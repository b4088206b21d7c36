//! The objects of one type of the simulated account: seeded contacts, and what was written over them; or written ones only.

use super::properties::Definition;
use super::reply::Failure;
use super::seed;
use martlet_base::Timestamp;
use martlet_testkit::SimWrite;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Internal name, label, type, field type.
const CONTACT_PROPERTIES: &[(&str, &str, &str, &str)] = &[
    ("email", "Email", "string", "text"),
    ("firstname", "First Name", "string", "text"),
    ("lastname", "Last Name", "string", "text"),
    ("company", "Company Name", "string", "text"),
    ("city", "City", "string", "text"),
    ("lifecyclestage", "Lifecycle Stage", "enumeration", "radio"),
    ("favorite_color", "Favorite color", "string", "text"),
    ("loyalty_tier", "Loyalty tier", "enumeration", "select"),
    ("last_order_value", "Last order value", "number", "number"),
    ("hs_language", "Preferred language", "enumeration", "select"),
    ("hs_email_optout", "Unsubscribed from all email", "enumeration", "booleancheckbox"),
    ("hs_merged_object_ids", "Merged record IDs", "enumeration", "checkbox"),
    ("hs_object_id", "Record ID", "number", "number"),
    ("createdate", "Create Date", "datetime", "date"),
    ("lastmodifieddate", "Last Modified Date", "datetime", "date"),
];

const COMPANY_PROPERTIES: &[(&str, &str, &str, &str)] = &[
    ("name", "Company name", "string", "text"),
    ("domain", "Company Domain Name", "string", "text"),
    ("city", "City", "string", "text"),
    ("industry", "Industry", "enumeration", "select"),
    ("numberofemployees", "Number of Employees", "number", "number"),
    ("hs_object_id", "Record ID", "number", "number"),
    ("createdate", "Create Date", "datetime", "date"),
    ("hs_lastmodifieddate", "Last Modified Date", "datetime", "date"),
];

const DEAL_PROPERTIES: &[(&str, &str, &str, &str)] = &[
    ("dealname", "Deal Name", "string", "text"),
    ("dealstage", "Deal Stage", "enumeration", "radio"),
    ("pipeline", "Pipeline", "enumeration", "select"),
    ("amount", "Amount", "number", "number"),
    ("closedate", "Close Date", "datetime", "date"),
    ("hs_object_id", "Record ID", "number", "number"),
    ("createdate", "Create Date", "datetime", "date"),
    ("hs_lastmodifieddate", "Last Modified Date", "datetime", "date"),
];

/// A type of objects.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Internal name, label, type, field type.
    pub(super) properties: &'static [(&'static str, &'static str, &'static str, &'static str)],
    /// What a request that names no properties gets.
    pub(super) shown: &'static [&'static str],
    /// The property with the date of the last change.
    pub(super) modified: &'static str,
    /// What a search's `query` looks at.
    pub(super) searched: &'static [&'static str],
    /// The group of its properties.
    pub(super) group: &'static str,
}

pub(super) static CONTACTS: Kind = Kind {
    name: "contacts",
    properties: CONTACT_PROPERTIES,
    shown: &["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"],
    modified: "lastmodifieddate",
    searched: &["email", "firstname", "lastname"],
    group: "contactinformation",
};

pub(super) static COMPANIES: Kind = Kind {
    name: "companies",
    properties: COMPANY_PROPERTIES,
    shown: &["createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"],
    modified: "hs_lastmodifieddate",
    searched: &["name", "domain"],
    group: "companyinformation",
};

pub(super) static DEALS: Kind = Kind {
    name: "deals",
    properties: DEAL_PROPERTIES,
    shown: &[
        "amount",
        "closedate",
        "createdate",
        "dealname",
        "dealstage",
        "hs_lastmodifieddate",
        "hs_object_id",
        "pipeline",
    ],
    modified: "hs_lastmodifieddate",
    searched: &["dealname"],
    group: "dealinformation",
};

/// An object that was written; it replaces the seeded one of the same id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) properties: BTreeMap<String, String>,
    pub(super) created: u64,
    pub(super) modified: u64,
    pub(super) archived: Option<u64>,
    /// The contact that it was merged into: it is nowhere any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) merged_into: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Data {
    kind: &'static Kind,
    /// The account's own properties.
    definitions: Vec<Definition>,
    seed: u64,
    living: u64,
    seeded: u64,
    dates: Dates,
    /// How long a change stays out of the search, in milliseconds.
    search_lag: u64,
    /// What the search sees of contacts that changed: until when, and what (nothing of new ones).
    unsearched: HashMap<u64, (u64, Option<Stored>)>,
    stored: BTreeMap<u64, Stored>,
    /// Of stored contacts that live, without regard to case.
    emails: HashMap<String, u64>,
}

/// When seeded contacts were changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dates {
    /// Most at the same time.
    one: bool,
    /// The first so many of them all at this time.
    touched: (u64, u64),
}

/// A contact, wherever it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object<'a> {
    Seeded { seed: u64, index: u64, archived: bool, dates: Dates },
    Stored(u64, &'a Stored),
}

pub(super) fn iso(millis: u64) -> String {
    let text = Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)).to_string();
    // HubSpot leaves no zeros out.
    if text.len() == 20 { format!("{}.000Z", &text[..19]) } else { text }
}

impl Object<'_> {
    pub(super) fn id(&self) -> u64 {
        match *self {
            Self::Seeded { seed, index, .. } => seed::id(seed, index),
            Self::Stored(id, _) => id,
        }
    }

    pub(super) fn created(&self) -> u64 {
        match *self {
            Self::Seeded { seed, index, .. } => seed::created(seed, index),
            Self::Stored(_, stored) => stored.created,
        }
    }

    pub(super) fn modified(&self) -> u64 {
        match *self {
            Self::Seeded { index, dates: Dates { touched: (count, at), .. }, .. } if index < count => at,
            Self::Seeded { seed, index, dates, .. } => seed::modified(seed, index, dates.one),
            Self::Stored(_, stored) => stored.modified,
        }
    }

    pub(super) fn archived(&self) -> Option<u64> {
        match *self {
            Self::Seeded { archived, .. } => archived.then(|| self.modified()),
            Self::Stored(_, stored) => stored.archived,
        }
    }

    pub(super) fn is_living(&self) -> bool {
        match self {
            Self::Seeded { archived, .. } => !archived,
            Self::Stored(_, stored) => stored.archived.is_none() && stored.merged_into.is_none(),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        Some(match (name, *self) {
            ("hs_object_id", _) => self.id().to_string().into(),
            ("createdate", _) => iso(self.created()).into(),
            ("lastmodifieddate" | "hs_lastmodifieddate", _) => iso(self.modified()).into(),
            (_, Self::Seeded { seed, index, .. }) => seed::text(seed, index, name)?,
            (_, Self::Stored(_, stored)) => stored.properties.get(name)?.as_str().into(),
        })
    }

    fn to_stored(self) -> Stored {
        let properties = match self {
            Self::Stored(_, stored) => stored.properties.clone(),
            Self::Seeded { seed, index, .. } => CONTACT_PROPERTIES
                .iter()
                .filter_map(|(name, ..)| {
                    Some(((*name).to_owned(), seed::text(seed, index, name)?.into_owned()))
                })
                .collect(),
        };
        Stored {
            properties,
            created: self.created(),
            modified: self.modified(),
            archived: self.archived(),
            merged_into: None,
        }
    }
}

impl Data {
    pub(super) fn new(
        kind: &'static Kind,
        seed: u64,
        living: u64,
        one_date: bool,
        search_lag: Duration,
    ) -> Self {
        let seeded = living + seed::archived_contacts(living);
        Self {
            kind,
            definitions: Vec::new(),
            seed,
            living,
            seeded,
            dates: Dates { one: one_date, touched: (0, 0) },
            search_lag: u64::try_from(search_lag.as_millis()).unwrap_or(u64::MAX),
            unsearched: HashMap::new(),
            stored: BTreeMap::new(),
            emails: HashMap::new(),
        }
    }

    /// `count` objects of a type that has no seeded ones.
    pub(super) fn filled(kind: &'static Kind, seed: u64, count: u64, search_lag: Duration) -> Self {
        let mut data = Self::new(kind, seed, 0, false, search_lag);
        for index in 0..count {
            let at = seed::created(seed, index);
            let stored = Stored {
                properties: seed::plain(kind.name, seed, index),
                created: at,
                modified: at,
                archived: None,
                merged_into: None,
            };
            data.put(seed::id(seed, index), stored);
        }
        data
    }

    pub(super) fn kind(&self) -> &'static Kind {
        self.kind
    }

    pub(super) fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    pub(super) fn define(&mut self, definition: Definition) {
        self.definitions.retain(|known| known.name != definition.name);
        self.definitions.push(definition);
    }

    /// The type of a property.
    pub(super) fn kind_of(&self, name: &str) -> Option<&'static str> {
        let built_in = self.kind.properties.iter().find(|(known, ..)| *known == name);
        let built_in = built_in.map(|(_, _, kind, _)| *kind);
        built_in.or_else(|| self.definition(name).map(Definition::static_kind))
    }

    fn definition(&self, name: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.name == name)
    }

    fn is_unique(&self, name: &str) -> bool {
        self.definition(name).is_some_and(|definition| definition.has_unique_value)
    }

    /// How many contacts were seeded to live.
    pub(super) fn seeded_living(&self) -> u64 {
        self.living
    }

    pub(super) fn id_at(&self, index: u64) -> u64 {
        seed::id(self.seed, index)
    }

    fn seeded(&self, index: u64) -> Object<'static> {
        Object::Seeded { seed: self.seed, index, archived: index >= self.living, dates: self.dates }
    }

    pub(super) fn get(&self, id: u64) -> Option<Object<'_>> {
        if let Some(stored) = self.stored.get(&id) {
            return Some(Object::Stored(id, stored)).filter(|_| stored.merged_into.is_none());
        }
        let index = seed::index_of(id).filter(|&index| index < self.seeded)?;
        Some(self.seeded(index)).filter(|object| object.id() == id)
    }

    /// A living contact.
    pub(super) fn find(&self, id: &str, by: &str) -> Result<Option<Object<'_>>, Failure> {
        let found = match by {
            "" | "hs_object_id" => id.parse().ok().and_then(|id| self.get(id)),
            "email" if self.kind.name == CONTACTS.name => self.by_email(id),
            own if self.is_unique(own) => self.by_unique(own, id),
            other => {
                return Err(Failure::invalid(format!(
                    "Property '{other}' is not a unique identifier property"
                )));
            }
        };
        Ok(found.filter(Object::is_living))
    }

    /// Only written objects have values of the account's own properties.
    fn by_unique(&self, name: &str, value: &str) -> Option<Object<'_>> {
        let mut living = self.stored.iter().map(|(id, stored)| Object::Stored(*id, stored));
        living.find(|object| object.is_living() && object.text(name).is_some_and(|text| text == value))
    }

    fn by_email(&self, email: &str) -> Option<Object<'_>> {
        let email = email.trim().to_lowercase();
        if let Some(&id) = self.emails.get(&email) {
            return self.get(id);
        }
        let index = seed::index_in_email(&email).filter(|&index| index < self.living)?;
        let object = self.seeded(index);
        if self.stored.contains_key(&object.id()) {
            return None;
        }
        Some(object).filter(|object| object.text("email").is_some_and(|e| e.to_lowercase() == email))
    }

    /// Living contacts with ids above `after`, ascending.
    pub(super) fn living_after(&self, after: u64) -> impl Iterator<Item = Object<'_>> {
        let first = seed::index_of(after).unwrap_or_default().min(self.living);
        let seeded = (first..self.living).map(|index| {
            let object = self.seeded(index);
            match self.stored.is_empty() {
                true => object,
                false => {
                    let id = object.id();
                    self.stored.get(&id).map_or(object, |stored| Object::Stored(id, stored))
                }
            }
        });
        // Behind the living seeded ones there are archived ones, which may have been written to, and new ones.
        let rest = self.stored.range(seed::id_after(self.living)..).map(|(id, s)| Object::Stored(*id, s));
        seeded.chain(rest).filter(move |object| object.id() > after && object.is_living())
    }

    /// The same as the search sees them at `now`.
    pub(super) fn searched_after(&self, after: u64, now: u64) -> impl Iterator<Item = Object<'_>> {
        let unsearched = Some(&self.unsearched).filter(|unsearched| !unsearched.is_empty());
        self.living_after(after).filter_map(move |object| {
            match unsearched.and_then(|unsearched| unsearched.get(&object.id())) {
                Some((until, before)) if now < *until => {
                    before.as_ref().map(|before| Object::Stored(object.id(), before))
                }
                _ => Some(object),
            }
        })
    }

    /// Archived contacts with ids above `after`, ascending.
    pub(super) fn archived_after(&self, after: u64) -> Vec<Object<'_>> {
        let stored = self.stored.iter().map(|(id, stored)| Object::Stored(*id, stored));
        let seeded = (self.living..self.seeded)
            .map(|index| self.seeded(index))
            .filter(|object| !self.stored.contains_key(&object.id()));
        let mut all: Vec<_> = stored
            .chain(seeded)
            .filter(|object| object.id() > after && object.archived().is_some())
            .collect();
        all.sort_unstable_by_key(Object::id);
        all
    }

    /// Writes over a living contact, or creates one (`id` is `None`). The id it has.
    pub(super) fn write(
        &mut self,
        id: Option<u64>,
        properties: &BTreeMap<String, Option<String>>,
        now: u64,
    ) -> Result<u64, Failure> {
        let mut stored = match id.and_then(|id| self.get(id)) {
            Some(object) => object.to_stored(),
            None => Stored {
                properties: BTreeMap::new(),
                created: now,
                modified: now,
                archived: None,
                merged_into: None,
            },
        };
        for (name, value) in properties {
            if self.kind_of(name).is_none() {
                return Err(Failure::invalid(format!("Property \"{name}\" does not exist")));
            }
            let Some(value) = value else { continue };
            if self.is_unique(name)
                && let Some(other) = self.by_unique(name, value).map(|object| object.id())
                && Some(other) != id
            {
                let message = format!("{value} is already the value of {name} of the object {other}");
                return Err(Failure::new(409, "CONFLICT", message));
            }
            if name == "email" && !value.is_empty() {
                // As lax as HubSpot: mail platforms refuse more than this.
                if value.contains(char::is_whitespace) || !value.contains('@') {
                    return Err(Failure::invalid(format!("Property value \"{value}\" is not a valid email")));
                }
                if let Some(other) = self.by_email(value).map(|object| object.id())
                    && Some(other) != id
                {
                    let message = format!("Contact already exists. Existing ID: {other}");
                    return Err(Failure::new(409, "CONFLICT", message));
                }
            }
            if value.is_empty() {
                stored.properties.remove(name);
            } else {
                let value = if name == "email" { value.to_lowercase() } else { value.clone() };
                stored.properties.insert(name.clone(), value);
            }
        }
        stored.modified = now;
        let id = id.unwrap_or_else(|| {
            let last = self.stored.last_key_value().map_or(0, |(id, _)| *id);
            last.max(seed::id_after(self.seeded)) + 1
        });
        self.keep_for_search(id, now);
        self.put(id, stored);
        Ok(id)
    }

    /// The search goes on to see the contact as it is now.
    fn keep_for_search(&mut self, id: u64, now: u64) {
        if self.search_lag == 0 {
            return;
        }
        self.unsearched.retain(|_, (until, _)| now < *until);
        let until = now.saturating_add(self.search_lag);
        // What changes again meanwhile stays as it was before the first change.
        if let Some((known, _)) = self.unsearched.get_mut(&id) {
            *known = until;
        } else {
            let before = self.get(id).map(Object::to_stored);
            self.unsearched.insert(id, (until, before));
        }
    }

    /// `loser` is gone; what tells of it is a property of `survivor`. Both live.
    pub(super) fn merge(&mut self, survivor: u64, loser: u64, now: u64) {
        let (Some(kept), Some(lost)) = (self.get(survivor), self.get(loser)) else { return };
        let (mut kept, mut lost) = (kept.to_stored(), lost.to_stored());
        let ids = kept.properties.entry("hs_merged_object_ids".into()).or_default();
        if !ids.is_empty() {
            ids.push(';');
        }
        ids.push_str(&loser.to_string());
        kept.modified = now;
        lost.merged_into = Some(survivor);
        self.keep_for_search(survivor, now);
        self.put(survivor, kept);
        self.put(loser, lost);
    }

    /// The first `count` seeded contacts, those that live, change their date and nothing else. The ids of stored ones.
    pub(super) fn touch(&mut self, count: u64, at: u64) -> Vec<u64> {
        let count = count.min(self.living);
        self.dates.touched = (count, at);
        let end = seed::id_after(count);
        let touched = self.stored.range_mut(..end).filter(|(_, stored)| stored.archived.is_none());
        touched
            .map(|(id, stored)| {
                stored.modified = at;
                *id
            })
            .collect()
    }

    pub(super) fn touched(&self) -> (u64, u64) {
        self.dates.touched
    }

    pub(super) fn set_touched(&mut self, touched: (u64, u64)) {
        self.dates.touched = touched;
    }

    /// Whether it was there to be archived.
    pub(super) fn archive(&mut self, id: u64, now: u64) -> bool {
        let Some(object) = self.get(id).filter(Object::is_living) else { return false };
        let mut stored = object.to_stored();
        stored.archived = Some(now);
        stored.modified = now;
        self.put(id, stored);
        true
    }

    pub(super) fn put(&mut self, id: u64, stored: Stored) {
        let email = |stored: &Stored| stored.properties.get("email").map(|email| email.to_lowercase());
        if let Some(email) = self.stored.get(&id).and_then(email) {
            self.emails.remove(&email);
        }
        if stored.archived.is_none()
            && stored.merged_into.is_none()
            && let Some(email) = email(&stored)
        {
            self.emails.insert(email, id);
        }
        self.stored.insert(id, stored);
    }

    /// An object that was written, as it is stored with a reply.
    pub(super) fn stored_write(&self, id: u64) -> SimWrite {
        let stored = self.stored(id).expect("it was just written");
        let key =
            if self.kind.name == CONTACTS.name { id.to_string() } else { format!("{}/{id}", self.kind.name) };
        SimWrite::put(key, serde_json::to_vec(stored).expect("texts and numbers serialise as JSON"))
    }

    fn stored(&self, id: u64) -> Option<&Stored> {
        self.stored.get(&id)
    }
}

//! Filters and sorting of the search endpoint.

use super::data::{Data, Object};
use super::reply::Failure;
use crate::model::time;
use serde::Deserialize;
use std::cmp::Ordering;

/// A search hands out this many results and no more.
const CAP: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SearchRequest {
    #[serde(default)]
    filter_groups: Vec<FilterGroup>,
    #[serde(default)]
    sorts: Vec<SortOrName>,
    #[serde(default)]
    pub(super) properties: Vec<String>,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<After>,
}

#[derive(Debug, Deserialize)]
struct FilterGroup {
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    property_name: String,
    operator: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

/// HubSpot takes `{"propertyName":..,"direction":..}` and a bare name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SortOrName {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Sort {
        property_name: String,
        #[serde(default)]
        direction: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum After {
    Number(usize),
    Text(String),
}

pub(super) struct Found<'a> {
    pub(super) total: usize,
    pub(super) objects: Vec<Object<'a>>,
    pub(super) next: Option<usize>,
}

/// What two values are compared as.
enum Operand {
    Number(f64),
    Text(String),
}

impl Operand {
    fn of(kind: &str, text: &str) -> Result<Self, Failure> {
        #[expect(clippy::cast_precision_loss, reason = "dates in milliseconds fit an f64 exactly")]
        let number = match kind {
            "number" => text.parse::<f64>().ok(),
            "datetime" => time::parse(text).map(|at| at.as_millis() as f64),
            _ => return Ok(Self::Text(text.to_lowercase())),
        };
        number.map(Self::Number).ok_or_else(|| Failure::invalid(format!("\"{text}\" is not a valid {kind}")))
    }

    fn of_object(object: &Object<'_>, name: &str, kind: &str) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "ids and dates fit an f64 exactly")]
        match name {
            // Without a detour through text: every contact is looked at in every search.
            "hs_object_id" => return Some(Self::Number(object.id() as f64)),
            "createdate" => return Some(Self::Number(object.created() as f64)),
            "lastmodifieddate" | "hs_lastmodifieddate" => {
                return Some(Self::Number(object.modified() as f64));
            }
            _ => {}
        }
        Self::of(kind, &object.text(name)?).ok()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// A filter that was checked.
struct Test<'r> {
    name: &'r str,
    kind: &'static str,
    rule: Rule,
}

enum Rule {
    Has(bool),
    Compare(fn(Ordering) -> bool, Operand),
    NotEqual(Operand),
    In(Vec<Operand>, bool),
    Token(String),
}

impl<'r> Test<'r> {
    fn new(data: &Data, filter: &'r Filter) -> Result<Self, Failure> {
        let name = filter.property_name.as_str();
        let kind = data
            .kind_of(name)
            .ok_or_else(|| Failure::invalid(format!("Property '{name}' does not exist")))?;
        let operand = || {
            let value = filter
                .value
                .as_deref()
                .ok_or_else(|| Failure::invalid(format!("operator {} requires a value", filter.operator)))?;
            Operand::of(kind, value)
        };
        let operands =
            || filter.values.iter().map(|value| Operand::of(kind, value)).collect::<Result<Vec<_>, _>>();
        let rule = match filter.operator.as_str() {
            "EQ" => Rule::Compare(Ordering::is_eq, operand()?),
            "NEQ" => Rule::NotEqual(operand()?),
            "LT" => Rule::Compare(Ordering::is_lt, operand()?),
            "LTE" => Rule::Compare(Ordering::is_le, operand()?),
            "GT" => Rule::Compare(Ordering::is_gt, operand()?),
            "GTE" => Rule::Compare(Ordering::is_ge, operand()?),
            "IN" => Rule::In(operands()?, true),
            "NOT_IN" => Rule::In(operands()?, false),
            "HAS_PROPERTY" => Rule::Has(true),
            "NOT_HAS_PROPERTY" => Rule::Has(false),
            "CONTAINS_TOKEN" => {
                let token = filter.value.as_deref().unwrap_or_default();
                Rule::Token(token.trim_matches('*').to_lowercase())
            }
            other => return Err(Failure::invalid(format!("unknown operator {other}"))),
        };
        Ok(Self { name, kind, rule })
    }

    fn matches(&self, object: &Object<'_>) -> bool {
        let value = || Operand::of_object(object, self.name, self.kind);
        let order = |operand: &Operand| value().and_then(|value| value.compare(operand));
        match &self.rule {
            Rule::Has(has) => object.text(self.name).is_some() == *has,
            Rule::Compare(test, operand) => order(operand).is_some_and(test),
            Rule::NotEqual(operand) => order(operand).is_some_and(Ordering::is_ne),
            Rule::In(operands, within) => value().is_some_and(|value| {
                operands.iter().any(|o| value.compare(o) == Some(Ordering::Equal)) == *within
            }),
            Rule::Token(token) => {
                object.text(self.name).is_some_and(|text| text.to_lowercase().contains(token.as_str()))
            }
        }
    }
}

impl SearchRequest {
    pub(super) fn run<'a>(&self, data: &'a Data, now: u64) -> Result<Found<'a>, Failure> {
        let limit = self.limit.unwrap_or(10);
        if !(1..=200).contains(&limit) {
            return Err(Failure::invalid("limit must be between 1 and 200"));
        }
        let after = match &self.after {
            None => 0,
            Some(After::Number(after)) => *after,
            Some(After::Text(text)) if text.is_empty() => 0,
            Some(After::Text(text)) => {
                text.parse().map_err(|_| Failure::invalid("after must be an integer"))?
            }
        };
        if after.saturating_add(limit) > CAP {
            return Err(Failure::invalid("The requested page is beyond the limit of 10000 search results"));
        }
        if self.filter_groups.len() > 6 {
            return Err(Failure::invalid("filterGroups must not have more than 6 elements"));
        }
        let mut groups = Vec::new();
        for group in &self.filter_groups {
            if group.filters.is_empty() {
                return Err(Failure::invalid("filters must not be empty"));
            }
            groups.push(
                group.filters.iter().map(|filter| Test::new(data, filter)).collect::<Result<Vec<_>, _>>()?,
            );
        }
        let query = self.query.as_deref().map(str::to_lowercase).filter(|query| !query.is_empty());
        // What all groups ask of the id: a later slice need not look at the contacts of the earlier ones.
        let floor = groups.iter().map(|tests| id_floor(tests)).min().unwrap_or_default();
        let matching = data.searched_after(floor, now).filter(|object| {
            (groups.is_empty() || groups.iter().any(|tests| tests.iter().all(|test| test.matches(object))))
                && query.as_ref().is_none_or(|query| {
                    data.kind()
                        .searched
                        .iter()
                        .any(|name| object.text(name).is_some_and(|text| text.to_lowercase().contains(query)))
                })
        });
        let (total, objects) = match self.order(data)? {
            // The natural order: only the page is kept.
            None => {
                let (mut total, mut page) = (0, Vec::with_capacity(limit));
                for object in matching {
                    if total >= after && page.len() < limit {
                        page.push(object);
                    }
                    total += 1;
                }
                (total, page)
            }
            Some((name, kind, descending)) => {
                let mut all: Vec<_> =
                    matching.map(|object| (Operand::of_object(&object, name, kind), object)).collect();
                all.sort_by(|(a, _), (b, _)| {
                    let order = match (a, b) {
                        (Some(a), Some(b)) => a.compare(b).unwrap_or(Ordering::Equal),
                        (a, b) => a.is_some().cmp(&b.is_some()),
                    };
                    if descending { order.reverse() } else { order }
                });
                (all.len(), all.into_iter().skip(after).take(limit).map(|(_, object)| object).collect())
            }
        };
        let end = after + objects.len();
        Ok(Found { total, objects, next: (end < total).then_some(end) })
    }

    /// `None` for ascending ids.
    fn order(&self, data: &Data) -> Result<Option<(&str, &'static str, bool)>, Failure> {
        let (name, descending) = match self.sorts.first() {
            None => return Ok(None),
            Some(SortOrName::Name(name)) => (name.trim_start_matches('-'), name.starts_with('-')),
            Some(SortOrName::Sort { property_name, direction }) => {
                (property_name.as_str(), direction.as_deref() == Some("DESCENDING"))
            }
        };
        if name == "hs_object_id" && !descending {
            return Ok(None);
        }
        let kind = data
            .kind_of(name)
            .ok_or_else(|| Failure::invalid(format!("Property '{name}' does not exist")))?;
        Ok(Some((name, kind, descending)))
    }
}

/// All ids that these filters let through are greater than this.
fn id_floor(tests: &[Test<'_>]) -> u64 {
    let floors = tests.iter().filter_map(|test| match &test.rule {
        Rule::Compare(rule, Operand::Number(than)) if test.name == "hs_object_id" =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float to integer cast saturates, and a lower floor is only slower"
            )]
            (!rule(Ordering::Less)).then_some((*than - 1.0) as u64)
        }
        _ => None,
    });
    floors.max().unwrap_or_default()
}

//! `fields` and `exclude_fields`: dotted paths that choose what an answer holds.

use serde_json::{Map, Value};

/// What a request asked to see.
#[derive(Debug, Default)]
pub(super) struct Selection {
    include: Option<Vec<Vec<String>>>,
    exclude: Vec<Vec<String>>,
}

fn paths(list: &str) -> Vec<Vec<String>> {
    let paths = list.split(',').map(str::trim).filter(|path| !path.is_empty());
    paths.map(|path| path.split('.').map(str::to_owned).collect()).collect()
}

impl Selection {
    pub(super) fn new(include: Option<&str>, exclude: Option<&str>) -> Self {
        Self {
            include: include.filter(|list| !list.is_empty()).map(paths),
            exclude: exclude.map(paths).unwrap_or_default(),
        }
    }

    /// Whether `name` of each item of the collection `parent` can be in the answer: what is not need not be written.
    fn wants(&self, parent: &str, name: &str) -> bool {
        let at = |path: &[String], depth: usize| match path {
            [] => false,
            [first, rest @ ..] => {
                first == parent && rest.iter().take(1).all(|part| part == name) && rest.len() < depth
            }
        };
        self.include.as_ref().is_none_or(|paths| paths.iter().any(|path| at(path, usize::MAX)))
            && !self.exclude.iter().any(|path| at(path, 2))
    }

    /// Whether some path leads deeper than the fields of items, so that [`View`] alone does not tell what is asked for.
    pub(super) fn is_deep(&self) -> bool {
        self.include.iter().flatten().chain(&self.exclude).any(|path| path.len() > 2)
    }

    /// Whether `name` at the top of the answer is asked for.
    pub(super) fn wants_top(&self, name: &str) -> bool {
        let included = self.include.as_ref().is_none_or(|paths| paths.iter().any(|path| path[0] == name));
        included && !self.exclude.iter().any(|path| matches!(path.as_slice(), [only] if only == name))
    }

    pub(super) fn apply(&self, value: Value) -> Value {
        let mut value = match &self.include {
            None => value,
            Some(paths) => {
                let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
                keep(value, &paths)
            }
        };
        self.exclude.iter().for_each(|path| remove(&mut value, path));
        value
    }
}

/// What a request asked to see of the items of a collection.
#[derive(Debug)]
pub(super) struct View<'v> {
    /// `None`: all.
    of: Option<(&'v Selection, &'static str)>,
}

impl<'v> View<'v> {
    pub(super) const ALL: View<'static> = View { of: None };

    pub(super) const fn new(selection: &'v Selection, parent: &'static str) -> Self {
        Self { of: Some((selection, parent)) }
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.of.is_none_or(|(selection, parent)| selection.wants(parent, name))
    }
}

fn keep(value: Value, paths: &[&[String]]) -> Value {
    if paths.iter().any(|path| path.is_empty()) {
        return value;
    }
    match value {
        Value::Array(items) => items.into_iter().map(|item| keep(item, paths)).collect(),
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, value) in members {
                let below: Vec<&[String]> =
                    paths.iter().filter(|path| path[0] == name).map(|path| &path[1..]).collect();
                if !below.is_empty() {
                    kept.insert(name, keep(value, &below));
                }
            }
            Value::Object(kept)
        }
        other => other,
    }
}

fn remove(value: &mut Value, path: &[String]) {
    match (value, path) {
        (Value::Array(items), _) => items.iter_mut().for_each(|item| remove(item, path)),
        (Value::Object(members), [last]) => {
            members.remove(last);
        }
        (Value::Object(members), [first, rest @ ..]) => {
            if let Some(value) = members.get_mut(first) {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotted_paths_choose_and_drop() {
        let page = json!({"members": [{"id": "1", "status": "a", "merge_fields": {"A": "1", "B": "2"}}],
                          "total_items": 1, "_links": []});
        let chosen = Selection::new(Some("members.id,members.merge_fields.B,total_items"), None);
        let expected = json!({"members": [{"id": "1", "merge_fields": {"B": "2"}}], "total_items": 1});
        assert_eq!(chosen.apply(page.clone()), expected);
        assert!(chosen.wants("members", "merge_fields") && !chosen.wants("members", "status"));

        let dropped = Selection::new(None, Some("_links,members.merge_fields.A,members.id"));
        let expected = json!({"members": [{"status": "a", "merge_fields": {"B": "2"}}], "total_items": 1});
        assert_eq!(dropped.apply(page), expected);
        assert!(dropped.wants("members", "merge_fields") && !dropped.wants("members", "id"));
    }
}

//! What `cargo metadata` says about the members of the workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Relative to the workspace's root, with `/`: "crates/base".
    pub(crate) folder: String,
    pub(crate) published: bool,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// What crates.io shows that the manifest does not give.
    pub(crate) missing: Vec<&'static str>,
    /// `lints.workspace = true`.
    pub(crate) shares_lints: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
    /// No version is asked for, so `cargo publish` leaves a dev-dependency out.
    pub(crate) path_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Workspace {
    /// Asks cargo and reads the manifests.
    pub(crate) fn load() -> Result<Self, String> {
        let output = crate::cargo::command()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(|error| format!("cargo does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
        let root = Path::new(text(&metadata, "workspace_root")?);
        let packages = array(&metadata, "packages")?
            .iter()
            .map(|package| Package::read(package, root))
            .collect::<Result<_, _>>()?;
        let target = text(&metadata, "target_directory")?.into();
        Ok(Self { root: root.to_owned(), target, packages })
    }

    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.published)
    }
}

impl Package {
    fn read(package: &Value, root: &Path) -> Result<Self, String> {
        let manifest = Path::new(text(package, "manifest_path")?);
        let folder = manifest.parent().unwrap_or(root);
        let lines = std::fs::read_to_string(manifest)
            .map_err(|error| format!("cannot read {}: {error}", manifest.display()))?;
        let readme_exists = package["readme"].as_str().is_some_and(|readme| folder.join(readme).is_file());
        let given = |field: &str| match &package[field] {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        };
        let mut missing: Vec<&str> = ["description", "license", "repository", "keywords", "rust_version"]
            .into_iter()
            .filter(|field| !given(field))
            .collect();
        if !readme_exists {
            missing.push("readme");
        }
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            version: text(package, "version")?.to_owned(),
            folder: folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().replace('\\', "/"),
            // `publish` is null for "anywhere", else the registries that are allowed.
            published: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
            dependencies: array(package, "dependencies")?
                .iter()
                .map(Dependency::read)
                .collect::<Result<_, _>>()?,
            features: serde_json::from_value(package["features"].clone())
                .map_err(|error| format!("cargo metadata: features: {error}"))?,
            missing,
            shares_lints: shares_lints(&lines),
        })
    }
}

impl Dependency {
    fn read(dependency: &Value) -> Result<Self, String> {
        Ok(Self {
            name: text(dependency, "name")?.to_owned(),
            kind: match dependency["kind"].as_str() {
                None => Kind::Normal,
                Some("build") => Kind::Build,
                Some("dev") => Kind::Dev,
                Some(other) => return Err(format!("cargo metadata: unknown kind of dependency `{other}`")),
            },
            optional: dependency["optional"].as_bool().unwrap_or(false),
            path_only: dependency["path"].is_string() && dependency["req"].as_str() == Some("*"),
        })
    }
}

/// Whether a manifest takes the workspace's lints, in either spelling.
fn shares_lints(manifest: &str) -> bool {
    let mut table = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        let words: String = line.chars().filter(|letter| !letter.is_whitespace()).collect();
        (table == "[lints]" && words == "workspace=true")
            || (table.is_empty() && words == "lints.workspace=true")
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value[field].as_str().ok_or_else(|| format!("cargo metadata: no text in `{field}`"))
}

fn array<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, String> {
    value[field].as_array().ok_or_else(|| format!("cargo metadata: no list in `{field}`"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dependency_is_read_with_its_kind() {
        let dependency = Dependency::read(&json!({
            "name": "martlet-testkit", "kind": "dev", "optional": false, "path": "/x", "req": "*"
        }))
        .unwrap();
        assert_eq!(dependency.kind, Kind::Dev);
        assert!(dependency.path_only);
        let foreign = Dependency::read(&json!({ "name": "url", "kind": null, "optional": true, "req": "*" }));
        let foreign = foreign.unwrap();
        assert_eq!(foreign.kind, Kind::Normal);
        assert!(foreign.optional && !foreign.path_only, "a wildcard is not a path");
    }

    #[test]
    fn lints_are_shared_in_either_spelling_and_not_by_accident() {
        assert!(shares_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(shares_lints("lints.workspace=true\n[package]\n"));
        assert!(!shares_lints("[package]\nworkspace = true\n"));
        assert!(!shares_lints("[lints]\nworkspace = false\n[dependencies]\nworkspace = true\n"));
        assert!(!shares_lints("[package]\nlints.workspace = true\n"));
    }

    #[test]
    fn the_workspace_is_read_with_its_folders() {
        let workspace = Workspace::load().unwrap();
        let find = |name: &str| workspace.packages.iter().find(|package| package.name == name).unwrap();
        assert_eq!(find("martlet-hubspot").folder, "crates/connectors/hubspot");
        assert!(find("martlet-hubspot").published);
        assert!(!find("xtask").published);
    }
}

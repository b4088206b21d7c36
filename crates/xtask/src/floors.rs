//! `cargo xtask floors`: a published package uses only packages on floors below it
//! (`docs/adr/0001-floors-and-crates.md`), and its manifest says what crates.io shows.

use std::process::ExitCode;

use crate::workspace::{Dependency, Kind, Package, Workspace};

const TESTKIT: &str = "martlet-testkit";

/// The floor of a folder. `crates/testkit` stands beside the floors: see [`arrow`].
fn floor(folder: &str) -> Option<u8> {
    match folder {
        "crates/base" => Some(0),
        "crates/resilience" | "crates/store" => Some(1),
        "crates/core" | "crates/saga" | "crates/events" => Some(2),
        "crates/auth" | "crates/reqwest" | "crates/webhooks" | "crates/pipeline" | "crates/observe" => {
            Some(3)
        }
        "crates/martlet" => Some(5),
        _ if folder.starts_with("crates/stores/") || folder.starts_with("crates/brokers/") => Some(3),
        _ if folder.starts_with("crates/connectors/") => Some(4),
        _ => None,
    }
}

const HTTP: &[&str] =
    &["http", "http-body", "http-body-util", "hyper", "hyper-util", "h2", "axum", "tower-http", "ureq"];
const SQL: &[&str] = &["rusqlite", "libsqlite3-sys", "tokio-postgres", "sqlx", "diesel", "redis"];
const CREDENTIALS: &[&str] = &["oauth2", "jsonwebtoken"];

/// Why a folder must not know a package that is not ours.
fn foreign(folder: &str, dependency: &Dependency) -> Option<&'static str> {
    let name = dependency.name.as_str();
    let is = |names: &[&str]| names.contains(&name);
    match folder {
        _ if name == "reqwest" || name.starts_with("reqwest-") => {
            (folder != "crates/reqwest").then_some("only crates/reqwest sees reqwest")
        }
        "crates/base" => (!(dependency.optional && is(&["tokio", "tracing"])))
            .then_some("the ground floor is std only; tokio and tracing are behind features"),
        "crates/resilience" | "crates/store" if is(HTTP) || is(SQL) => {
            Some("floor 1 knows neither HTTP nor SQL")
        }
        "crates/core" if is(SQL) || is(CREDENTIALS) => {
            Some("the core knows credential contracts and state, not their libraries")
        }
        "crates/saga" | "crates/events" if is(HTTP) => Some("sagas and events know no HTTP"),
        _ => None,
    }
}

/// Why a package of ours must not depend on another one of ours.
fn arrow(from: &Package, dependency: &Dependency, to: &Package) -> Option<String> {
    let below = match (floor(&from.folder), floor(&to.folder)) {
        (Some(from), Some(to)) => to < from,
        // The testkit speaks about calls and state, and tests everybody.
        (None, Some(_)) => ["crates/base", "crates/core", "crates/store"].contains(&to.folder.as_str()),
        _ => false,
    };
    if below {
        return None;
    }
    match dependency.kind {
        Kind::Dev if dependency.path_only => None,
        Kind::Dev => Some(
            "a dev-dependency that is not on a floor below must be path-only (`{ path = \"..\" }`), \
             or the two cannot be published"
                .to_owned(),
        ),
        Kind::Normal if to.name == TESTKIT && from.folder.starts_with("crates/connectors/") => {
            (!only_sim_enables(from, dependency))
                .then(|| "the testkit is optional, behind `sim` alone".to_owned())
        }
        Kind::Normal | Kind::Build => Some(format!("{} is not on a floor below {}", to.folder, from.folder)),
    }
}

/// Whether a dependency comes with the feature `sim` and with no other, and `sim` is off by default.
/// `name?/feature` switches nothing on.
fn only_sim_enables(package: &Package, dependency: &Dependency) -> bool {
    let name = dependency.name.as_str();
    let enables = |item: &String| item.strip_prefix("dep:").unwrap_or(item).split('/').next() == Some(name);
    let others = || package.features.iter().filter(|(feature, _)| *feature != "sim");
    let by_default =
        others().any(|(feature, items)| feature == "default" && items.contains(&"sim".to_owned()));
    dependency.optional && !by_default && !others().any(|(_, items)| items.iter().any(enables))
}

/// Everything that is wrong, one line each.
fn violations(workspace: &Workspace) -> Vec<String> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        let Package { name, folder, .. } = package;
        if !package.shares_lints {
            found.push(format!("{name}: its manifest lacks `[lints] workspace = true`"));
        }
        // Examples, benches and tools stand on top of everything, and nobody depends on them.
        if !package.published {
            continue;
        }
        if floor(folder).is_none() && name != TESTKIT {
            found.push(format!("{name}: {folder} has no floor (crates/xtask/src/floors.rs, docs/adr/0001)"));
        }
        found.extend(package.missing.iter().map(|field| format!("{name}: its manifest lacks `{field}`")));
        for dependency in &package.dependencies {
            let to = workspace.packages.iter().find(|package| package.name == dependency.name);
            let reason = match to {
                Some(to) => arrow(package, dependency, to),
                None if dependency.kind == Kind::Dev => None,
                None => foreign(folder, dependency).map(str::to_owned),
            };
            if let Some(reason) = reason {
                found.push(format!("{name} -> {} ({:?}): {reason}", dependency.name, dependency.kind));
            }
        }
    }
    found
}

pub(crate) fn run() -> Result<ExitCode, String> {
    let workspace = Workspace::load()?;
    let found = violations(&workspace);
    if found.is_empty() {
        println!("floors: {} published packages, no arrow upward", workspace.published().count());
        return Ok(ExitCode::SUCCESS);
    }
    for violation in found {
        eprintln!("{violation}");
    }
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str) -> Package {
        Package {
            name: format!("martlet-{}", folder.rsplit('/').next().unwrap()),
            version: "0.1.0".to_owned(),
            folder: folder.to_owned(),
            published: true,
            dependencies: Vec::new(),
            features: [("default".to_owned(), Vec::new())].into(),
            missing: Vec::new(),
            shares_lints: true,
        }
    }

    fn dependency(name: &str) -> Dependency {
        Dependency { name: name.to_owned(), kind: Kind::Normal, optional: false, path_only: false }
    }

    /// A family with one forged dependency of the package in `folder`.
    fn forged(folder: &str, forgery: Dependency, change: impl FnOnce(&mut Package)) -> Vec<String> {
        let folders = "base store core reqwest pipeline stores/sqlite connectors/hubspot connectors/mailchimp \
                       martlet testkit";
        let mut packages: Vec<Package> =
            folders.split_whitespace().map(|folder| package(&format!("crates/{folder}"))).collect();
        packages.push(Package { published: false, ..package("examples") });
        let from = packages.iter_mut().find(|package| package.folder == folder).unwrap();
        from.dependencies.push(forgery);
        change(from);
        violations(&Workspace { root: ".".into(), target: "target".into(), packages })
    }

    fn arrow_is_refused(folder: &str, to: &str) -> bool {
        let found = forged(folder, dependency(to), |_| ());
        let named = found.iter().all(|line| line.contains(&format!(" -> {to} (Normal): ")));
        assert!(named && found.len() <= 1, "{found:?}");
        !found.is_empty()
    }

    #[test]
    fn the_workspace_stands_on_its_floors() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.published().count() >= 11, "the family is not read");
        assert_eq!(violations(&workspace), Vec::<String>::new());
    }

    #[test]
    fn arrows_downward_are_free() {
        assert!(!arrow_is_refused("crates/core", "martlet-store"));
        assert!(!arrow_is_refused("crates/connectors/hubspot", "martlet-pipeline"));
        assert!(!arrow_is_refused("crates/martlet", "martlet-hubspot"));
        assert!(!arrow_is_refused("crates/testkit", "martlet-core"));
        assert!(!arrow_is_refused("examples", "martlet-testkit"));
        assert!(!arrow_is_refused("examples", "reqwest"));
    }

    #[test]
    fn arrows_upward_and_sideways_are_refused_by_name() {
        assert!(arrow_is_refused("crates/base", "martlet-store"));
        assert!(arrow_is_refused("crates/store", "martlet-core"));
        assert!(arrow_is_refused("crates/pipeline", "martlet-sqlite"));
        assert!(arrow_is_refused("crates/reqwest", "martlet-hubspot"));
        assert!(arrow_is_refused("crates/connectors/hubspot", "martlet-mailchimp"));
        assert!(arrow_is_refused("crates/core", "martlet-testkit"));
        assert!(arrow_is_refused("crates/martlet", "martlet-testkit"));
        assert!(arrow_is_refused("crates/testkit", "martlet-pipeline"));
        assert!(arrow_is_refused("crates/martlet", "martlet-examples"));
    }

    #[test]
    fn foreign_packages_stay_where_they_belong() {
        assert!(arrow_is_refused("crates/connectors/hubspot", "reqwest"));
        assert!(arrow_is_refused("crates/core", "reqwest-middleware"));
        assert!(!arrow_is_refused("crates/reqwest", "reqwest"));
        assert!(arrow_is_refused("crates/store", "http"));
        assert!(arrow_is_refused("crates/store", "rusqlite"));
        assert!(!arrow_is_refused("crates/stores/sqlite", "rusqlite"));
        assert!(arrow_is_refused("crates/core", "oauth2"));
        assert!(arrow_is_refused("crates/core", "rusqlite"));
        assert!(!arrow_is_refused("crates/core", "http"));
        assert!(arrow_is_refused("crates/base", "serde"));
        assert!(arrow_is_refused("crates/base", "tokio"), "only behind a feature");
        let optional = Dependency { optional: true, ..dependency("tokio") };
        assert_eq!(forged("crates/base", optional, |_| ()), Vec::<String>::new());
    }

    #[test]
    fn build_dependencies_count_like_normal_ones() {
        let build = Dependency { kind: Kind::Build, ..dependency("martlet-core") };
        assert_eq!(forged("crates/store", build, |_| ()).len(), 1);
        let build = Dependency { kind: Kind::Build, optional: true, ..dependency(TESTKIT) };
        assert_eq!(forged("crates/connectors/hubspot", build, |_| ()).len(), 1);
    }

    #[test]
    fn a_dev_dependency_upward_must_be_path_only() {
        let dev = Dependency { kind: Kind::Dev, path_only: true, ..dependency(TESTKIT) };
        assert_eq!(forged("crates/base", dev.clone(), |_| ()), Vec::<String>::new());
        let versioned = Dependency { path_only: false, ..dev };
        assert_eq!(forged("crates/base", versioned, |_| ()).len(), 1);
        let below = Dependency { kind: Kind::Dev, ..dependency("martlet-base") };
        assert_eq!(forged("crates/store", below, |_| ()), Vec::<String>::new());
    }

    #[test]
    fn a_connector_may_have_the_testkit_behind_sim_alone() {
        let testkit = Dependency { optional: true, ..dependency(TESTKIT) };
        let with = |feature: &str, item: &str| {
            forged("crates/connectors/hubspot", testkit.clone(), |hubspot| {
                hubspot.features.insert("sim".to_owned(), vec![format!("dep:{TESTKIT}")]);
                hubspot.features.entry(feature.to_owned()).or_default().push(item.to_owned());
            })
        };
        assert_eq!(with("sim", "martlet-testkit/extra"), Vec::<String>::new());
        assert_eq!(with("pipeline", "martlet-testkit?/extra"), Vec::<String>::new());
        assert_eq!(with("webhooks", "dep:martlet-testkit").len(), 1);
        assert_eq!(with("webhooks", "martlet-testkit/extra").len(), 1);
        assert_eq!(with("default", "sim").len(), 1, "connectors bring no simulator by default");
        assert!(arrow_is_refused("crates/connectors/hubspot", TESTKIT), "not optional");
    }

    #[test]
    fn a_manifest_that_says_too_little_is_named() {
        let below = || Dependency { kind: Kind::Dev, ..dependency("martlet-base") };
        let found = forged("crates/store", below(), |store| store.missing.push("description"));
        assert_eq!(found, ["martlet-store: its manifest lacks `description`"]);
        let found = forged("examples", below(), |examples| examples.shares_lints = false);
        assert_eq!(found, ["martlet-examples: its manifest lacks `[lints] workspace = true`"]);
        let found = forged("crates/store", below(), |store| store.folder = "crates/cellar".to_owned());
        assert!(found.iter().any(|line| line.contains("crates/cellar has no floor")), "{found:?}");
    }
}

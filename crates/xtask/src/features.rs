//! `cargo xtask features`: in the workspace's builds the members lend each other their features. A
//! stranger adds one crate alone, so each is checked alone: with its default features, with none, and with
//! each feature by itself. (What `cargo hack --each-feature` does; a tool to install for these twenty lines
//! would cost more time than they do.)

use std::process::ExitCode;

use crate::workspace::{Package, Workspace};

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    for package in Workspace::load()?.published() {
        for choice in choices(package) {
            println!("features: {} {}", package.name, choice.join(" "));
            let mut cargo = crate::cargo::command();
            cargo.args(["clippy", "--quiet", "-p", &package.name]).args(&choice).args(args);
            let status = crate::cargo::status(cargo)?;
            if !status.success() {
                return Ok(crate::cargo::exit_code(status));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments of each check.
fn choices(package: &Package) -> Vec<Vec<String>> {
    let alone =
        |feature: &str| vec!["--no-default-features".to_owned(), "--features".to_owned(), feature.to_owned()];
    let has_defaults = package.features.get("default").is_some_and(|features| !features.is_empty());
    let mut choices = vec![Vec::new()];
    if has_defaults {
        choices.push(vec!["--no-default-features".to_owned()]);
    }
    choices.extend(
        package.features.keys().filter(|feature| *feature != "default").map(|feature| alone(feature)),
    );
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[(&str, &[&str])]) -> Package {
        let owned = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        let features = features.iter().map(|(name, items)| ((*name).to_owned(), owned(items))).collect();
        Package { features, ..Package::default() }
    }

    fn lines(features: &[(&str, &[&str])]) -> Vec<String> {
        choices(&package(features)).iter().map(|choice| choice.join(" ")).collect()
    }

    #[test]
    fn each_feature_is_checked_alone_and_none_and_the_defaults() {
        assert_eq!(lines(&[]), [""]);
        assert_eq!(lines(&[("default", &[]), ("sim", &[])]), ["", "--no-default-features --features sim"]);
        assert_eq!(
            lines(&[("default", &["rustls"]), ("rustls", &[])]),
            ["", "--no-default-features", "--no-default-features --features rustls"]
        );
    }
}

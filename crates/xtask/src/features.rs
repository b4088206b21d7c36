//! `cargo xtask features`: in the workspace's builds the members lend each other their features. A
//! stranger adds one crate alone, so each is checked alone.

use std::process::ExitCode;

use crate::workspace::Workspace;

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    for package in Workspace::load()?.published() {
        let has_defaults = package.features.get("default").is_some_and(|features| !features.is_empty());
        let choices: &[&[&str]] = if has_defaults { &[&[], &["--no-default-features"]] } else { &[&[]] };
        for choice in choices {
            println!("features: {} {}", package.name, choice.join(" "));
            let mut cargo = crate::cargo::command();
            cargo.args(["clippy", "--quiet", "-p", &package.name]).args(*choice).args(args);
            let status = crate::cargo::status(cargo)?;
            if !status.success() {
                return Ok(crate::cargo::exit_code(status));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

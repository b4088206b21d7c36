//! `cargo xtask package`: what `cargo publish` would upload.

use std::process::ExitCode;

use crate::workspace::Workspace;

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    let workspace = Workspace::load()?;
    let verify = args.iter().any(|arg| arg == "--verify");
    let mut cargo = crate::cargo::command();
    // One call for all: cargo then resolves the family against what it has just packed.
    cargo.args(["package", "--allow-dirty", "--quiet"]);
    if !verify {
        cargo.arg("--no-verify");
    }
    for package in workspace.published() {
        cargo.args(["-p", &package.name]);
    }
    cargo.args(args.iter().filter(|arg| *arg != "--verify"));
    let status = crate::cargo::status(cargo)?;
    if !status.success() {
        return Ok(crate::cargo::exit_code(status));
    }
    for package in workspace.published() {
        let file = format!("{}-{}.crate", package.name, package.version);
        let bytes = std::fs::metadata(workspace.target.join("package").join(&file))
            .map_err(|error| format!("{file} was not packed: {error}"))?
            .len();
        println!("{file}  {} KiB", bytes.div_ceil(1024));
    }
    Ok(ExitCode::SUCCESS)
}

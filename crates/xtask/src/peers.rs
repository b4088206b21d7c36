//! `cargo xtask peers`: the benches that have peers outside Rust, beside them. Not part of CI: the peers come from PyPI.

use std::process::{Command, ExitCode};

use crate::workspace::Workspace;

const PACKAGE: &str = "martlet-benches-extract";
/// Where the bench looks for the interpreter that has the peers.
const PYTHON: &str = "MARTLET_EXTRACT_PYTHON";

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    let workspace = Workspace::load()?;
    // Kept with what is built: the second run finds them installed, and `cargo clean` removes them.
    let folder = workspace.target.join("peers");
    let python = folder.join("bin/python");
    if !python.exists() {
        step(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let versions = workspace.root.join("benches/extract/peers/requirements.txt");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    step(Command::new(&python).args(pip).arg(&versions))?;

    let mut cargo = crate::cargo::command();
    cargo.args(["bench", "-p", PACKAGE, "--bench", "extract"]).args(args).env(PYTHON, &python);
    Ok(crate::cargo::exit_code(crate::cargo::status(cargo)?))
}

/// Runs it to a good end.
fn step(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}: {command:?}")),
        Err(error) => Err(format!("{program} does not start: {error}")),
    }
}

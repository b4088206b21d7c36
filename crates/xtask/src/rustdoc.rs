//! rustdoc with what it allows nightly compilers only: reading code as docs.rs does, writing JSON, and checking the error codes of
//! `compile_fail` blocks.
//!
//! `RUSTC_BOOTSTRAP` allows it a stable one. Set for all of cargo it would reach the build scripts of half the dependencies, and
//! have them compiled again; so cargo is told that this program is its rustdoc.

use std::process::{Command, ExitCode};

/// The path of the real rustdoc, in the environment of cargo and so of the program that cargo takes for rustdoc.
const REAL: &str = "MARTLET_XTASK_RUSTDOC";

/// Has `cargo` run rustdoc through this program.
pub(crate) fn unlock(cargo: &mut Command) -> Result<(), String> {
    let ours = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let real = std::env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into());
    cargo.env("RUSTDOC", ours).env(REAL, real);
    Ok(())
}

/// Runs as rustdoc, if cargo started us in its place.
pub(crate) fn in_its_place() -> Option<Result<ExitCode, String>> {
    let mut real = Command::new(std::env::var_os(REAL)?);
    real.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").env_remove(REAL);
    Some(crate::cargo::status(real).map(crate::cargo::exit_code))
}

/// `cargo xtask docs`: the documentation of all packages as docs.rs builds it, marks of features included; warnings are errors.
pub(crate) fn docs(args: &[String]) -> Result<ExitCode, String> {
    let mut cargo = crate::cargo::command();
    cargo.args(["doc", "--workspace", "--no-deps", "--all-features"]).args(args);
    cargo.env("RUSTDOCFLAGS", "-D warnings --cfg docsrs");
    unlock(&mut cargo)?;
    Ok(crate::cargo::exit_code(crate::cargo::status(cargo)?))
}

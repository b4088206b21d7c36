//! Running cargo from a program that cargo runs.

use std::process::{Command, ExitCode, ExitStatus};

/// The cargo that runs us, without what it told us about ourselves: a build script that asks for
/// `CARGO_PKG_NAME` and the like would be rebuilt when a person calls cargo directly.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if is_ours {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Runs it to its end.
pub(crate) fn status(mut cargo: Command) -> Result<ExitStatus, String> {
    cargo.status().map_err(|error| format!("cargo does not start: {error}"))
}

/// Cargo's exit code as ours; 1 when a signal ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// The version of the compiler that cargo uses: `1.95.0`.
pub(crate) fn rust_version() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).arg("--version").output().map_err(|e| format!("rustc does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split(' ').nth(1).map(str::to_owned).ok_or_else(|| format!("rustc says {text:?}"))
}

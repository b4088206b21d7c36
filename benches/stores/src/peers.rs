//! Other projects, in a program of their own.

use crate::Outcome;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Asks the program for something, and reads the number that it prints.
pub(crate) fn ask(program: &Path, args: &[&OsStr]) -> Outcome<f64> {
    let output = Command::new(program).args(args).output()?;
    if !output.status.success() {
        return Err(format!("the peers failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

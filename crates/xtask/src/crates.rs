//! `cargo xtask crates`: how much a stranger compiles who adds one connector from the facade.

use std::collections::BTreeSet;
use std::process::ExitCode;

const SELECTION: &[&str] = &["-p", "martlet", "--no-default-features", "--features", "hubspot,rustls"];
const AT_MOST: usize = 180;

pub(crate) fn run() -> Result<ExitCode, String> {
    let crates = compiled()?;
    println!("crates: {} are compiled for {} (at most {AT_MOST})", crates.len(), SELECTION.join(" "));
    Ok(if crates.len() <= AT_MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The packages of [`SELECTION`] on this system: build scripts' and macros' too, dev-dependencies not.
fn compiled() -> Result<BTreeSet<String>, String> {
    let output = crate::cargo::command()
        .args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(SELECTION)
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // `name v1.2.3 (where, or a mark that it was shown before)`.
    let name_and_version = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(text.lines().map(name_and_version).filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connector_from_the_facade_compiles_at_most_180_crates() {
        let crates = compiled().unwrap();
        println!("{} crates", crates.len());
        for name in ["martlet-hubspot ", "martlet-core ", "rustls ", "serde_derive "] {
            assert!(crates.iter().any(|line| line.starts_with(name)), "{name} is not counted");
        }
        assert!(crates.len() <= AT_MOST, "{} crates: {crates:?}", crates.len());
        assert!(!crates.iter().any(|line| line.starts_with("martlet-mailchimp ")), "not selected");
    }
}

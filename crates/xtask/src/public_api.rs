//! `cargo xtask public-api`: what each published package promises, one line an item, against the files in `api/`.
//!
//! The lists hold every public item with its type, the traits it implements, and of `Send`, `Sync` and `Unpin` the exceptions:
//! a type that is not named in a line `impl !Send for ..` can be sent.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use crate::workspace::{Package, Workspace};

/// The version whose rustdoc writes the JSON that is read here. Another one's lists may differ in how they are written.
const RUST: &str = "1.95";

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    let bless = match args {
        [] => false,
        [arg] if arg == "--bless" => true,
        _ => return Err("public-api takes --bless and nothing else".to_owned()),
    };
    let workspace = Workspace::load()?;
    let rust = crate::cargo::rust_version()?;
    if !rust.starts_with(RUST) {
        return Err(format!(
            "the lists are made by Rust {RUST}, this is {rust}: rustup run {RUST} cargo xtask public-api"
        ));
    }
    let mut cargo = crate::cargo::command();
    cargo.args(["doc", "--quiet", "--lib", "--no-deps", "--all-features"]);
    for package in workspace.published() {
        cargo.args(["-p", &package.name]);
    }
    cargo.env("RUSTDOCFLAGS", "-Z unstable-options --output-format json");
    crate::rustdoc::unlock(&mut cargo)?;
    let status = crate::cargo::status(cargo)?;
    if !status.success() {
        return Ok(crate::cargo::exit_code(status));
    }

    let folder = workspace.root.join("api");
    std::fs::create_dir_all(&folder).map_err(|error| format!("api: {error}"))?;
    let mut expected: BTreeSet<String> = BTreeSet::new();
    let mut changed = 0;
    for package in workspace.published() {
        let file = format!("{}.txt", package.name);
        let now = list(package, &workspace.target)?;
        let before = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        if now != before {
            changed += 1;
            println!("{}:", package.name);
            print!("{}", difference(&before, &now));
            if bless {
                std::fs::write(folder.join(&file), now).map_err(|error| format!("api/{file}: {error}"))?;
            }
        }
        expected.insert(file);
    }
    for entry in std::fs::read_dir(&folder).map_err(|error| format!("api: {error}"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !expected.contains(&name) {
            changed += 1;
            println!("api/{name} is of no published package");
            if bless {
                std::fs::remove_file(entry.path()).map_err(|error| format!("api/{name}: {error}"))?;
            }
        }
    }
    if changed == 0 {
        println!("public-api: {} lists as they were", expected.len());
    } else if !bless {
        eprintln!(
            "the public API is not as in api/: if that is meant, `cargo xtask public-api --bless` (docs/semver.md)"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn list(package: &Package, target: &Path) -> Result<String, String> {
    let file = target.join("doc").join(format!("{}.json", package.name.replace('-', "_")));
    let api = public_api::Builder::from_rustdoc_json(&file)
        .omit_blanket_impls(true)
        .build()
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = api.items().map(|item| item.to_string()).filter(|line| is_said(line));
    Ok(lines.map(|line| line + "\n").collect())
}

/// Of the traits that types have by themselves only what is missing is said.
fn is_said(line: &str) -> bool {
    // Methods that the line of their `impl` already promises, and a trait of the compiler.
    let implied = [
        "::clone(&self) -> ",
        "::eq(&self, &",
        "::hash<__H: ",
        "::fmt(&self, &mut core::fmt::Formatter<'_>)",
    ];
    if line.starts_with("pub fn ") && implied.into_iter().any(|method| line.contains(method))
        || line.contains("impl core::marker::StructuralPartialEq for ")
    {
        return false;
    }
    let Some((_, implemented)) = line.split_once("impl").filter(|(before, _)| before.is_empty()) else {
        return true;
    };
    let by_itself = |path: &str| implemented.contains(&format!("{path} for "));
    let of_interest = ["core::marker::Send", "core::marker::Sync", "core::marker::Unpin"];
    let others = [
        "core::marker::Freeze",
        "core::marker::UnsafeUnpin",
        "core::panic::unwind_safe::UnwindSafe",
        "core::panic::unwind_safe::RefUnwindSafe",
    ];
    if others.into_iter().any(by_itself) {
        return false;
    }
    !of_interest.into_iter().any(by_itself) || implemented.contains(" !core::marker::")
}

/// What is gone and what is new.
fn difference(before: &str, now: &str) -> String {
    let lines = |text: &'_ str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, now) = (lines(before), lines(now));
    let gone = before.difference(&now).map(|line| format!("  - {line}\n"));
    let new = now.difference(&before).map(|line| format!("  + {line}\n"));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_type_has_is_not_said_and_what_one_lacks_is() {
        assert!(!is_said("impl core::marker::Send for martlet_core::Client"));
        assert!(!is_said(
            "impl<T> core::marker::Sync for martlet_core::Pager<T> where T: core::marker::Sync"
        ));
        assert!(!is_said("impl !core::panic::unwind_safe::UnwindSafe for martlet_core::Client"));
        assert!(is_said("impl !core::marker::Send for martlet_core::Next<'a>"));
        assert!(is_said("impl<T> !core::marker::Unpin for martlet_core::Pager<T>"));
        assert!(is_said("impl core::clone::Clone for martlet_core::Client"));
        assert!(is_said("pub fn martlet_core::Client::layers(&self)"));
        assert!(!is_said("pub fn martlet_core::Client::clone(&self) -> martlet_core::Client"));
    }

    #[test]
    fn a_difference_names_what_is_gone_and_what_is_new() {
        assert_eq!(difference("a\nb\n", "b\nc\n"), "  - a\n  + c\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}

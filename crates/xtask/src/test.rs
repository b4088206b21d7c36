//! `cargo xtask test`: all tests with one command, and nothing skipped in silence.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long to wait for the rest of the output when cargo has ended: a process that a test left
/// behind may hold the pipe open for ever.
const STRAGGLERS: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let mut cargo = crate::cargo::command();
    cargo.args(cargo_args(args));
    // Checks that a block marked `compile_fail,E0277` fails by that error, and not by any other.
    crate::rustdoc::unlock(&mut cargo)?;
    // They end when this function does, however it ends.
    let _servers = crate::servers::provide(&mut cargo, crate::servers::chosen(args).as_deref(), in_ci)?;
    // Only stderr goes through us: tests report SKIPPED there, and libtest keeps its terminal.
    cargo.stderr(Stdio::piped());
    if std::io::stderr().is_terminal() && std::env::var_os("CARGO_TERM_COLOR").is_none() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = cargo.spawn().map_err(|error| format!("cargo does not start: {error}"))?;
    let stderr = child.stderr.take().expect("stderr is a pipe, as asked for above");
    let (found, skipped) = channel();
    std::thread::spawn(move || pass_on(stderr, &mut std::io::stderr(), &found));
    let status = child.wait().map_err(|error| format!("cargo cannot be waited for: {error}"))?;
    let skipped = collect(&skipped, STRAGGLERS);

    for line in &skipped {
        eprintln!("{line}");
    }
    let refused = skipped.iter().filter(|line| !cannot_be_had(line)).count();
    if status.success() && in_ci && refused > 0 {
        eprintln!("xtask: {refused} skipped, and CI accepts none: provide what the lines above ask for");
        return Ok(ExitCode::FAILURE);
    }
    Ok(crate::cargo::exit_code(status))
}

/// `cargo test` over everything, except where the arguments choose packages or features themselves.
fn cargo_args(args: &[String]) -> Vec<String> {
    // What follows `--` is for the test binaries.
    let ours = args.split(|arg| arg == "--").next().unwrap_or_default();
    let chooses = |options: &[&str]| {
        ours.iter().any(|arg| {
            options.iter().any(|option| match arg.strip_prefix(option) {
                Some("") => true,
                Some(rest) => rest.starts_with('=') || !option.starts_with("--"), // `--package=x`, `-px`
                None => false,
            })
        })
    };
    let mut all = vec!["test".to_owned()];
    if !chooses(&["-p", "--package", "--workspace", "--all", "--manifest-path"]) {
        all.push("--workspace".to_owned());
    }
    if !chooses(&["-F", "--features", "--all-features", "--no-default-features"]) {
        all.push("--all-features".to_owned());
    }
    all.extend_from_slice(args);
    all
}

/// Copies line by line as it comes, and sends the lines that say SKIPPED.
fn pass_on(from: impl Read, to: &mut impl Write, found: &Sender<String>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    // A pipe that breaks has nothing more to say; cargo's exit code tells the rest.
    while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // Nobody may be reading us any more: still drain the pipe, or cargo would stall.
        let _ = to.write_all(&line);
        if let Some(skipped) = skipped(&line) {
            let _ = found.send(skipped);
        }
        line.clear();
    }
}

/// The text of a line that reports a skipped test.
fn skipped(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    line.contains("SKIPPED").then(|| line.trim_end().to_owned())
}

/// Whether a test says that what it lacks is outside the project and cannot be installed, such as files kept beside it:
/// shown at the end like every other one, but nothing that CI could mend.
fn cannot_be_had(line: &str) -> bool {
    line.contains("SKIPPED (cannot be had): ")
}

/// What was found until the sender is gone, or silent for `patience`.
fn collect(found: &Receiver<String>, patience: Duration) -> Vec<String> {
    std::iter::from_fn(|| found.recv_timeout(patience).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> String {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        cargo_args(&args).join(" ")
    }

    #[test]
    fn without_arguments_everything_is_tested() {
        assert_eq!(args(""), "test --workspace --all-features");
    }

    #[test]
    fn a_package_narrows_the_run_in_every_spelling() {
        assert_eq!(args("-p martlet-store"), "test --all-features -p martlet-store");
        assert_eq!(args("-pmartlet-store"), "test --all-features -pmartlet-store");
        assert_eq!(args("--package=martlet-store"), "test --all-features --package=martlet-store");
        assert_eq!(args("--workspace --exclude x"), "test --all-features --workspace --exclude x");
    }

    #[test]
    fn chosen_features_replace_all_of_them() {
        assert_eq!(args("--no-default-features"), "test --workspace --no-default-features");
        assert_eq!(args("-p a --features sim"), "test -p a --features sim");
        assert_eq!(args("-Fsim"), "test --workspace -Fsim");
    }

    #[test]
    fn an_option_is_not_mistaken_for_one_that_begins_alike() {
        assert_eq!(args("--all-targets"), "test --workspace --all-features --all-targets");
        assert_eq!(args("--profile ci"), "test --workspace --all-features --profile ci");
    }

    #[test]
    fn what_follows_the_dashes_belongs_to_the_tests() {
        assert_eq!(args("-- a_name -p"), "test --workspace --all-features -- a_name -p");
        assert_eq!(args("-p a -- --all-features"), "test --all-features -p a -- --all-features");
    }

    #[test]
    fn only_lines_that_say_so_are_skipped() {
        assert_eq!(skipped(b"SKIPPED prism: not here\n").as_deref(), Some("SKIPPED prism: not here"));
        assert_eq!(skipped(b"test a ... SKIPPED b\r\n").as_deref(), Some("test a ... SKIPPED b"));
        assert_eq!(skipped(b"test skipped_rows_are_counted ... ok\n"), None);
        assert!(skipped(b"\xff SKIPPED").is_some(), "text of another encoding does not hide it");
    }

    #[test]
    fn only_what_cannot_be_had_may_be_skipped_in_ci() {
        assert!(cannot_be_had("SKIPPED (cannot be had): the shared vectors"));
        for line in ["SKIPPED prism: not here", "SKIPPED (cannot be had)", "SKIPPED: (cannot be had): x"] {
            assert!(!cannot_be_had(line), "{line}");
            assert!(skipped(line.as_bytes()).is_some(), "{line}");
        }
    }

    #[test]
    fn output_passes_through_unchanged_and_skips_are_found_in_order() {
        let text = "one\nSKIPPED a\n\ntwo\nSKIPPED b";
        let (found, receiver) = channel();
        let mut copy = Vec::new();
        pass_on(text.as_bytes(), &mut copy, &found);
        drop(found);
        assert_eq!(copy, text.as_bytes());
        assert_eq!(collect(&receiver, STRAGGLERS), ["SKIPPED a", "SKIPPED b"]);
    }

    #[test]
    fn a_pipe_that_stays_open_does_not_hold_the_run() {
        let (found, receiver) = channel();
        found.send("SKIPPED a".to_owned()).unwrap();
        assert_eq!(collect(&receiver, Duration::from_millis(1)), ["SKIPPED a"]);
        drop(found);
    }
}

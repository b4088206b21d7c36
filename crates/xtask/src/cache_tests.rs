//! `cargo xtask cache-tests`: what the suite for HTTP caches, npm's `http-cache-tests`, says about the client's cache.
//!
//! `tests/cache-proxy` forwards what the suite asks through a client. The suite is fetched by its name and version into a folder
//! of the run, and needs Node and npm.

use crate::servers::{folder, free_port, log_file, output, wait_until_ready};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

const SUITE: &str = "http-cache-tests@0.4.5";
const PROXY: &str = "martlet-cache-proxy";

/// What was reached: fewer is a step back.
const AT_LEAST: [(&str, usize); 2] = [("required", 135), ("optimal", 48)];

/// Of the results that come with the suite, those to show beside ours.
const OTHERS: [&str; 6] = ["chrome", "firefox", "safari", "squid", "varnish", "nginx"];

/// Why a test fails, by the beginning of its id.
const REASONS: [(&str, &str); 12] = [
    ("invalidate-M-SEARCH", "the client has no such method"),
    ("head-", "the client has no HEAD"),
    ("partial-", "parts are neither kept nor served from what is kept"),
    ("stale-close-", "the origin hangs up, and an error of the proxy carries no count: nobody passes"),
    (
        "304-etag-update-response-ETag",
        "a 304 with another strong tag confirms nothing (RFC 9111, 4.3.4): asked again",
    ),
    ("age-parse-", "an Age that cannot be read makes an answer old (RFC 9111, 4.2.1)"),
    ("vary-normalise-", "values of headers are compared as they are written"),
    ("other-cookie", "a cookie is a credential, and credentials part answers"),
    ("method-POST", "the answer of a write is not kept for reads"),
    ("heuristic-599", "nothing is guessed for a status that nobody knows"),
    ("freshness-expires-", "what is no date of RFC 9110 is in the past"),
    ("freshness-max-age-", "what is no number is zero, and of several the first counts"),
];

/// Ends with its guard.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode, String> {
    if !args.is_empty() {
        return Err("cache-tests takes no arguments".to_owned());
    }
    let proxy = build()?;
    let folder = Folder(folder("cache-tests")?);
    let suite = fetch(&folder.0)?;
    let tests = tests(&suite)?;
    let results = judge(&suite, &proxy)?;
    let ours = Score::of(&tests, &results);
    println!("{SUITE}, the tests for private caches: passed of all\n");
    println!("{:<12} {:>12} {:>12} {:>12}", "", "required", "optimal", "check");
    ours.print("martlet");
    for name in OTHERS {
        let text = fs::read_to_string(suite.join(format!("results/{name}.json"))).unwrap_or_default();
        if let Ok(results) = serde_json::from_str(&text) {
            Score::of(&tests, &results).print(name);
        }
    }
    println!(
        "\nThe others' results came with the suite. \"check\" asks what a cache does, not whether that is right. Those that fail:\n"
    );
    for test in tests.iter().filter(|test| test.kind != "check" && results[&test.id] != Value::Bool(true)) {
        let reason = REASONS.iter().find(|(id, _)| test.id.starts_with(id));
        let reason =
            reason.map_or_else(|| format!("? {}", results[&test.id]), |(_, reason)| (*reason).to_owned());
        println!("{:<9} {}: {reason}", test.kind, test.id);
    }
    let back: Vec<_> = AT_LEAST.iter().filter(|(kind, passed)| ours.0[*kind].0 < *passed).collect();
    for (kind, passed) in &back {
        eprintln!("xtask: {kind}: {passed} passed before");
    }
    Ok(if back.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The proxy, built; its path.
fn build() -> Result<PathBuf, String> {
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--quiet", "-p", PROXY]);
    if !crate::cargo::status(cargo)?.success() {
        return Err(format!("{PROXY} does not build"));
    }
    Ok(crate::workspace::Workspace::load()?.target.join("debug").join(PROXY))
}

/// The suite and what it needs, in `folder`; where it is.
fn fetch(folder: &Path) -> Result<PathBuf, String> {
    let npm = |args: &[&str]| output(Command::new("npm").args(args).current_dir(folder));
    let archive = npm(&["pack", "--silent", SUITE])?;
    output(Command::new("tar").arg("xzf").arg(archive.trim()).current_dir(folder))?;
    // Beside the suite, whose own list of dependencies holds npm itself.
    npm(&["install", "--silent", "--no-save", "--ignore-scripts", "--prefix", ".", "node-fetch@2"])?;
    Ok(folder.join("package"))
}

struct Test {
    id: String,
    kind: String,
}

/// What the suite has for a cache that is nobody else's. `browser_skip` marks what is for proxies, `browser_only` what no proxy
/// can see.
fn tests(suite: &Path) -> Result<Vec<Test>, String> {
    let print = "import suites from './tests/index.mjs'; console.log(JSON.stringify(suites))";
    let text = output(Command::new("node").args(["--input-type=module", "-e", print]).current_dir(suite))?;
    let suites: Value = serde_json::from_str(&text).map_err(|error| format!("the suite's tests: {error}"))?;
    let all = suites.as_array().into_iter().flatten().filter_map(|suite| suite["tests"].as_array()).flatten();
    let ours = all.filter(|test| test["browser_skip"] != true && test["browser_only"] != true);
    let read = |test: &Value| {
        let kind = test["kind"].as_str().unwrap_or("required").to_owned();
        Some(Test { id: test["id"].as_str()?.to_owned(), kind })
    };
    Ok(ours.filter_map(read).collect())
}

/// Runs the suite against the proxy; its results by test: `true`, or what went wrong.
fn judge(suite: &Path, proxy: &Path) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("a program of the suite does not start: {error}");
    let (port, log) = (free_port()?, suite.join("server.log"));
    let server = Command::new("node")
        .arg("server/server.mjs")
        .env("npm_config_protocol", "http")
        .env("npm_config_port", port.to_string())
        .env("npm_config_pidfile", suite.join("server.pid"))
        .current_dir(suite)
        .stdout(Stdio::null())
        .stderr(log_file(&log)?)
        .spawn();
    let mut server = Process(server.map_err(failed)?);
    wait_until_ready(&mut server.0, port, &log)?;
    let proxy = Command::new(proxy).arg(format!("http://127.0.0.1:{port}")).stdout(Stdio::piped()).spawn();
    let mut proxy = Process(proxy.map_err(failed)?);
    let mut address = String::new();
    let stdout = proxy.0.stdout.take().ok_or("the proxy's output is not read")?;
    BufReader::new(stdout).read_line(&mut address).map_err(|error| format!("{PROXY}: {error}"))?;
    let results = output(
        Command::new("node")
            .args(["--no-warnings", "cli.mjs"])
            .env("npm_config_base", address.trim())
            // All tests.
            .env("npm_config_id", "")
            .env("npm_package_config_id", "")
            .current_dir(suite),
    )?;
    serde_json::from_str(&results).map_err(|error| format!("the suite's results: {error}"))
}

/// By kind: passed, and how many there are.
struct Score(BTreeMap<String, (usize, usize)>);

impl Score {
    fn of(tests: &[Test], results: &Value) -> Self {
        let mut score =
            BTreeMap::from(["required", "optimal", "check"].map(|kind| (kind.to_owned(), (0, 0))));
        for test in tests {
            let (passed, all) = score.entry(test.kind.clone()).or_default();
            *all += 1;
            *passed += usize::from(results[&test.id] == true);
        }
        Self(score)
    }

    fn print(&self, name: &str) {
        let cell =
            |kind: &str| self.0.get(kind).map_or_else(String::new, |(passed, all)| format!("{passed}/{all}"));
        println!("{name:<12} {:>12} {:>12} {:>12}", cell("required"), cell("optimal"), cell("check"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_counted_by_kind() {
        let test = |id: &str, kind: &str| Test { id: id.to_owned(), kind: kind.to_owned() };
        let tests =
            [test("a", "required"), test("b", "required"), test("c", "optimal"), test("d", "required")];
        let results = serde_json::json!({ "a": true, "b": ["Assertion", "no"], "c": true });
        let score = Score::of(&tests, &results).0;
        assert_eq!((score["required"], score["optimal"], score["check"]), ((1, 3), (1, 1), (0, 0)));
    }
}

//! The vendor's own client has to get along with the simulator.

use crate::support::{KEY, LIST};
use martlet_base::Clock;
use martlet_mailchimp::MemberStatus;
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions};
use martlet_testkit::SimServer;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

const VERSION: &str = "3.0.80";

fn installs(command: &str) -> bool {
    Command::new(command).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Past the test harness, which swallows what a passing test prints.
fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED the official Mailchimp client against the simulator: {why}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Installs the client below the target directory, unless it is there.
fn install(dir: &Path) -> Result<(), String> {
    let package = dir.join("node_modules/@mailchimp/mailchimp_marketing/package.json");
    let installed = std::fs::read(package).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if installed.is_some_and(|package| package["version"] == VERSION) {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let output = Command::new("npm")
        .current_dir(dir)
        .args(["install", "--prefix", ".", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"])
        .arg(format!("@mailchimp/mailchimp_marketing@{VERSION}"))
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(stderr(&output)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_gets_along_with_the_simulator() {
    if !installs("node") || !installs("npm") {
        return skip("node or npm is not installed");
    }
    // <target>/tmp is where cargo lets tests write.
    let dir: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../npm/mailchimp");
    let installed = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || install(&dir)
    });
    match installed.await.unwrap() {
        Ok(()) => {}
        Err(why) if std::env::var_os("CI").is_some() => panic!("npm install failed: {why}"),
        Err(why) => return skip(&format!("npm install failed: {}", why.lines().next().unwrap_or_default())),
    }
    let seed_members = vec![SeedMember::new("out@example.org", MemberStatus::Unsubscribed)];
    let sim = Arc::new(MailchimpSim::new(SimOptions { seed_members, ..SimOptions::default() }));
    let address = "127.0.0.1:0".parse().unwrap();
    let server = SimServer::start(sim.clone(), address, Clock::system(), None).await.unwrap();
    let base = format!("{}/3.0", server.url());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/client.js");
    let run = move || {
        Command::new("node")
            .env("NODE_PATH", dir.join("node_modules"))
            .arg(script)
            .args([base.as_str(), KEY, LIST])
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let out: Value = serde_json::from_slice(&output.stdout).unwrap();
    let amy = martlet_mailchimp::SubscriberHash::of("amy@example.org").to_string();
    let expected = json!({
        "ping": "Everything's Chimpy!",
        "before": 1,
        "set": ["Zoe@Example.org", "subscribed", "Zoë", "李小龍"],
        "batch": [1, ["unsubscribed"], 1],
        "batchError": ["nonsense", "ERROR_GENERIC", 1],
        "got": { "id": amy, "status": "subscribed" },
        "archived": "archived",
        "page": { "members": [], "total_items": 1 },
        "missing": [404, "Resource Not Found"],
        "refused": [401, "API Key Invalid"],
    });
    assert_eq!(out, expected);
    assert_eq!((sim.stats().resubscribed, sim.stats().violations), (0, 0));
    server.shutdown().await;
}

//! HubSpot's official client for Node must get along with the simulator.

use martlet_base::Clock;
use martlet_hubspot::sim::{HubSpotSim, SimOptions, seed_contact};
use martlet_testkit::SimServer;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

const PACKAGE: &str = "@hubspot/api-client@13.5.0";

/// The build's own folder: two levels above this binary's (`target/debug/deps`).
fn folder() -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    binary.ancestors().nth(3).unwrap().join("npm/hubspot")
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } = command.output().map_err(|e| format!("{name}: {e}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!("{name}: {status}\n{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// Installs the client once and keeps it.
fn install(folder: &Path) -> Result<(), String> {
    output(Command::new("node").arg("--version"))?;
    let installed = folder.join("node_modules/@hubspot/api-client/package.json");
    let version = std::fs::read_to_string(&installed).unwrap_or_default();
    if version.contains("\"version\": \"13.5.0\"") {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
    output(Command::new("npm").args(arguments).arg(folder).arg(PACKAGE).current_dir(folder)).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_node_client_gets_along_with_the_simulator() {
    let folder = folder();
    if let Err(why) = install(&folder) {
        assert!(std::env::var_os("CI").is_none(), "{PACKAGE} cannot be installed: {why}");
        // Past the test harness, which swallows what a passing test prints.
        let line =
            format!("SKIPPED the official HubSpot client: {}\n", why.lines().next().unwrap_or_default());
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    }
    let sim = Arc::new(HubSpotSim::new(SimOptions { contacts: 250, ..SimOptions::default() }));
    let server =
        SimServer::start(sim.clone(), ([127, 0, 0, 1], 0).into(), Clock::system(), None).await.unwrap();
    let script = folder.join("check.js");
    std::fs::write(&script, include_str!("npm.js")).unwrap();
    let first = seed_contact(42, 0, 250).id.to_string();
    let mut command = Command::new("node");
    command.arg(&script).arg(server.url()).arg("pat-sim").arg(first).current_dir(&folder);
    let ran = tokio::task::spawn_blocking(move || output(&mut command)).await.unwrap();
    server.shutdown().await;
    assert_eq!(ran.unwrap_or_else(|why| panic!("{why}")).trim(), "all is well");
    let stats = sim.stats();
    assert_eq!((stats.violations, stats.written), (0, 4), "{stats:?}");
}

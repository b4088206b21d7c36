//! Starting the examples.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// An example's program. `cargo test` does not build the programs of examples that have tests of their own, so they are built
/// here, with the features that `cargo xtask test` asks for: nothing else is compiled again then.
pub(crate) fn example(name: &str) -> PathBuf {
    static PROFILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut profile = std::env::current_exe().unwrap();
        profile.pop();
        profile.pop();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--workspace", "--all-features", "--examples", "--target-dir"]);
        cargo.arg(profile.parent().unwrap());
        if !profile.ends_with("debug") {
            cargo.arg("--profile").arg(profile.file_name().unwrap());
        }
        assert!(cargo.status().unwrap().success(), "the examples do not build");
        profile
    });
    PROFILE.join("examples").join(name)
}

fn contact_sync() -> Command {
    let mut command = Command::new(example("contact_sync"));
    command.env_remove("HUBSPOT_TOKEN").env_remove("MAILCHIMP_API_KEY");
    command
}

/// Lets real time pass: the programs under test are processes of their own.
#[expect(clippy::disallowed_methods, reason = "no clock of ours reaches another process")]
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

/// A folder with a state file, and runs that use it.
pub(crate) struct Sync {
    folder: tempfile::TempDir,
}

/// A run that ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) stderr: String,
    /// `--json`, when it was written.
    pub(crate) json: Value,
}

impl Ended {
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.json[key].as_u64().unwrap_or_else(|| panic!("{key} is {}", self.json[key]))
    }
}

impl Sync {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = contact_sync();
        let json = self.folder.path().join("summary.json");
        if !line.contains("--state") {
            command.arg("--state").arg(self.folder.path().join("state.sqlite3"));
        }
        command.arg("--json").arg(json).args(line.split_whitespace());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_with(line, &[])
    }

    pub(crate) fn run_with(&self, line: &str, env: &[(&str, &str)]) -> Ended {
        let json = self.folder.path().join("summary.json");
        let _ = std::fs::remove_file(&json);
        let output = self.command(line).envs(env.iter().copied()).output().unwrap();
        let text = std::fs::read_to_string(&json).unwrap_or_else(|_| "null".to_owned());
        Ended {
            code: output.status.code(),
            text: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            json: serde_json::from_str(&text).unwrap(),
        }
    }

    /// A run that has to succeed.
    pub(crate) fn ok(&self, line: &str) -> Ended {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(0), "{line}:\n{}{}", ended.text, ended.stderr);
        ended
    }
}

/// Simulators in a process of their own, ended with this value.
pub(crate) struct Serving {
    child: Child,
    pub(crate) hubspot: String,
    pub(crate) mailchimp: String,
}

impl Serving {
    pub(crate) fn start(line: &str) -> Self {
        let mut child = contact_sync()
            .args(["--serve-simulators", "127.0.0.1:0"])
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = lines.next().expect("two lines").unwrap();
            line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned()
        };
        let (hubspot, mailchimp) = (address(), address());
        Self { child, hubspot, mailchimp }
    }
}

impl Serving {
    /// How many contacts HubSpot has given out.
    pub(crate) fn listed(&self) -> u64 {
        let address = self.hubspot.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /_sim/stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<Value>(body).unwrap()["listed"].as_u64().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

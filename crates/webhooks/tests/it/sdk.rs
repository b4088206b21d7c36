//! Cross-checks with the providers' own SDKs from npm, installed into `target/npm/webhooks`: what they sign verifies
//! here, and what we sign they accept.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use martlet_webhooks::{Outgoing, Signer, providers};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::round_trip::{NOW, P256_PRIVATE, P256_PUBLIC};
use crate::support::say;
use crate::vector_file::{Vector, bless, judge, own_files};

#[derive(Deserialize)]
struct Answer {
    made: Vec<Vector>,
    verdicts: Vec<Value>,
}

#[test]
fn the_providers_sdks_agree_with_us() {
    let version = Command::new("node").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        say("SKIPPED SDK cross-checks: node is not installed");
        return;
    }
    let folder = match installed() {
        Ok(folder) => folder,
        Err(problem) => {
            assert!(std::env::var_os("CI").is_none(), "{problem}");
            say(&format!("SKIPPED SDK cross-checks: {problem}"));
            return;
        }
    };
    let ours = ours();
    let question = json!({ "now": NOW.as_secs(), "ours": ours });
    let answer: Answer = serde_json::from_str(&run(&folder, &question.to_string())).unwrap();

    let mut count = BTreeMap::<&str, usize>::new();
    for vector in &answer.made {
        judge(vector).unwrap_or_else(|problem| panic!("{} ({}): {problem}", vector.id, vector.desc));
        *count.entry(&vector.provider).or_default() += 1;
    }
    assert_eq!(
        count.keys().copied().collect::<Vec<_>>(),
        ["github", "standard-webhooks", "stripe", "svix", "twilio"]
    );
    assert_eq!(answer.verdicts.len(), ours.len());
    for (asked, verdict) in ours.iter().zip(&answer.verdicts) {
        assert_eq!(*verdict == true, asked["valid"] == true, "{}: {verdict}", asked["sdk"]);
    }
    say(&format!(
        "SDK cross-checks: {} of theirs judged here, {} of ours judged there",
        answer.made.len(),
        ours.len()
    ));
    if bless() {
        let [_, (_, path)] = own_files();
        std::fs::write(path, serde_json::to_string_pretty(&answer.made).unwrap() + "\n").unwrap();
    }
}

/// What we sign for each SDK that verifies: right, and with one byte more.
fn ours() -> Vec<Value> {
    let whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut ours = Vec::new();
    for (provider, signing, verifying) in [
        (&providers::STRIPE, "whsec_test_secret", "whsec_test_secret"),
        (&providers::SVIX, whsec, whsec),
        (&providers::STANDARD_WEBHOOKS, whsec, whsec),
        (&providers::GITHUB, "It's a Secret", "It's a Secret"),
        (&providers::TWILIO, "12345", "12345"),
        (&providers::SENDGRID, P256_PRIVATE, P256_PUBLIC),
        (&providers::SLACK, "8f742231b10e", "8f742231b10e"),
    ] {
        for body in [
            "{\"id\":\"evt_1\"}\r\n",
            "{ \"id\" : 2, \"name\": \"Zoë ☕ \\u00e9\" }",
            "Body=a+b%2Bc&From=%2B14",
        ] {
            let json = body.starts_with('{');
            if !json && provider.id != "twilio" {
                continue;
            }
            let signer = Signer::new(provider, signing).unwrap();
            let signed = signer
                .sign(Outgoing::post("https://hooks.example.com:8443/in?a=b", "msg_1", body.as_bytes()), NOW)
                .unwrap();
            let headers: BTreeMap<String, &str> = signed
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap()))
                .collect();
            for (valid, end) in [(true, ""), (false, " ")] {
                ours.push(json!({
                    "sdk": provider.id, "url": signed.url, "headers": headers, "secret": verifying, "valid": valid,
                    "body": STANDARD.encode([&signed.body[..], end.as_bytes()].concat()),
                }));
            }
        }
    }
    ours
}

/// The folder with the packages, installed unless they are there.
fn installed() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
    let folder = target.join("npm/webhooks");
    let wanted = include_str!("../npm/package.json");
    let put = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).map_err(|error| format!("{}: {error}", folder.display()))
    };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let done = folder.join("installed.json");
    if std::fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
        put("sdk.mjs", include_str!("../npm/sdk.mjs"))?;
        return Ok(folder);
    }
    put("package.json", wanted)?;
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"])
        .current_dir(&folder)
        .output()
        .map_err(|error| format!("npm does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("npm install: {}", String::from_utf8_lossy(&output.stderr)));
    }
    put("installed.json", wanted)?;
    put("sdk.mjs", include_str!("../npm/sdk.mjs"))?;
    Ok(folder)
}

fn run(folder: &Path, question: &str) -> String {
    let mut node = Command::new("node")
        .arg("sdk.mjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The script reads everything before it writes, so the pipes cannot block each other.
    node.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

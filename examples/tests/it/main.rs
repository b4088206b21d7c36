//! The examples, run as a user runs them: as processes, with their output and exit codes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod day;
mod faults;
mod paging;
mod state;
mod support;

use support::{Serving, Sync, example};

#[test]
fn the_second_run_right_after_the_first_moves_nothing() {
    let sync = Sync::new();
    let first = sync.ok("--contacts 2000 --no-faults");
    assert_eq!(first.number("read"), 2_000);
    assert!(first.number("written") > 1_800);
    let sum =
        ["written", "unchanged", "skipped", "rejected"].map(|name| first.number(name)).iter().sum::<u64>();
    assert_eq!(sum, first.number("read"));
    for name in ["quota_violations", "resubscribed", "missing", "extra", "changed"] {
        assert_eq!(first.number(name), 0, "{name}");
    }
    assert_eq!(first.json["reconciled"], true);

    let second = sync.ok("--contacts 2000 --no-faults");
    assert_eq!((second.number("written"), second.number("archived")), (0, 0));
    assert_eq!(second.json["reconciled"], true);
}

#[test]
fn the_summary_as_json_has_every_key_that_was_promised() {
    let sync = Sync::new();
    let keys = "read written unchanged skipped archived rejected dead_letters requests retries quota_wait_seconds \
                quota_violations quota_use_ratio resubscribed reconciled missing extra changed seconds peak_rss_mib resumed";
    let run = sync.ok("--contacts 300 --no-faults");
    for key in keys.split_whitespace() {
        assert!(!run.json[key].is_null(), "{key}");
    }
}

#[test]
fn reading_the_source_again_agrees_too() {
    let sync = Sync::new();
    let run = sync.ok("--contacts 1000 --reconcile full --no-faults");
    assert_eq!((run.number("missing"), run.number("extra"), run.number("changed")), (0, 0, 0));
}

#[test]
fn people_who_opted_out_are_subscribed_again_only_when_asked_for() {
    let sync = Sync::new();
    let careful = sync.ok("--contacts 2000 --no-faults");
    assert_eq!(careful.number("resubscribed"), 0);
    assert!(careful.text.contains("opted out at destination"), "{}", careful.text);
    let asked = sync.ok("--contacts 2000 --resubscribe --no-faults");
    assert!(asked.number("resubscribed") > 0, "{}", asked.text);
    assert_eq!(asked.json["reconciled"], true);
}

#[test]
fn a_dry_run_changes_nothing() {
    let sync = Sync::new();
    let dry = sync.ok("--contacts 1000 --dry-run --no-faults");
    assert!(dry.number("written") > 0 && dry.text.contains("nothing was written"), "{}", dry.text);
    let real = sync.ok("--contacts 1000 --no-faults");
    assert_eq!(real.json["resumed"], false);
    assert!(real.number("written") > 900);
}

#[test]
fn simulators_in_another_process_are_found_by_their_printed_addresses() {
    let serving = Serving::start("--contacts 1500 --no-faults");
    let sync = Sync::new();
    let (hubspot, mailchimp) = (&serving.hubspot, &serving.mailchimp);
    let run = sync.ok(&format!("--hubspot-url {hubspot} --mailchimp-url {mailchimp}"));
    assert_eq!((run.number("read"), run.number("quota_violations")), (1_500, 0));
}

#[test]
fn what_the_user_got_wrong_is_one_line_and_exit_code_2() {
    let serving = Serving::start("--contacts 50 --no-faults");
    let urls = format!("--hubspot-url {} --mailchimp-url {}", serving.hubspot, serving.mailchimp);
    let key = "00000000000000000000000000000000-us1";
    let none: &[(&str, &str)] = &[];
    let bad_token: &[(&str, &str)] = &[("HUBSPOT_TOKEN", "canary-wrong"), ("MAILCHIMP_API_KEY", key)];
    let bad_key: &[(&str, &str)] =
        &[("HUBSPOT_TOKEN", "sim-hubspot-token"), ("MAILCHIMP_API_KEY", "canary-wrong-us1")];
    let no_dc: &[(&str, &str)] =
        &[("HUBSPOT_TOKEN", "sim-hubspot-token"), ("MAILCHIMP_API_KEY", "canarywithoutdc")];
    for (line, env, said) in [
        ("--contcts 5".to_owned(), none, "unknown option --contcts"),
        ("--state /nowhere/at/all/x".to_owned(), none, "/nowhere/at/all/x"),
        (format!("{urls} --audience nosuch"), none, "audience nosuch does not exist"),
        (
            "--hubspot-url https://api.hubapi.com --mailchimp-url https://us1.api.mailchimp.com".into(),
            none,
            "loopback",
        ),
        (format!("--hubspot-url {}", serving.hubspot), none, "belong together"),
        (format!("{urls} --audience a1b2c3d4e5"), bad_token, "credential refused (401"),
        (format!("{urls} --audience a1b2c3d4e5"), bad_key, "credential refused (401"),
        (format!("{urls} --audience a1b2c3d4e5"), no_dc, "data centre"),
        (urls.clone(), bad_token, "--audience is missing"),
    ] {
        let run = Sync::new().run_with(&line, env);
        assert_eq!(run.code, Some(2), "{line}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{line}: {}", run.stderr);
        assert_eq!(run.stderr.trim_end().lines().count(), 1, "{line}: {}", run.stderr);
        assert!(!run.stderr.contains("canary") && !run.stderr.contains("panicked"), "{line}: {}", run.stderr);
    }
}

#[test]
fn a_state_file_of_another_world_is_refused() {
    let sync = Sync::new();
    sync.ok("--contacts 100 --no-faults");
    let other = sync.run("--contacts 200 --no-faults");
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("holds 100 contacts of seed 1"), "{}", other.stderr);
}

#[test]
fn the_quickstart_reads_every_contact_of_its_simulator() {
    let output =
        std::process::Command::new(example("quickstart")).env_remove("HUBSPOT_TOKEN").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 250);
}

/// What an example without arguments prints.
fn printed(name: &str) -> String {
    let mut command = std::process::Command::new(example(name));
    let output = command.env_remove("HUBSPOT_TOKEN").env_remove("BREVO_API_KEY").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_custom_connector_lists_what_it_wrote_and_nothing_twice() {
    let lines = "1 ada@example.org\n2 grace@example.org\n3 zoë@example.org\n";
    assert_eq!(printed("custom_connector"), lines);
}

#[test]
fn the_custom_layers_see_calls_and_attempts() {
    let said = printed("custom_layer");
    assert!(said.contains("contacts.get answered 200 after 2 attempts"), "{said}");
    assert!(said.contains("signatures that the platform saw: 2, all different"), "{said}");
}

#[test]
fn paging_is_resumed_by_a_second_client_without_a_gap() {
    let said = printed("resume_paging");
    assert!(said.contains("first run: 3 pages, 60 contacts, then it was stopped"), "{said}");
    assert!(said.contains("second run: 10 pages, 190 contacts, to the end"), "{said}");
    assert!(said.contains("250 different contacts, none twice"), "{said}");
}

#[test]
fn a_service_is_tested_through_an_outage_in_no_time() {
    let said = printed("test_your_service");
    assert!(said.contains("300 contacts"), "{said}");
}

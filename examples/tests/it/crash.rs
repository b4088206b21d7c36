//! Killed in the middle, at any moment: nothing is lost, nothing is done twice, and no quota is broken.

use crate::support::{Ended, Serving, Sync, pause};
use martlet::Rng;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What holds after every crash, once a later run came to its end.
fn sound(run: &Ended, what: &str) {
    assert_eq!(run.json["reconciled"], true, "{what}: {}", run.text);
    for name in ["quota_violations", "resubscribed", "missing", "extra", "changed", "duplicates", "rewrites"]
    {
        assert_eq!(run.number(name), 0, "{what}: {name}: {}", run.text);
    }
}

/// Twenty kills at random moments of a run, in four lanes. The simulators live on in a process of their own.
#[test]
fn killed_at_twenty_random_points_it_goes_on_and_loses_nothing() {
    let rng = Rng::seeded(20_261_124);
    // A point is how many contacts HubSpot has given out: a time would be another point on every machine.
    let points: Vec<u64> = (0..20).map(|_| rng.below(5_000)).collect();
    let resumed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (points, resumed) = (&points, &resumed);
            scope.spawn(move || {
                for (n, point) in points.iter().enumerate().filter(|(n, _)| n % 4 == lane) {
                    // Every fourth meets faults, too: the pauses make it ten seconds longer.
                    let faults = if n % 4 == 3 { "" } else { "--no-faults" };
                    let line = format!("--contacts 5000 --seed {n} --hubspot-window 1 {faults}");
                    resumed.fetch_add(u64::from(killed_once(&line, *point)), Ordering::Relaxed);
                }
            });
        }
    });
    let resumed = resumed.into_inner();
    assert!(resumed >= 10, "only {resumed} of 20 kills hit a run in its middle");
}

/// Whether the run after the kill went on in the middle.
fn killed_once(line: &str, point: u64) -> bool {
    let serving = Serving::start(line);
    let urls = format!("--hubspot-url {} --mailchimp-url {} {line}", serving.hubspot, serving.mailchimp);
    let sync = Sync::new();
    let mut child = sync.command(&urls).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while serving.listed() < point && child.try_wait().unwrap().is_none() {
        pause(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let run = sync.ok(&urls);
    sound(&run, &format!("{line}, killed after {point} contacts"));
    run.json["resumed"] == true
}

/// After the destination's answer and before the checkpoint is the worst moment: it was done, and nobody knows.
#[test]
fn aborted_between_the_answer_and_the_checkpoint_it_repeats_without_harm() {
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                for after in [1, 2, 7, 13, 20, 28, 34, 38].into_iter().skip(lane).step_by(2) {
                    let line =
                        format!("--contacts 20000 --hubspot-window 1 --no-faults --crash-after {after}");
                    let sync = Sync::new();
                    let crashed = sync.run(&line);
                    assert_eq!(crashed.code, None, "it was to abort: {}{}", crashed.text, crashed.stderr);
                    let run = sync.ok(&line);
                    sound(&run, &line);
                }
            });
        }
    });
}

#[test]
fn interrupted_it_finishes_what_is_under_way_and_goes_on_next_time() {
    let serving = Serving::start("--contacts 5000 --hubspot-window 2 --hubspot-plan 20 --no-faults");
    let urls = format!(
        "--hubspot-url {} --mailchimp-url {} --hubspot-window 2 --hubspot-plan 20",
        serving.hubspot, serving.mailchimp
    );
    let sync = Sync::new();
    let child = sync.command(&urls).stderr(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    pause(Duration::from_millis(2_500));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stdout).contains("it goes on from here"));
    let run = sync.ok(&urls);
    assert_eq!(run.json["resumed"], true);
    assert!(run.number("read") < 5_000);
    sound(&run, "after Ctrl-C");
}

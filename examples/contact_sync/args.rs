//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
contact_sync: HubSpot contacts reach a Mailchimp audience, and only what changed moves on the next run.

Usage: cargo run --release --example contact_sync -- [OPTIONS]
       cargo run --release --example contact_sync -- dead-letters [--replay] [OPTIONS]

dead-letters lists the records that Mailchimp refused, with its reasons; with --replay it sends them again.

Without options it starts a simulated HubSpot and a simulated Mailchimp on loopback and syncs between them.
With HUBSPOT_TOKEN and MAILCHIMP_API_KEY in the environment it talks to the real platforms.

Options:
  --contacts N              contacts in the simulated HubSpot (20000)
  --seed S                  what the simulated data looks like; the same seed gives the same data (1)
  --state FILE              SQLite file with checkpoint and content hashes (contact_sync.sqlite3);
                            simulators in this process keep their data in FILE.sim
  --json FILE               write the summary as JSON, too
  --hubspot-plan N          requests that the HubSpot account may make in 10 s (100)
  --serve-simulators ADDR   only serve the simulators, in memory, until Ctrl-C; prints an address for each, HubSpot first;
                            with port 0 the system chooses both ports, otherwise the second is the next port
  --hubspot-url URL         another address for HubSpot
  --mailchimp-url URL       another address for Mailchimp
  --audience ID             the Mailchimp audience; needed for the real platform
  --dry-run                 read and compare, write nothing
  --resubscribe             also subscribe people again who unsubscribed at Mailchimp (never those who were cleaned); you
                            need their consent
  --reconcile state|full    what the destination is compared with at the end: the hashes of what was read (state), or
                            the source read again (full) (state)
  --full                    read everything again instead of what changed since the last run
  --no-faults               let the simulators behave: by default they produce, from their seed, every kind of trouble that
                            platforms make
  --live-edits K            change K contacts at the simulated HubSpot while the sync runs
  --hubspot-window SECONDS  the length of HubSpot's request window, for tests (10)
  --crash-after N           abort after Mailchimp's N-th answer, counted over the life of the state file, before the
                            checkpoint is stored: to see that nothing is lost and nothing done twice
  --log json                write a JSON line to stderr for each finished call and stage, instead of the progress
  --help                    this text

Environment:
  HUBSPOT_TOKEN             private-app token or OAuth access token
  MAILCHIMP_API_KEY         API key with its data centre, such as 0123..-us20

Exit code: 0 when both sides agree (or a daily quota is spent: the run goes on next time), 1 when they do not or the run
failed, 2 when an option, a credential or the audience is wrong, 130 when it was interrupted.";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) contacts: u64,
    pub(crate) seed: u64,
    pub(crate) state: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) hubspot_plan: u32,
    pub(crate) serve: Option<SocketAddr>,
    pub(crate) hubspot_url: Option<String>,
    pub(crate) mailchimp_url: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) dry_run: bool,
    pub(crate) resubscribe: bool,
    pub(crate) reconcile_full: bool,
    pub(crate) full: bool,
    pub(crate) faults: bool,
    pub(crate) live_edits: u64,
    pub(crate) hubspot_window: u64,
    pub(crate) crash_after: Option<u64>,
    pub(crate) log_json: bool,
    /// `dead-letters`: list them, or send them again.
    pub(crate) dead_letters: Option<DeadLetters>,
}

/// What to do with the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetters {
    List,
    Replay,
}

/// `Ok(None)` when help was asked for.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Args>, String> {
    use lexopt::prelude::*;
    let mut args = Args {
        contacts: 20_000,
        seed: 1,
        state: "contact_sync.sqlite3".into(),
        json: None,
        hubspot_plan: 100,
        serve: None,
        hubspot_url: None,
        mailchimp_url: None,
        audience: None,
        dry_run: false,
        resubscribe: false,
        reconcile_full: false,
        full: false,
        faults: true,
        live_edits: 0,
        hubspot_window: 10,
        crash_after: None,
        log_json: false,
        dead_letters: None,
    };
    let mut parser = lexopt::Parser::from_iter(words);
    let text = |value: OsString, option: &str| {
        value.into_string().map_err(|_| format!("{option}: the value is not Unicode"))
    };
    while let Some(word) = parser.next().map_err(|e| e.to_string())? {
        let option = match &word {
            Long(name) => format!("--{name}"),
            Short(c) => format!("-{c}"),
            Value(value) if value == "dead-letters" && args.dead_letters.is_none() => {
                args.dead_letters = Some(DeadLetters::List);
                continue;
            }
            Value(value) => return Err(format!("unexpected argument {value:?}; see --help")),
        };
        let mut value = || parser.value().map_err(|_| format!("{option} needs a value; see --help"));
        match option.as_str() {
            "--help" | "-h" => return Ok(None),
            "--contacts" => args.contacts = number(&option, &text(value()?, &option)?, 1, 10_000_000)?,
            "--seed" => args.seed = number(&option, &text(value()?, &option)?, 0, u64::MAX)?,
            "--state" => args.state = value()?.into(),
            "--json" => args.json = Some(value()?.into()),
            "--hubspot-plan" => {
                let plan = number(&option, &text(value()?, &option)?, 1, 100_000)?;
                args.hubspot_plan = u32::try_from(plan).map_err(|e| e.to_string())?;
            }
            "--serve-simulators" => {
                let given = text(value()?, &option)?;
                let addr: SocketAddr =
                    given.parse().map_err(|_| format!("{option}: {given:?} is not an ADDRESS:PORT"))?;
                if !addr.ip().is_loopback() {
                    return Err(format!(
                        "{option}: simulators are served on loopback only, such as 127.0.0.1:0"
                    ));
                }
                args.serve = Some(addr);
            }
            "--hubspot-url" => args.hubspot_url = Some(text(value()?, &option)?),
            "--mailchimp-url" => args.mailchimp_url = Some(text(value()?, &option)?),
            "--audience" => args.audience = Some(text(value()?, &option)?),
            "--dry-run" => args.dry_run = true,
            "--full" => args.full = true,
            "--no-faults" => args.faults = false,
            "--live-edits" => args.live_edits = number(&option, &text(value()?, &option)?, 0, 1_000_000)?,
            "--hubspot-window" => args.hubspot_window = number(&option, &text(value()?, &option)?, 1, 3_600)?,
            "--crash-after" => {
                args.crash_after = Some(number(&option, &text(value()?, &option)?, 1, u64::MAX)?)
            }
            "--log" => match text(value()?, &option)?.as_str() {
                "json" => args.log_json = true,
                other => return Err(format!("{option}: {other:?} is not json")),
            },
            "--replay" if args.dead_letters.is_some() => args.dead_letters = Some(DeadLetters::Replay),
            "--replay" => {
                return Err("--replay belongs to dead-letters, which comes before it; see --help".into());
            }
            "--resubscribe" => args.resubscribe = true,
            "--reconcile" => {
                args.reconcile_full = match text(value()?, &option)?.as_str() {
                    "state" => false,
                    "full" => true,
                    other => return Err(format!("{option}: {other:?} is neither state nor full")),
                }
            }
            _ => return Err(format!("unknown option {option}; see --help")),
        }
    }
    Ok(Some(args))
}

fn number(option: &str, given: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = given.parse().ok().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| format!("{option}: {given:?} is not a number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<Args>, String> {
        parse(["contact_sync"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn every_option_is_in_the_help_and_does_something() {
        let line = "--contacts 5 --seed 7 --state s --json j --hubspot-plan 190 --serve-simulators 127.0.0.1:0 --hubspot-url h \
                    --mailchimp-url m --audience a --dry-run --resubscribe --reconcile full --full --no-faults --live-edits 3 --hubspot-window 1 \
                    --crash-after 2 --log json";
        let args = words(line).unwrap().unwrap();
        assert_eq!((args.contacts, args.seed, args.hubspot_plan), (5, 7, 190));
        assert!(args.dry_run && args.resubscribe && args.reconcile_full && args.full && args.serve.is_some());
        assert!(!args.faults && args.log_json);
        assert_eq!((args.live_edits, args.hubspot_window, args.crash_after), (3, 1, Some(2)));
        assert_eq!(words("dead-letters --replay").unwrap().unwrap().dead_letters, Some(DeadLetters::Replay));
        for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(HELP.contains(option), "{option}");
        }
        assert!(words("--help").unwrap().is_none());
    }

    #[test]
    fn a_mistake_is_one_clear_line() {
        for (line, said) in [
            ("--contact 5", "unknown option --contact"),
            ("--contacts", "--contacts needs a value"),
            ("--contacts many", "--contacts: \"many\" is not a number"),
            ("--contacts 0", "from 1"),
            ("--serve-simulators 0.0.0.0:0", "loopback only"),
            ("--reconcile maybe", "neither state nor full"),
            ("extra", "unexpected argument"),
            ("--replay", "belongs to dead-letters"),
            ("--log xml", "\"xml\" is not json"),
        ] {
            let error = words(line).unwrap_err();
            assert!(error.contains(said) && error.lines().count() == 1, "{line}: {error}");
        }
    }
}

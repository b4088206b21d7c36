//! The project's own commands: `cargo xtask help` lists them.

#![expect(clippy::print_stdout, reason = "a command-line program speaks on stdout")]

mod cache_tests;
mod cargo;
mod crates;
mod features;
mod floors;
mod package;
mod peers;
mod public_api;
mod rustdoc;
mod servers;
mod test;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test [ARGS]      every unit, integration and doc test of the workspace with all features; ARGS go to
                   `cargo test` (`-p martlet-store` narrows to one package, `-- NAME` filters); repeats
                   SKIPPED lines at the end, and fails on one when the variable CI is set, except on
                   `SKIPPED (cannot be had): ..`, which nothing on that machine could mend; starts the
                   PostgreSQL, the PgBouncer and the Redis that tests ask for (MARTLET_TEST_POSTGRES_URL,
                   MARTLET_TEST_PGBOUNCER_URL, MARTLET_TEST_REDIS_URL and MARTLET_TEST_REDIS_CLUSTER_URL name others)
  floors           what each package may depend on, and what its manifest must say
  crates           how many crates one connector from the facade compiles, and that they are not too many
  cache-tests      the suite http-cache-tests against the client's cache: its score, and why tests fail; needs npm
  features [ARGS]  clippy on each published package alone: its default features, none, each feature by itself
  docs [ARGS]      the documentation as docs.rs builds it; a warning is an error
  public-api       what the published packages promise, against the lists in `api/`; `--bless` writes them anew
  peers [ARGS]     the bench `extract` beside airbyte-cdk and dlt, which it installs from PyPI; needs python3
  package [ARGS]   what `cargo publish` would upload, without building it again (`--verify` builds it)
";

fn main() -> ExitCode {
    if let Some(outcome) = rustdoc::in_its_place() {
        return end(outcome);
    }
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "test" => test::run(&args),
        "floors" => floors::run(),
        "crates" => crates::run(),
        "cache-tests" => cache_tests::run(&args),
        "features" => features::run(&args),
        "docs" => rustdoc::docs(&args),
        "public-api" => public_api::run(&args),
        "peers" => peers::run(&args),
        "package" => package::run(&args),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("there is no command `{other}`\n\n{HELP}")),
    };
    end(outcome)
}

fn end(outcome: Result<ExitCode, String>) -> ExitCode {
    outcome.unwrap_or_else(|problem| {
        eprintln!("xtask: {problem}");
        ExitCode::from(2)
    })
}

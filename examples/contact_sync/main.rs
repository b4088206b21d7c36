//! HubSpot contacts reach a Mailchimp audience: resumable, within both accounts' quotas, and with every opt-out respected.
//!
//! `cargo run --release --example contact_sync` needs nothing: it starts simulators of both platforms on loopback. `--help`
//! explains the options; with credentials in the environment the same program talks to the real platforms.

mod args;
mod crash;
mod meter;
mod progress;
mod simulators;
mod summary;
mod sync;

use args::Args;
use simulators::Simulators;
use std::io::Write as _;
use std::process::ExitCode;

/// Why the program ends early: the line to show, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    line: String,
}

impl Failure {
    /// Something that the user gave is wrong.
    fn usage(line: impl Into<String>) -> Self {
        Self { code: 2, line: line.into() }
    }

    /// Something else went wrong.
    fn run(line: impl Into<String>) -> Self {
        Self { code: 1, line: line.into() }
    }
}

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print(args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(line) => return end(&Failure::usage(line)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return end(&Failure::run(format!("cannot start the runtime: {e}"))),
    };
    let result = runtime.block_on(async {
        match args.serve {
            Some(addr) => serve(&args, addr).await.map(|()| 0),
            None => sync::run(&args).await,
        }
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => end(&failure),
    }
}

fn end(failure: &Failure) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "contact_sync: {}", failure.line);
    ExitCode::from(failure.code)
}

/// To stdout. A reader that went away (`| head`) is no reason to panic.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}

/// Serves the simulators until Ctrl-C.
async fn serve(args: &Args, addr: std::net::SocketAddr) -> Result<(), Failure> {
    let simulators = Simulators::start(args, addr, None).await.map_err(Failure::usage)?;
    print(&format!("hubspot {} HUBSPOT_TOKEN={}", simulators.hubspot_url(), simulators::HUBSPOT_TOKEN));
    let (url, key) = (simulators.mailchimp_url(), simulators::MAILCHIMP_API_KEY);
    print(&format!("mailchimp {url} MAILCHIMP_API_KEY={key} audience={}", simulators::AUDIENCE));
    tokio::signal::ctrl_c().await.map_err(|e| Failure::run(format!("cannot wait for Ctrl-C: {e}")))
}

//! The sync itself: two connectors, a pipeline between them, and a summary.

use crate::args::{Args, DeadLetters};
use crate::crash::CrashAfter;
use crate::meter::Meter;
use crate::progress::Display;
use crate::simulators::{self, Simulators};
use crate::summary::Summary;
use crate::{Failure, print};
use martlet::Rng;
use martlet::auth::{AuthStyle, OAuth2, OAuth2Config, TokenStore, Tokens};
use martlet::base::Moment;
use martlet::core::LimitSpec;
use martlet::hubspot::ContactSource;
use martlet::mailchimp::{AudienceDestination, AudienceOptions, MemberMapping, MemberTransform};
use martlet::observe::JsonLog;
use martlet::pipeline::{Outcome, PipelineError, ReconcileReport, RunFailed, RunReport};
use martlet::prelude::*;
use martlet::store::{CellKey, Cells, Expect, WriteBatch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// HubSpot's property, and the merge field that holds it at Mailchimp.
const FIELDS: [(&str, &str); 7] = [
    ("firstname", "FNAME"),
    ("lastname", "LNAME"),
    ("company", "COMPANY"),
    ("lifecyclestage", "LIFECYCLE"),
    ("loyalty_tier", "TIER"),
    ("favorite_color", "COLOR"),
    ("last_order_value", "LASTORDER"),
];

/// Where the platforms are, and who we are there.
struct Platforms {
    hubspot_url: Option<String>,
    hubspot_token: String,
    mailchimp_url: Option<String>,
    mailchimp_key: String,
    audience: String,
    /// Whether both are simulators, which count what we do.
    simulated: bool,
    /// Those of this process, kept alive.
    _own: Option<Simulators>,
}

pub(crate) async fn run(args: &Args) -> Result<u8, Failure> {
    let job = Job::new(args).await?;
    let code = match args.dead_letters {
        Some(what) => dead_letters(&job.pipeline(false)?, what).await?,
        None => job.sync().await?,
    };
    job.close().await?;
    Ok(code)
}

/// Everything that a run is made of.
struct Job<'a> {
    args: &'a Args,
    clock: Clock,
    started: Moment,
    platforms: Platforms,
    store: Arc<SqliteStore>,
    meter: Arc<Meter>,
    log: Option<Arc<JsonLog>>,
    display: Arc<Display>,
    hubspot: HubSpot,
    mailchimp: Mailchimp,
}

impl<'a> Job<'a> {
    async fn new(args: &'a Args) -> Result<Self, Failure> {
        let clock = Clock::system();
        let started = clock.now();
        let platforms = connect(args).await?;
        let store = SqliteStore::open(&args.state).await.map_err(|e| state_failure(&args.state, &e))?;
        let store = Arc::new(store);
        let meter = Arc::new(Meter::new(clock.clone()));
        let log =
            args.log_json.then(|| Arc::new(JsonLog::new(std::io::stderr(), clock.clone(), Rng::system())));
        let display = Arc::new(Display::new(clock.clone(), !args.log_json));
        let (hubspot, mailchimp) = clients(args, &platforms, &store, &meter, log.as_ref()).await?;
        Ok(Self { args, clock, started, platforms, store, meter, log, display, hubspot, mailchimp })
    }

    /// HubSpot's contacts as members of the audience. A full one reads everybody, whatever the last run saw.
    fn pipeline(&self, full: bool) -> Result<Pipeline, Failure> {
        let args = self.args;
        let mapping = MemberMapping::new("email", FIELDS).map_err(|e| Failure::usage(e.to_string()))?;
        let properties = ["email"].into_iter().chain(FIELDS.map(|(property, _)| property));
        let options = AudienceOptions::default().resubscribe(args.resubscribe).dry_run(args.dry_run);
        let audience = self.platforms.audience.as_str();
        let audience = AudienceDestination::new(&self.mailchimp, audience, mapping.clone(), options);
        let shown = Arc::clone(&self.display);
        let mut pipeline = Pipeline::builder("contacts")
            .source(ContactSource::new(self.hubspot.clone(), properties).full(full))
            .transform(MemberTransform::new(mapping))
            .store(self.store.clone())
            .clock(self.clock.clone())
            .on_progress(move |progress| shown.show(progress))
            .recheck_skipped(args.resubscribe)
            .dry_run(args.dry_run);
        if let Some(log) = &self.log {
            pipeline = pipeline.observer(log.clone());
        }
        let pipeline = match args.crash_after {
            None => pipeline.destination(audience),
            Some(after) => {
                let cells = Cells::new(self.store.clone(), "contact_sync/");
                pipeline.destination(CrashAfter { inner: audience, after, cells })
            }
        };
        pipeline.build().map_err(|e| Failure::usage(e.to_string()))
    }

    /// One run and the comparison of both sides after it.
    async fn sync(&self) -> Result<u8, Failure> {
        // Who opted out long ago is not among what changed since: asking for resubscription reads everybody.
        let pipeline = self.pipeline(self.args.full || self.args.resubscribe)?;
        let moved = self.move_and_compare(&pipeline).await;
        self.display.end();
        let (report, reconciled) = moved?;
        let summary = Summary {
            report: &report,
            reconciled: reconciled.as_ref(),
            tally: &self.meter.read(),
            counted: self.platforms.counted().await?,
            dead_letters: pipeline.dead_letters().await.map_err(|e| pipeline_failure(&e))?.len(),
            elapsed: self.clock.now().since(self.started),
        };
        print(summary.text().trim_end());
        write_json(self.args, &summary)?;
        Ok(match report.outcome {
            Outcome::Stopped => 130,
            // Not a failure: it stopped at a checkpoint and says when to go on.
            Outcome::QuotaExhausted { .. } => 0,
            _ if summary.is_good() => 0,
            _ => 1,
        })
    }

    async fn move_and_compare(
        &self,
        pipeline: &Pipeline,
    ) -> Result<(RunReport, Option<ReconcileReport>), Failure> {
        let failure = |failed: RunFailed| pipeline_failure(&failed.error);
        let compare = async |mode| pipeline.reconcile(mode).await.map_err(|e| pipeline_failure(&e));
        let report = pipeline.run_until(interrupted()).await.map_err(failure)?;
        if self.args.dry_run || !matches!(report.outcome, Outcome::Complete) {
            return Ok((report, None));
        }
        if !self.args.reconcile_full {
            return Ok((report, Some(compare(ReconcileMode::State).await?)));
        }
        let found = compare(ReconcileMode::Source).await?;
        if found.is_reconciled() {
            return Ok((report, Some(found)));
        }
        // The source has what the search did not show yet (it lags), or lost what nobody reported (merged contacts): a full
        // run mends both.
        let mended = self.pipeline(true)?.run_until(interrupted()).await.map_err(failure)?;
        Ok((report.followed_by(mended), Some(compare(ReconcileMode::Source).await?)))
    }

    /// A clean stop: the next run need not take the quota for spent.
    async fn close(self) -> Result<(), Failure> {
        for client in [self.hubspot.client(), self.mailchimp.client()] {
            client.close().await.map_err(|e| Failure::run(e.to_string()))?;
        }
        self.store.close().await;
        Ok(())
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn write_json(args: &Args, summary: &Summary<'_>) -> Result<(), Failure> {
    let Some(path) = &args.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(&summary.json()).expect("numbers and texts always serialise");
    std::fs::write(path, text + "\n")
        .map_err(|e| Failure::run(format!("cannot write {}: {e}", path.display())))
}

/// `contact_sync dead-letters [--replay]`.
async fn dead_letters(pipeline: &Pipeline, what: DeadLetters) -> Result<u8, Failure> {
    if what == DeadLetters::Replay {
        let report = pipeline.replay_dead_letters().await.map_err(|e| pipeline_failure(&e))?;
        print(&format!(
            "{} taken, {} left alone, {} refused again",
            report.written, report.skipped, report.rejected
        ));
    }
    let letters = pipeline.dead_letters().await.map_err(|e| pipeline_failure(&e))?;
    for letter in &letters {
        let email =
            letter.fields.get("email_address").and_then(serde_json::Value::as_str).unwrap_or("(no address)");
        let at = Timestamp::from_micros(letter.at_micros);
        let code = letter.code.as_deref().unwrap_or("-");
        print(&format!("{at} contact {} {email} {code}: {}", letter.key, letter.reason));
    }
    print(&format!("{} dead letters", letters.len()));
    Ok(0)
}

impl Platforms {
    /// What the simulators counted; nothing for real platforms.
    async fn counted(&self) -> Result<Option<simulators::Counted>, Failure> {
        match (self.simulated, &self.hubspot_url, &self.mailchimp_url) {
            (true, Some(hubspot), Some(mailchimp)) => {
                let counted = simulators::counted(hubspot, mailchimp).await;
                counted.map(Some).map_err(|e| Failure::run(e.to_string()))
            }
            _ => Ok(None),
        }
    }
}

/// Real platforms, simulators elsewhere, or simulators of our own.
async fn connect(args: &Args) -> Result<Platforms, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (token, key) = (variable("HUBSPOT_TOKEN"), variable("MAILCHIMP_API_KEY"));
    match (token, key) {
        (Some(token), Some(key)) => {
            let Some(audience) = args.audience.clone() else {
                return Err(Failure::usage(
                    "--audience is missing: say which Mailchimp audience to write to",
                ));
            };
            Ok(Platforms {
                hubspot_url: args.hubspot_url.clone(),
                hubspot_token: token,
                mailchimp_url: args.mailchimp_url.clone(),
                mailchimp_key: key,
                audience,
                simulated: false,
                _own: None,
            })
        }
        (None, None) => simulated(args).await,
        (None, _) => {
            Err(Failure::usage("MAILCHIMP_API_KEY is set and HUBSPOT_TOKEN is not: set both or neither"))
        }
        (_, None) => {
            Err(Failure::usage("HUBSPOT_TOKEN is set and MAILCHIMP_API_KEY is not: set both or neither"))
        }
    }
}

async fn simulated(args: &Args) -> Result<Platforms, Failure> {
    let (hubspot_url, mailchimp_url, own) = match (&args.hubspot_url, &args.mailchimp_url) {
        (Some(hubspot), Some(mailchimp)) => {
            for url in [hubspot, mailchimp] {
                if !is_loopback(url) {
                    let line = format!(
                        "{url} is not on loopback: set HUBSPOT_TOKEN and MAILCHIMP_API_KEY for real platforms"
                    );
                    return Err(Failure::usage(line));
                }
            }
            (hubspot.clone(), mailchimp.clone(), None)
        }
        (None, None) => {
            let store = simulator_store(args).await?;
            let addr = ([127, 0, 0, 1], 0).into();
            let own = Simulators::start(args, addr, Some(store)).await.map_err(Failure::run)?;
            (own.hubspot_url(), own.mailchimp_url(), Some(own))
        }
        _ => {
            return Err(Failure::usage(
                "--hubspot-url and --mailchimp-url belong together: give both or neither",
            ));
        }
    };
    Ok(Platforms {
        hubspot_url: Some(hubspot_url),
        hubspot_token: simulators::HUBSPOT_TOKEN.into(),
        mailchimp_url: Some(mailchimp_url),
        mailchimp_key: simulators::MAILCHIMP_API_KEY.into(),
        audience: args.audience.clone().unwrap_or_else(|| simulators::AUDIENCE.into()),
        simulated: true,
        _own: own,
    })
}

fn is_loopback(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or(url);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}

/// `STATE.sim`: what the simulators of this process were told, so that a second run meets the same platforms.
async fn simulator_store(args: &Args) -> Result<Arc<dyn Store>, Failure> {
    let mut path = args.state.clone().into_os_string();
    path.push(".sim");
    let path = PathBuf::from(path);
    let store = SqliteStore::open(&path).await.map_err(|e| state_failure(&path, &e))?;
    let key = CellKey::new("contact_sync/world").expect("a constant");
    let world = format!("{} contacts of seed {}", args.contacts, args.seed);
    let failure = |e: martlet::store::StoreError| state_failure(&path, &e);
    match store.get(std::slice::from_ref(&key)).await.map_err(failure)?.pop().flatten() {
        None => {
            let batch = WriteBatch::new().put(key, Expect::Any, world);
            store.commit(batch).await.map_err(failure)?;
        }
        Some(cell) if cell.value == world.as_bytes() => {}
        Some(cell) => {
            let there = String::from_utf8_lossy(&cell.value);
            let line = format!(
                "{} holds {there}, not {world}: give another --state, or the same numbers",
                path.display()
            );
            return Err(Failure::usage(line));
        }
    }
    Ok(Arc::new(store))
}

async fn clients(
    args: &Args,
    platforms: &Platforms,
    store: &Arc<SqliteStore>,
    meter: &Arc<Meter>,
    log: Option<&Arc<JsonLog>>,
) -> Result<(HubSpot, Mailchimp), Failure> {
    let usage = |e: Error| Failure::usage(e.to_string());
    let transport: Arc<dyn martlet::core::Transport> = Arc::new(ReqwestTransport::new().map_err(usage)?);
    let window = Duration::from_secs(args.hubspot_window);
    let mut hubspot = HubSpot::builder()
        .shared_transport(Arc::clone(&transport))
        .limit(LimitSpec::new(LimitSpec::DEFAULT).window("ten_secondly", args.hubspot_plan, window))
        .quota_journal(store.clone())
        .user_agent("contact_sync/0.1")
        .observer(meter.clone());
    let mut mailchimp = Mailchimp::builder()
        .shared_transport(Arc::clone(&transport))
        .api_key(platforms.mailchimp_key.as_str())
        .user_agent("contact_sync/0.1")
        .observer(meter.clone());
    if let Some(log) = log {
        hubspot = hubspot.observer(log.clone());
        mailchimp = mailchimp.observer(log.clone());
    }
    hubspot = match (platforms.simulated, &platforms.hubspot_url) {
        (true, Some(url)) => hubspot.credentials(refreshed(url, transport, store).await?),
        _ => hubspot.access_token(platforms.hubspot_token.as_str()),
    };
    if let Some(url) = &platforms.hubspot_url {
        hubspot = hubspot.base_url(url);
    }
    if let Some(url) = &platforms.mailchimp_url {
        mailchimp = mailchimp.base_url(url);
    }
    Ok((hubspot.build().map_err(usage)?, mailchimp.build().map_err(usage)?))
}

/// Access tokens that expire, as an app has them that many accounts use: refreshed when needed, kept in the state file.
async fn refreshed(
    url: &str,
    transport: Arc<dyn martlet::core::Transport>,
    store: &Arc<SqliteStore>,
) -> Result<impl CredentialSource + use<>, Failure> {
    let (client_id, client_secret) = simulators::HUBSPOT_CLIENT;
    let config = OAuth2Config::builder(format!("{}/oauth/v3/token", url.trim_end_matches('/')), client_id)
        .client_secret(client_secret)
        .auth_style(AuthStyle::RequestBody)
        .build()
        .map_err(|e| Failure::usage(e.to_string()))?;
    let failure = |e: martlet::store::StoreError| Failure::usage(format!("cannot keep tokens: {e}"));
    let tokens = TokenStore::new(Cells::new(store.clone(), "tokens/"), "hubspot").map_err(failure)?;
    tokens.seed(&Tokens::from_refresh_token(simulators::HUBSPOT_REFRESH_TOKEN)).await.map_err(failure)?;
    Ok(OAuth2::refresh(config, transport, tokens))
}

fn state_failure(path: &Path, error: &martlet::store::StoreError) -> Failure {
    Failure::usage(format!("cannot use the state file {}: {error}", path.display()))
}

/// A bad token or a missing audience is the user's to mend; the rest is not.
fn pipeline_failure(error: &PipelineError) -> Failure {
    let (what, cause) = match error {
        PipelineError::Source(e) => ("reading failed: ", Some(e)),
        PipelineError::Destination(e) => ("writing failed: ", Some(e)),
        _ => ("", None),
    };
    let Some(cause) = cause else {
        let source = std::error::Error::source(error).map_or_else(String::new, |e| format!(": {e}"));
        return Failure::run(format!("{error}{source}"));
    };
    let line = format!("{what}{cause}");
    match cause.kind() {
        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Config => {
            Failure::usage(line)
        }
        _ => Failure::run(line),
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn test_credentials_go_to_loopback_only() {
        for good in ["http://127.0.0.1:80", "http://localhost", "http://[::1]:9/x", "127.0.0.1:1"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "https://api.hubapi.com",
            "http://127.0.0.1.evil.example",
            "http://localhost.example",
            "http://user@evil",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}

//! The simulated platforms: in this process, or in another one that serves them.

use crate::args::Args;
use martlet::core::{ApiClient as _, Call, Client, Descriptor, Operation, Platform};
use martlet::{Clock, Error, ReqwestTransport, store::Store};
use martlet_hubspot::sim::{HubSpotSim, SimOAuth, SimOptions as HubSpotOptions, seed_contact};
use martlet_mailchimp::MemberStatus;
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions as MailchimpOptions, default_faults};
use martlet_testkit::{SimServer, Simulator};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Credentials of the simulators. They open nothing else.
pub(crate) const HUBSPOT_TOKEN: &str = "sim-hubspot-token";
pub(crate) const HUBSPOT_CLIENT: (&str, &str) = ("sim-client-id", "sim-client-secret");
pub(crate) const HUBSPOT_REFRESH_TOKEN: &str = "sim-refresh-token";
pub(crate) const MAILCHIMP_API_KEY: &str = "00000000000000000000000000000000-us1";
pub(crate) const AUDIENCE: &str = "a1b2c3d4e5";

/// Both simulators on loopback; they stop when this is dropped.
pub(crate) struct Simulators {
    hubspot: SimServer,
    mailchimp: SimServer,
}

impl Simulators {
    /// With a store, what they are told survives this process.
    pub(crate) async fn start(
        args: &Args,
        addr: SocketAddr,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Self, String> {
        let (client_id, client_secret) = HUBSPOT_CLIENT;
        let mut hubspot = HubSpotOptions {
            contacts: args.contacts,
            seed: args.seed,
            per_ten_seconds: args.hubspot_plan,
            window: Duration::from_secs(args.hubspot_window),
            token: HUBSPOT_TOKEN.into(),
            oauth: Some(SimOAuth::new(client_id, client_secret, HUBSPOT_REFRESH_TOKEN)),
            live_edits: args.live_edits,
            ..HubSpotOptions::default()
        };
        let mut mailchimp = MailchimpOptions {
            api_key: MAILCHIMP_API_KEY.into(),
            list_id: AUDIENCE.into(),
            seed_members: members(args.seed, args.contacts),
            delay: Duration::from_millis(2),
            ..MailchimpOptions::default()
        };
        if args.faults {
            hubspot = hubspot.with_trouble();
            mailchimp.faults = default_faults(args.seed, args.contacts);
        }
        let hubspot: Arc<dyn Simulator> = Arc::new(HubSpotSim::new(hubspot));
        let mailchimp: Arc<dyn Simulator> = Arc::new(MailchimpSim::new(mailchimp));
        let next = match addr.port() {
            0 => addr,
            port => {
                let port =
                    port.checked_add(1).ok_or("there is no port after 65535 for the second simulator")?;
                SocketAddr::new(addr.ip(), port)
            }
        };
        let clock = Clock::system();
        let serve = async |simulator, addr, store| {
            SimServer::start(simulator, addr, clock.clone(), store)
                .await
                .map_err(|e| format!("cannot serve a simulator on {addr}: {e}"))
        };
        Ok(Self {
            hubspot: serve(hubspot, addr, store.clone()).await?,
            mailchimp: serve(mailchimp, next, store).await?,
        })
    }

    pub(crate) fn hubspot_url(&self) -> String {
        self.hubspot.url()
    }

    pub(crate) fn mailchimp_url(&self) -> String {
        self.mailchimp.url()
    }
}

/// Who is in the audience before the first sync: people who opted out or bounced only there, people who opted out only at
/// HubSpot, people whose data is out of date, and people whom HubSpot does not know.
fn members(seed: u64, contacts: u64) -> Vec<SeedMember> {
    let mut members = Vec::new();
    for index in 0..contacts {
        let contact = seed_contact(seed, index, contacts);
        let Some(email) = contact.email else { continue };
        let status = match (contact.opted_out, index % 200) {
            // Half of those who opted out at HubSpot still get mail from Mailchimp: the sync has to end that.
            (true, n) if n % 2 == 0 => MemberStatus::Subscribed,
            (true, _) => continue,
            (false, 3 | 71 | 139) => MemberStatus::Unsubscribed,
            (false, 17) => MemberStatus::Cleaned,
            (false, 29 | 97 | 163) => MemberStatus::Subscribed,
            _ => continue,
        };
        members.push(SeedMember::new(email, status).merge_field("FNAME", "Old"));
    }
    for n in 0..contacts / 100 {
        let email = format!("newsletter-{n}@readers.example");
        members.push(SeedMember::new(email, MemberStatus::Subscribed));
    }
    members
}

/// What the simulators counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Faults that the simulators produced, by kind.
    pub(crate) faults: serde_json::Value,
    pub(crate) violations: u64,
    pub(crate) quota_use_ratio: Option<f64>,
    pub(crate) resubscribed: u64,
    /// Contacts that are in the audience twice.
    pub(crate) duplicates: u64,
    /// Members whose content was changed after this sync had written it.
    pub(crate) rewrites: u64,
}

#[derive(Debug)]
struct SimPlatform(Descriptor);

impl Platform for SimPlatform {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

const STATS: Operation = Operation::get("simulator.stats", "/_sim/stats");

async fn stats(url: &str) -> Result<serde_json::Value, Error> {
    let client = Client::builder(SimPlatform(Descriptor::new("simulator", url)?))
        .transport(ReqwestTransport::new()?)
        .build()?;
    client.execute(Call::new(STATS)).await?.json()
}

/// Asks both simulators what they counted.
pub(crate) async fn counted(hubspot_url: &str, mailchimp_url: &str) -> Result<Counted, Error> {
    let (hubspot, mailchimp) = (stats(hubspot_url).await?, stats(mailchimp_url).await?);
    let number = |stats: &serde_json::Value, name: &str| stats[name].as_u64().unwrap_or_default();
    Ok(Counted {
        violations: number(&hubspot, "violations") + number(&mailchimp, "violations"),
        quota_use_ratio: hubspot["quota_use_ratio"].as_f64(),
        resubscribed: number(&mailchimp, "resubscribed"),
        duplicates: number(&mailchimp, "duplicates"),
        rewrites: number(&mailchimp, "rewrites"),
        faults: serde_json::json!({ "hubspot": hubspot["faults"], "mailchimp": mailchimp["faults"] }),
    })
}

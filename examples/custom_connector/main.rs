//! A connector for a platform that martlet does not have: Brevo's contacts.
//!
//! `brevo.rs` is all of it: operations, limits, errors, and three typed methods. Waiting for quota, retries, the breaker,
//! timeouts and redaction come with the client. The tests below are the conformance suite that HubSpot and Mailchimp pass
//! too: `cargo test --example custom_connector`.
//!
//! `cargo run --example custom_connector` writes to a simulated Brevo on loopback and reads from it; with BREVO_API_KEY in
//! the environment it lists your contacts, and writes nothing.
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

mod brevo;
mod simulator;
#[cfg(test)]
mod tests;

use brevo::Brevo;
use martlet::prelude::*;
use serde_json::json;
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = ReqwestTransport::new()?;
    let Ok(key) = std::env::var("BREVO_API_KEY") else {
        let server = simulator::start().await?;
        let client = Brevo::builder(simulator::KEY).transport(transport).base_url(server.url()).build()?;
        let brevo = Brevo(Arc::new(client));
        for name in ["Ada", "Grace", "Zoë", "Ada"] {
            let email = format!("{}@example.org", name.to_lowercase());
            brevo.upsert(&email, json!({ "FIRSTNAME": name })).await?;
        }
        return list(&brevo).await;
    };
    list(&Brevo(Arc::new(Brevo::builder(key).transport(transport).build()?))).await
}

async fn list(brevo: &Brevo) -> Result<(), Box<dyn std::error::Error>> {
    let mut contacts = brevo.contacts(2);
    while let Some(contact) = contacts.try_next().await? {
        println!("{} {}", contact.id, contact.email.as_deref().unwrap_or("(no address)"));
    }
    Ok(())
}

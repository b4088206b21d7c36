//! Reading a long list in two runs of a program: the place where to go on is kept in a file.
//!
//! A cursor is plain JSON and names its list: one of another list, or of the same list with another filter, is refused. It is
//! stored after the page was handled, so a crash repeats the page under way and loses nothing.
//!
//! `cargo run --example resume_paging` reads a simulated HubSpot with 250 contacts, stops after three pages, and goes on with
//! another client.
#![expect(clippy::print_stdout, reason = "an example prints what it reads")]

use martlet::core::Cursor;
use martlet::prelude::*;
use martlet_hubspot::sim::{HubSpotSim, SimOptions};
use std::collections::HashSet;
use std::path::Path;
use std::{fs, sync::Arc};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let simulator = Arc::new(HubSpotSim::new(SimOptions { contacts: 250, ..Default::default() }));
    let address = ([127, 0, 0, 1], 0).into();
    let server = martlet_testkit::SimServer::start(simulator, address, Clock::system(), None).await?;
    let file = std::env::temp_dir().join(format!("martlet-resume-paging-{}.json", std::process::id()));

    let first = run(&server.url(), &file, Some(3)).await?;
    println!("first run: 3 pages, {} contacts, then it was stopped", first.len());
    let second = run(&server.url(), &file, None).await?;
    println!("second run: {} pages, {} contacts, to the end", second.len().div_ceil(20), second.len());
    fs::remove_file(&file)?;

    let different: HashSet<_> = first.iter().chain(&second).collect();
    assert_eq!(different.len(), first.len() + second.len());
    println!("{} different contacts, none twice", different.len());
    Ok(())
}

/// Reads on from where `file` says, until the end or for so many pages.
async fn run(url: &str, file: &Path, most: Option<usize>) -> Outcome<Vec<String>> {
    let hubspot = HubSpot::builder()
        .transport(ReqwestTransport::new()?)
        .base_url(url)
        .access_token("pat-sim")
        .build()?;
    let mut pager = hubspot.contacts().list().limit(20).pager();
    if let Ok(text) = fs::read_to_string(file) {
        let cursor: Cursor = serde_json::from_str(&text)?;
        pager = pager.resume_from(&cursor)?;
    }
    let mut pages = pager.pages();
    let (mut ids, mut read) = (Vec::new(), 0);
    while most.is_none_or(|most| read < most) {
        let Some(page) = pages.next().await.transpose()? else { break };
        // Here the page would be handled: written to a database, say, best in one transaction with the cursor.
        ids.extend(page.items.into_iter().map(|contact| contact.id.to_string()));
        read += 1;
        if let Some(cursor) = pages.cursor() {
            fs::write(file, serde_json::to_string(&cursor)?)?;
        }
    }
    Ok(ids)
}

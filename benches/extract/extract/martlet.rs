//! martlet's part: the core's client and pager, typed records, and a checkpoint every ten pages, so that a program that was
//! killed goes on where it was.

use crate::{Outcome, server};
use martlet_core::base::Clock;
use martlet_core::{Call, Client, Credential, Cursor, Descriptor, Operation, Pager};
use martlet_reqwest::ReqwestTransport;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

const LIST: Operation = Operation::get("contacts.list", "/v1/contacts");
/// Pages between two checkpoints: what a crash repeats.
const STRIDE: u64 = 10;

#[derive(Debug, Deserialize, Serialize)]
struct Contact {
    id: String,
    email: String,
    firstname: Option<String>,
    lastname: Option<String>,
    company: Option<String>,
    city: Option<String>,
    phone: Option<String>,
    score: i64,
    subscribed: bool,
    updated_at: String,
}

#[derive(Deserialize)]
struct Page {
    results: Vec<Contact>,
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Paging {
    next: Next,
}

#[derive(Deserialize)]
struct Next {
    after: String,
}

fn contacts(url: &str) -> Outcome<Pager<Contact>> {
    let acme = Descriptor::new("acme", "https://api.acme.example")?;
    let client = Client::builder(acme)
        .transport(ReqwestTransport::new()?)
        .base_url(url)
        .credentials(Credential::bearer("token"))
        .build()?;
    let call = |after: Option<&str>| Call::new(LIST).query("limit", server::PAGE).query_opt("after", after);
    Ok(Pager::token(Arc::new(client), LIST, "", call, |response| {
        let page: Page = response.json()?;
        Ok((page.results, page.paging.map(|paging| paging.next.after)))
    }))
}

/// Reads everything at `url` into `folder`, and tells how it went.
pub(crate) fn run(home: &str, url: &str, folder: &Path) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::system();
    let began = clock.now();
    let records = runtime.block_on(async {
        let mut home = Home::open(home, folder)?;
        let mut pages = contacts(url)?.prefetch(2).pages();
        let (mut records, mut read) = (0, 0);
        while let Some(page) = pages.next().await.transpose()? {
            records += page.items.len();
            home.write(&page.items)?;
            read += 1;
            if read % STRIDE == 0 {
                home.checkpoint(pages.cursor().as_ref())?;
            }
        }
        home.checkpoint(None)?;
        Outcome::Ok(records)
    })?;
    let seconds = clock.now().since(began).as_secs_f64();
    let (cpu, rss) = usage()?;
    let told = json!({ "records": records, "seconds": seconds, "cpu_seconds": cpu, "peak_rss_mib": rss });
    writeln!(io::stdout(), "{told}")?;
    Ok(())
}

enum Home {
    Sqlite(rusqlite::Connection),
    /// The lines, and the file in which the cursor stands.
    Ndjson(BufWriter<File>, std::path::PathBuf),
}

impl Home {
    fn open(home: &str, folder: &Path) -> Outcome<Self> {
        if home == "sqlite" {
            let sqlite = rusqlite::Connection::open(folder.join("contacts.db"))?;
            sqlite.execute_batch(
                "CREATE TABLE contacts (id TEXT PRIMARY KEY, email TEXT, firstname TEXT, lastname TEXT, company TEXT,
                     city TEXT, phone TEXT, score INTEGER, subscribed INTEGER, updated_at TEXT);
                 CREATE TABLE cursor (one INTEGER PRIMARY KEY, json TEXT);
                 BEGIN",
            )?;
            return Ok(Self::Sqlite(sqlite));
        }
        fs::create_dir(folder.join("contacts"))?;
        let file = File::create(folder.join("contacts/contacts.ndjson"))?;
        Ok(Self::Ndjson(BufWriter::with_capacity(1 << 16, file), folder.join("cursor.json")))
    }

    fn write(&mut self, contacts: &[Contact]) -> Outcome {
        match self {
            Self::Sqlite(sqlite) => {
                let mut insert = sqlite.prepare_cached(
                    "INSERT OR REPLACE INTO contacts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?;
                for c in contacts {
                    insert.execute((
                        &c.id,
                        &c.email,
                        &c.firstname,
                        &c.lastname,
                        &c.company,
                        &c.city,
                        &c.phone,
                        c.score,
                        c.subscribed,
                        &c.updated_at,
                    ))?;
                }
            }
            Self::Ndjson(file, _) => {
                for contact in contacts {
                    serde_json::to_writer(&mut *file, contact)?;
                    file.write_all(b"\n")?;
                }
            }
        }
        Ok(())
    }

    /// What was written so far stays, and reading goes on at the cursor.
    fn checkpoint(&mut self, cursor: Option<&Cursor>) -> Outcome {
        let cursor = serde_json::to_string(&cursor)?;
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?1)", (cursor,))?;
                sqlite.execute_batch("COMMIT; BEGIN")?;
            }
            Self::Ndjson(file, place) => {
                file.flush()?;
                file.get_ref().sync_data()?;
                fs::write(place, cursor)?;
            }
        }
        Ok(())
    }
}

/// CPU seconds and peak MiB of this process, as Linux counts them.
fn usage() -> Outcome<(f64, f64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    // The fields after the name, which ends with a parenthesis: utime and stime are the 12th and 13th, in 1/100 s.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 =
        fields.get(11..13).ok_or("a short stat")?.iter().filter_map(|n| n.parse::<f64>().ok()).sum();
    Ok((ticks / 100.0, peak / 1024.0))
}

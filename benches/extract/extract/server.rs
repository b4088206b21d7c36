//! A paged API with its pages ready: what is measured is the client.

use serde_json::json;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Records of a page, whatever was asked for.
pub(crate) const PAGE: u64 = 200;

/// Says its port on stdout and serves until stdin is closed: it does not outlive who started it.
pub(crate) fn run(records: u64) -> io::Result<()> {
    let pages: Arc<Vec<Vec<u8>>> = Arc::new((0..records.div_ceil(PAGE)).map(|n| page(n, records)).collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        martlet_benches::serve_parent(listener.local_addr()?.port())?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream, Arc::clone(&pages)));
        }
    })
}

/// The answer with the page of this number, in HubSpot's form.
fn page(number: u64, records: u64) -> Vec<u8> {
    let record = |id: u64| {
        json!({
            "id": id.to_string(),
            "email": format!("contact{id}@customer{}.example", id % 977),
            "firstname": "Ada",
            "lastname": format!("Lovelace-{}", id % 1009),
            "company": if id.is_multiple_of(3) { None } else { Some("Analytical Engines Ltd.") },
            "city": "Zürich",
            "phone": format!("+41 44 {:07}", id % 10_000_000),
            "score": id % 100,
            "subscribed": id.is_multiple_of(2),
            "updated_at": "2026-11-24T09:00:00Z",
        })
    };
    let begin = number * PAGE;
    let end = (begin + PAGE).min(records);
    let mut body = json!({ "results": (begin..end).map(record).collect::<Vec<_>>() });
    if end < records {
        body["paging"] = json!({ "next": { "after": (number + 1).to_string() } });
    }
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=utf-8\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

async fn serve(mut stream: TcpStream, pages: Arc<Vec<Vec<u8>>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = ([0; 8192], 0);
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // One GET at a time: clients do not pipeline.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            let answer = number(&buffer[..filled]).and_then(|number| pages.get(number));
            let missing: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.map_or(missing, Vec::as_slice)).await?;
            filled = 0;
        }
    }
}

/// The page that `GET /v1/contacts?limit=200&after=7 HTTP/1.1` asks for.
fn number(request: &[u8]) -> Option<usize> {
    let line = str::from_utf8(request).ok()?.lines().next()?;
    let (_, query) = line.split(' ').nth(1)?.split_once('?')?;
    let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
    after.map_or(Some(0), |after| after.parse().ok())
}

//! The least that answers HTTP/1.1 with keep-alive: what is measured is the client.

use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The length of an answer's body.
pub(crate) const BODY: usize = 119;

const ANSWER: &str = concat!(
    "HTTP/1.1 200 OK\r\n",
    "content-type: application/json;charset=utf-8\r\n",
    "content-length: 119\r\n",
    "date: Tue, 24 Nov 2026 09:00:00 GMT\r\n",
    "x-request-id: 4f2a9c1e-52c7-4a63-8a8e-0a5a1c2f77d1\r\n",
    "\r\n",
    r#"{"id":"501","properties":{"email":"ada@example.com","firstname":"Ada"},"createdAt":"2026-11-24T09:00:00Z","archived":0}"#
);

/// Says its port on stdout and serves until stdin is closed: it does not outlive who started it.
pub(crate) fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        martlet_benches::serve_parent(listener.local_addr()?.port())?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream));
        }
    })
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // One request at a time: clients do not pipeline.
        if length(&buffer[..filled]).is_some_and(|length| filled >= length) {
            stream.write_all(ANSWER.as_bytes()).await?;
            filled = 0;
        }
    }
}

/// How long the request is, once its head is there.
fn length(request: &[u8]) -> Option<usize> {
    let head = request.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&request[..head]).ok()?;
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some(head + body.map_or(0, |body| body.parse().unwrap_or(0)))
}

use crate::Echo;
use async_trait::async_trait;
use martlet_base::{Clock, Timestamp};
use martlet_store::{
    Capabilities, Cell, CellKey, Committed, MemoryStore, Store, StoreError, StoreErrorKind, WriteBatch,
};
use martlet_testkit::SimServer;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(store: Option<Arc<dyn Store>>) -> SimServer {
    let addr = "127.0.0.1:0".parse().unwrap();
    SimServer::start(Arc::new(Echo::default()), addr, Clock::system(), store).await.unwrap()
}

async fn send(server: &SimServer, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    send_on(&mut stream, path).await;
    stream
}

async fn send_on(stream: &mut TcpStream, path: &str) {
    let request = format!("POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-length: 3\r\n\r\nabc");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads one answer with a whole body.
async fn answer(stream: &mut TcpStream) -> (String, String) {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or_else(|| panic!("no content-length in {head}"))
                .parse()
                .unwrap();
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
        assert!(stream.read_buf(&mut all).await.unwrap() > 0, "closed after {text}");
    }
}

async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).await.err().map(|e| e.kind());
    (all, error)
}

#[tokio::test]
async fn a_request_arrives_whole_and_the_connection_stays_open() {
    let server = start(None).await;
    assert_eq!(server.url(), format!("http://{}", server.addr()));
    let mut stream = send(&server, "/a%20b?q=x%26y").await;
    for _ in 0..3 {
        let (head, body) = answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(!head.contains("date:"), "a date of the system's clock: {head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (body["method"].as_str(), body["path"].as_str(), body["q"].as_str(), body["body"].as_u64()),
            (Some("POST"), Some("/a%20b"), Some("x&y"), Some(3))
        );
        send_on(&mut stream, "/a%20b?q=x%26y").await;
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_wire() {
    let server = start(None).await;
    let mut stream = send(&server, "/reset").await;
    let (bytes, error) = read_to_end(&mut stream).await;
    assert_eq!((bytes.len(), error), (0, Some(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn a_truncated_answer_promises_more_than_it_sends() {
    let server = start(None).await;
    for (path, sent) in
        [("/truncate/0", 0), ("/truncate/5", 5), ("/large/1", 1), ("/large/3000000", 3_000_000)]
    {
        let mut stream = send(&server, path).await;
        let (bytes, error) = read_to_end(&mut stream).await;
        assert_eq!(error, None, "{path}: closed, not reset");
        let end =
            bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{path}: no head"));
        let head = String::from_utf8_lossy(&bytes[..end]);
        let promised: usize =
            head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        assert_eq!(bytes.len() - end - 4, sent, "{path}");
        assert!(promised > sent, "{path}: {promised}");
    }
}

#[tokio::test]
async fn a_cut_beyond_the_end_cuts_nothing() {
    let server = start(None).await;
    let mut stream = send(&server, "/truncate/100000").await;
    let (head, _) = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_stall_sends_nothing_and_does_not_close() {
    let server = start(None).await;
    let mut stream = send(&server, "/stall").await;
    let clock = Clock::system();
    let limit = martlet_base::Deadline::after(clock.now(), Duration::from_millis(100));
    assert!(clock.within(limit, stream.read_u8()).await.is_none());
    // Others are served meanwhile.
    let mut other = send(&server, "/fine").await;
    answer(&mut other).await;
}

#[tokio::test]
async fn a_delay_passes_before_the_answer() {
    let server = start(None).await;
    let clock = Clock::system();
    let before = clock.now();
    let mut stream = send(&server, "/slow/80").await;
    answer(&mut stream).await;
    assert!(clock.now().since(before) >= Duration::from_millis(80));
}

#[tokio::test]
async fn what_is_stored_is_there_before_the_answer_and_after_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Clock::system()));
    let server = start(Some(Arc::clone(&store))).await;
    let mut stream = send(&server, "/put/a/1").await;
    answer(&mut stream).await;
    let cell = store.get(&[CellKey::new("sim/echo/a").unwrap()]).await.unwrap();
    assert_eq!(cell[0].as_ref().unwrap().value, "1");
    for path in ["/put/b/2", "/put/a/3", "/delete/b"] {
        let mut stream = send(&server, path).await;
        answer(&mut stream).await;
    }
    let addr = server.addr();
    server.shutdown().await;

    let echo = Arc::new(Echo::default());
    let again = SimServer::start(echo.clone(), addr, Clock::system(), Some(store)).await.unwrap();
    assert_eq!(again.addr(), addr, "the port is free again");
    assert_eq!(*echo.restored.lock().unwrap(), [("a".to_owned(), b"3".to_vec())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_ends_with_the_value_that_was_handled_last() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Clock::system()));
    let server = Arc::new(start(Some(Arc::clone(&store))).await);
    let writers: Vec<_> = (0..200)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let mut stream = send(&server, "/count").await;
                answer(&mut stream).await
            })
        })
        .collect();
    for writer in writers {
        assert!(writer.await.unwrap().0.starts_with("HTTP/1.1 200 "));
    }
    let cell = store.get(&[CellKey::new("sim/echo/count").unwrap()]).await.unwrap();
    assert_eq!(cell[0].as_ref().unwrap().value, "200");
}

#[tokio::test]
async fn a_write_that_cannot_be_stored_is_a_500() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Clock::system()));
    let server = start(Some(store)).await;
    let mut stream = send(&server, &format!("/put/{}/1", "k".repeat(600))).await;
    let (head, _) = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
}

/// Notes how large each batch is, and fails while it is told to.
#[derive(Debug)]
struct Watched {
    inner: MemoryStore,
    batches: Mutex<Vec<usize>>,
    down: AtomicBool,
}

#[async_trait]
impl Store for Watched {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        self.batches.lock().unwrap().push(batch.len());
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "down"));
        }
        self.inner.commit(batch).await
    }

    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        self.inner.get(keys).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&CellKey>,
        limit: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[tokio::test]
async fn each_write_is_committed_once_and_what_failed_goes_with_the_next() {
    let watched = Arc::new(Watched {
        inner: MemoryStore::new(Clock::system()),
        batches: Mutex::default(),
        down: AtomicBool::new(false),
    });
    let server = start(Some(watched.clone())).await;
    for (down, path, status) in [
        (false, "/put/a/1", 200),
        (true, "/put/b/2", 500),
        (true, "/read", 200),
        (false, "/put/c/3", 200),
        (false, "/put/d/4", 200),
    ] {
        watched.down.store(down, Ordering::SeqCst);
        let mut stream = send(&server, path).await;
        let (head, _) = answer(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
    assert_eq!(*watched.batches.lock().unwrap(), [1, 1, 2, 1]);
    assert_eq!(watched.scan("sim/echo/", None, 10).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_dropped_server_closes_its_connections() {
    let server = start(None).await;
    let mut stream = send(&server, "/stall").await;
    drop(server);
    let (bytes, _) = read_to_end(&mut stream).await;
    assert!(bytes.is_empty());
}

//! A server that does on each connection what a script says.

use martlet_base::Clock;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    No,
    Fin,
    Reset,
}

/// What happens to one request, or to one connection that never gets to read one.
#[derive(Debug)]
pub(crate) enum Step {
    /// Accepts and closes without reading.
    CloseBeforeReading(Close),
    /// Reads a request, writes these bytes, and closes or not.
    Answer(Vec<u8>, Close),
    /// The same, and closes after a pause.
    AnswerThenClose(Vec<u8>, Duration, Close),
    /// Reads what comes and never answers.
    Stall,
}

#[derive(Default)]
struct Seen {
    steps: Mutex<VecDeque<Step>>,
    requests: Mutex<Vec<String>>,
    connections: Mutex<usize>,
    closed: Notify,
}

pub(crate) struct Server {
    addr: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen { steps: Mutex::new(steps.into_iter().collect()), ..Seen::default() });
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    *seen.connections.lock().unwrap() += 1;
                    tokio::spawn(serve(stream, Arc::clone(&seen)));
                }
            }
        });
        Self { addr, seen, task }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.seen.connections.lock().unwrap()
    }

    /// Waits until a stalled connection was closed from the other side.
    pub(crate) async fn closed_by_client(&self) {
        self.seen.closed.notified().await;
    }

    /// Stops listening; the address refuses from then on.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn close(stream: &TcpStream, how: Close) {
    if how == Close::Reset {
        stream.set_zero_linger().unwrap();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    loop {
        let step = seen.steps.lock().unwrap().pop_front();
        match step {
            None => return,
            Some(Step::CloseBeforeReading(how)) => return close(&stream, how),
            Some(Step::Answer(bytes, how)) => {
                if !read(&mut stream, &seen).await {
                    // Nothing came on this one: the step is for the next connection.
                    seen.steps.lock().unwrap().push_front(Step::Answer(bytes, how));
                    return;
                }
                // The client may hang up before it has taken everything.
                let _ = stream.write_all(&bytes).await;
                if how != Close::No {
                    return close(&stream, how);
                }
            }
            Some(Step::AnswerThenClose(bytes, pause, how)) => {
                read(&mut stream, &seen).await;
                stream.write_all(&bytes).await.unwrap();
                Clock::system().sleep(pause).await;
                return close(&stream, how);
            }
            Some(Step::Stall) => {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                seen.closed.notify_one();
                return;
            }
        }
    }
}

/// Reads one request, or what a client sends in place of one until it pauses; false when nothing comes.
async fn read(stream: &mut TcpStream, seen: &Seen) -> bool {
    let mut all = Vec::new();
    loop {
        match stream.read_buf(&mut all).await {
            Ok(n) if n > 0 => {}
            _ => return false,
        }
        let text = String::from_utf8_lossy(&all).into_owned();
        if !text.starts_with("POST") {
            // A TLS hello.
            return true;
        }
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |l| l.parse().unwrap()) {
                seen.requests.lock().unwrap().push(text);
                return true;
            }
        }
    }
}

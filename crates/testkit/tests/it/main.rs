//! The testkit, tested: faults as a raw socket sees them, simulators in process.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy sees only test functions as tests")]

mod cassettes;
mod conformance;
mod layers;
mod scripted;
mod serve;
mod sim_transport;

use bytes::Bytes;
use martlet_testkit::{SimReply, SimRequest, SimTime, SimWrite, Simulator, WireFault};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts and echoes; `/reset`, `/truncate/{n}`, `/stall`, `/slow/{ms}` misbehave; `/put/{key}/{value}` and `/count` store.
#[derive(Debug, Default)]
struct Echo {
    restored: Mutex<Vec<(String, Vec<u8>)>>,
    count: AtomicU64,
}

impl Simulator for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn handle(&self, request: &SimRequest, now: SimTime) -> SimReply {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut reply = SimReply::json(
            200,
            &serde_json::json!({
                "method": request.method.as_str(),
                "path": request.path,
                "q": request.param("q"),
                "host": request.header("host"),
                "body": request.body.len(),
                "at": now.moment.as_nanos(),
            }),
        );
        match segments[..] {
            ["reset"] => reply.fault(WireFault::Reset),
            ["stall"] => reply.fault(WireFault::Stall),
            ["truncate", n] => reply.fault(WireFault::Truncate(n.parse().unwrap())),
            ["large", n] => {
                reply.body = vec![b'x'; 4 << 20].into();
                reply.fault(WireFault::Truncate(n.parse().unwrap()))
            }
            ["slow", ms] => reply.after(Duration::from_millis(ms.parse().unwrap())),
            ["put", key, value] => {
                reply.store([SimWrite::put(key, Bytes::copy_from_slice(value.as_bytes()))])
            }
            ["count"] => {
                let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
                reply.store([SimWrite::put("count", count.to_string())])
            }
            ["delete", key] => reply.store([SimWrite::delete(key)]),
            _ => reply,
        }
    }

    fn restore(&self, key: &str, value: &[u8]) {
        self.restored.lock().unwrap().push((key.to_owned(), value.to_vec()));
    }
}

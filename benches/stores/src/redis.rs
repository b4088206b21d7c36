//! Redis: ours; a stream by hand, which knows neither priorities, delays, order keys, duplicates nor dead letters; a stream with
//! scripts that bring it duplicates, delays and receipts that go stale; and apalis.

use crate::batcher::Batcher;
use crate::rounds::{Rates, tasks};
use crate::work::{CONSUMERS, fill, receive_and_ack};
use crate::{BODY, Options, Outcome, body, peers};
use bytes::Bytes;
use martlet_base::Clock;
use martlet_benches::Report;
use martlet_redis::RedisStore;
use martlet_store::{Message, QueueName, Store, WriteBatch};
use redis::aio::MultiplexedConnection;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const OURS: &str = "martlet-redis";
const STREAM: &str = "by hand (stream)";
const SCRIPTED: &str = "by hand (stream and scripts)";
const SEVERAL: &str = "martlet-redis, 4 handles";
const APALIS: &str = "apalis-redis";

const HANDLES: usize = 4;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Outcome {
    if let Ok(url) = std::env::var("MARTLET_TEST_REDIS_URL") {
        return measure(&url, None, options, report).await;
    }
    for appendfsync in ["always", "everysec"] {
        match Server::start(&options.folder.join(appendfsync), appendfsync).await {
            Ok(server) => measure(&server.url, Some(server.child.id()), options, report).await?,
            Err(error) => println!("\nRedis: not measured ({error})"),
        }
    }
    Ok(())
}

async fn measure(url: &str, server: Option<u32>, options: &Options, report: &mut Report) -> Outcome {
    let mut conn = connect(url).await?;
    let mut settings = Vec::new();
    for name in ["appendonly", "appendfsync"] {
        let found: Vec<String> = redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut conn).await?;
        settings.push(found.join(" "));
    }
    println!("\nRedis, {}, messages of {BODY} bytes", settings.join(", "));
    let case = format!("redis, {}", settings.pop().unwrap_or_default());
    let subjects = Subjects::open(url, server).await?;
    for waiters in [1, 16, 64, 256] {
        enqueue(&subjects, waiters, &case, options, report).await?;
    }
    several_enqueue(&subjects, &case, options, report).await?;
    receive(&subjects, &case, options, report).await
}

/// A server of our own, which ends with this.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    async fn start(folder: &Path, appendfsync: &str) -> Outcome<Self> {
        std::fs::create_dir_all(folder)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"])
            .args(["--appendonly", "yes", "--appendfsync", appendfsync])
            .args(["--auto-aof-rewrite-percentage", "0", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let server = Self { child, url: format!("redis://127.0.0.1:{port}") };
        for _ in 0..200 {
            if connect(&server.url).await.is_ok() {
                return Ok(server);
            }
            Clock::system().sleep(Duration::from_millis(25)).await;
        }
        Err("redis-server does not start".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn connect(url: &str) -> Outcome<MultiplexedConnection> {
    // As long as it takes: a disk that others keep busy syncs slowly.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?)
}

/// What is measured, each of them several times over, as several processes have it.
struct Subjects {
    url: String,
    server: Option<u32>,
    stores: Vec<RedisStore>,
    streams: Vec<Stream>,
}

impl Subjects {
    async fn open(url: &str, server: Option<u32>) -> Outcome<Self> {
        let (mut stores, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..HANDLES {
            stores.push(RedisStore::builder(url).prefix("bench").open().await?);
            streams.push(Stream { conn: connect(url).await?, scripts: Scripts::new() });
        }
        Ok(Self { url: url.to_owned(), server, stores, streams })
    }

    /// Empties the server and its file, so that a round does not pay for those before.
    async fn clear(&self) -> Outcome {
        let mut conn = self.streams[0].conn.clone();
        let _: () = redis::cmd("FLUSHALL").query_async(&mut conn).await?;
        let _: String = redis::cmd("BGREWRITEAOF").query_async(&mut conn).await?;
        loop {
            let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut conn).await?;
            if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
                break;
            }
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
        for key in [STREAM_KEY, SCRIPTED_KEY] {
            let group = ["CREATE", key, "workers", "0", "MKSTREAM"];
            let _: () = redis::cmd("XGROUP").arg(&group).query_async(&mut conn).await?;
        }
        Ok(())
    }
}

fn queue() -> Outcome<QueueName> {
    Ok(QueueName::new("inbox")?)
}

/// What so many waiters get enqueued by one handle.
async fn ours(store: &RedisStore, waiters: usize, seconds: f64) -> Outcome<f64> {
    let (store, queue, body) = (store.clone(), queue()?, body());
    let once = move || {
        let (store, batch) =
            (store.clone(), WriteBatch::new().enqueue(queue.clone(), Message::new(body.clone())));
        async move { Ok(store.commit(batch).await.map(|_| 1)?) }
    };
    tasks(waiters, seconds, once).await
}

/// The sum of what all of them get done at once.
async fn together(rates: impl Iterator<Item = impl Future<Output = Outcome<f64>>>) -> Outcome<f64> {
    Ok(futures_util::future::try_join_all(rates).await?.iter().sum())
}

async fn enqueue(
    subjects: &Subjects,
    waiters: usize,
    case: &str,
    options: &Options,
    report: &mut Report,
) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[STREAM, SCRIPTED, OURS, APALIS], subjects.server);
    let (stream, scripted) = (subjects.streams[0].batcher(), subjects.streams[0].scripted_batcher());
    for _ in 0..options.rounds {
        subjects.clear().await?;
        rates.round(STREAM, stream.fill(waiters, options.seconds)).await?;
        subjects.clear().await?;
        rates.round(SCRIPTED, scripted.fill(waiters, options.seconds)).await?;
        subjects.clear().await?;
        rates.round(OURS, ours(&subjects.stores[0], waiters, options.seconds)).await?;
        if let Some(program) = &options.peers {
            subjects.clear().await?;
            let (waiters, seconds) = (waiters.to_string(), options.seconds.to_string());
            let args = ["redis-push".as_ref(), subjects.url.as_ref(), waiters.as_ref(), seconds.as_ref()];
            peer(&mut rates, program, &args).await;
        }
    }
    subjects.clear().await?;
    rates.tell(&format!("{case}: enqueue, {waiters} waiters"), report);
    Ok(())
}

/// A round of apalis, which is left out when it fails: it waits for half a second for the server, and no longer.
async fn peer(rates: &mut Rates, program: &Path, args: &[&OsStr]) {
    if let Err(error) = rates.round(APALIS, async { peers::ask(program, args) }).await {
        println!("{APALIS}: a round is left out ({error})");
    }
}

/// Several processes that write to one queue.
async fn several_enqueue(subjects: &Subjects, case: &str, options: &Options, report: &mut Report) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[STREAM, SCRIPTED, OURS, SEVERAL], subjects.server);
    let streams: Vec<_> = subjects.streams.iter().map(Stream::batcher).collect();
    let scripted: Vec<_> = subjects.streams.iter().map(Stream::scripted_batcher).collect();
    for _ in 0..options.rounds {
        for (name, batchers) in [(STREAM, &streams), (SCRIPTED, &scripted)] {
            subjects.clear().await?;
            let all = batchers.iter().map(|batcher| batcher.fill(64 / HANDLES, options.seconds));
            rates.round(name, together(all)).await?;
        }
        subjects.clear().await?;
        let all = subjects.stores.iter().map(|store| ours(store, 64 / HANDLES, options.seconds));
        rates.round(SEVERAL, together(all)).await?;
        subjects.clear().await?;
        rates.round(OURS, ours(&subjects.stores[0], 64, options.seconds)).await?;
    }
    subjects.clear().await?;
    rates.tell(&format!("{case}: enqueue, 64 waiters of 4 connections"), report);
    Ok(())
}

async fn receive(subjects: &Subjects, case: &str, options: &Options, report: &mut Report) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[STREAM, SCRIPTED, OURS, SEVERAL, APALIS], subjects.server);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number of batches")]
    let batches = (options.seconds * 240.0) as usize;
    let (queue, bodies) = (queue()?, vec![body(); 500]);
    for _ in 0..options.rounds {
        subjects.clear().await?;
        for _ in 0..batches {
            subjects.streams[0].add(&bodies).await?;
        }
        let all = subjects.streams.iter().map(|stream| {
            let stream = stream.clone();
            tasks(1, options.seconds, move || stream.clone().read_and_delete())
        });
        rates.round(STREAM, together(all)).await?;
        subjects.clear().await?;
        for _ in 0..batches {
            subjects.streams[0].add_scripted(&bodies).await?;
        }
        let all = subjects.streams.iter().map(|stream| {
            let stream = stream.clone();
            tasks(1, options.seconds, move || stream.clone().read_and_delete_scripted())
        });
        rates.round(SCRIPTED, together(all)).await?;
        for (name, handles) in [(OURS, 1), (SEVERAL, HANDLES)] {
            subjects.clear().await?;
            fill(&subjects.stores[0], &queue, batches).await?;
            let all = subjects.stores[..handles]
                .iter()
                .map(|store| receive_and_ack(store, &queue, CONSUMERS / handles, options.seconds));
            rates.round(name, together(all)).await?;
        }
        if let Some(program) = &options.peers {
            subjects.clear().await?;
            let seconds = options.seconds.to_string();
            let args = ["redis-work".as_ref(), subjects.url.as_ref(), seconds.as_ref()];
            peer(&mut rates, program, &args).await;
        }
    }
    subjects.clear().await?;
    rates.tell(&format!("{case}: receive(64) and acknowledge, 4 consumers"), report);
    Ok(())
}

const STREAM_KEY: &str = "{hand}:stream";
const SCRIPTED_KEY: &str = "{hand}:scripted";
const DEDUP_KEY: &str = "{hand}:dedup";
const DELAYED_KEY: &str = "{hand}:delayed";
const BODIES_KEY: &str = "{hand}:bodies";
const COUNTS_KEY: &str = "{hand}:counts";

/// For each of `ARGV`'s dedup keys, times and bodies: nothing if the key is known, else to the delayed ones or into the stream.
const ADD: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ids, added = {}, 0
for i = 1, #ARGV, 3 do
    local dedup, at = ARGV[i], tonumber(ARGV[i + 1])
    local known = dedup ~= '' and redis.call('HGET', KEYS[2], dedup)
    if known then
        ids[#ids + 1] = known
    else
        local id
        if at > now then
            id = redis.call('HINCRBY', KEYS[5], 'delayed', 1)
            redis.call('HSET', KEYS[4], id, ARGV[i + 2])
            redis.call('ZADD', KEYS[3], at, id)
        else
            id = redis.call('XADD', KEYS[1], '*', 'body', ARGV[i + 2])
        end
        if dedup ~= '' then redis.call('HSET', KEYS[2], dedup, id) end
        ids[#ids + 1], added = id, added + 1
    end
end
redis.call('HINCRBY', KEYS[5], 'enqueued', added)
return ids
";

/// Moves what is due from the delayed ones into the stream.
const PROMOTE: &str = r"
local time = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time[1] * 1000000 + time[2], 'LIMIT', 0, 100)
for _, id in ipairs(due) do
    redis.call('XADD', KEYS[1], '*', 'body', redis.call('HGET', KEYS[3], id))
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[2], id)
end
return #due
";

/// Removes those of `ARGV` whose delivery is still the one that was told: ids and counts.
const ACK: &str = r"
local good = {}
for i = 1, #ARGV, 2 do
    local pending = redis.call('XPENDING', KEYS[1], 'workers', ARGV[i], ARGV[i], 1)[1]
    if pending and pending[4] == tonumber(ARGV[i + 1]) then good[#good + 1] = ARGV[i] end
end
if #good > 0 then
    redis.call('XACK', KEYS[1], 'workers', unpack(good))
    redis.call('XDEL', KEYS[1], unpack(good))
    redis.call('HINCRBY', KEYS[2], 'acked', #good)
end
return #good
";

#[derive(Clone)]
struct Scripts {
    add: Arc<redis::Script>,
    promote: Arc<redis::Script>,
    ack: Arc<redis::Script>,
}

impl Scripts {
    fn new() -> Self {
        let script = |text| Arc::new(redis::Script::new(text));
        Self { add: script(ADD), promote: script(PROMOTE), ack: script(ACK) }
    }
}

/// What a program has that uses streams by hand.
#[derive(Clone)]
struct Stream {
    conn: MultiplexedConnection,
    scripts: Scripts,
}

impl Stream {
    fn batcher(&self) -> Batcher {
        let stream = self.clone();
        Batcher::start(move |bodies| {
            let stream = stream.clone();
            async move { stream.add(&bodies).await }
        })
    }

    fn scripted_batcher(&self) -> Batcher {
        let stream = self.clone();
        Batcher::start(move |bodies| {
            let stream = stream.clone();
            async move { stream.add_scripted(&bodies).await }
        })
    }

    async fn add(&self, bodies: &[Bytes]) -> Outcome {
        let mut pipe = redis::pipe();
        for body in bodies {
            pipe.cmd("XADD").arg(STREAM_KEY).arg("*").arg("body").arg(&body[..]);
        }
        let _: Vec<String> = pipe.query_async(&mut self.conn.clone()).await?;
        Ok(())
    }

    async fn add_scripted(&self, bodies: &[Bytes]) -> Outcome {
        let mut add = self.scripts.add.key(SCRIPTED_KEY);
        add.key(DEDUP_KEY).key(DELAYED_KEY).key(BODIES_KEY).key(COUNTS_KEY);
        for body in bodies {
            add.arg("").arg(0).arg(&body[..]);
        }
        let _: Vec<String> = add.invoke_async(&mut self.conn.clone()).await?;
        Ok(())
    }

    /// The ids of up to 64 messages.
    async fn read(&self, key: &str) -> Outcome<Vec<String>> {
        type Entries = Vec<(String, Vec<Bytes>)>;
        let mut read = redis::cmd("XREADGROUP");
        read.arg(&["GROUP", "workers", "worker", "COUNT", "64", "STREAMS", key, ">"]);
        let found: Option<Vec<(String, Entries)>> = read.query_async(&mut self.conn.clone()).await?;
        let entries = found.into_iter().flatten().flat_map(|(_, entries)| entries);
        Ok(entries.map(|(id, _)| id).collect())
    }

    async fn read_and_delete(self) -> Outcome<usize> {
        let ids = self.read(STREAM_KEY).await?;
        if !ids.is_empty() {
            let mut pipe = redis::pipe();
            pipe.cmd("XACK").arg(STREAM_KEY).arg("workers").arg(&ids);
            pipe.cmd("XDEL").arg(STREAM_KEY).arg(&ids);
            let _: Vec<usize> = pipe.query_async(&mut self.conn.clone()).await?;
        }
        Ok(ids.len())
    }

    async fn read_and_delete_scripted(self) -> Outcome<usize> {
        let mut promote = self.scripts.promote.key(SCRIPTED_KEY);
        promote.key(DELAYED_KEY).key(BODIES_KEY);
        let mut conn = self.conn.clone();
        // The connection sends the one behind the other, without waiting between them.
        let (promoted, ids) = tokio::join!(promote.invoke_async::<usize>(&mut conn), self.read(SCRIPTED_KEY));
        promoted?;
        let ids = ids?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut ack = self.scripts.ack.key(SCRIPTED_KEY);
        ack.key(COUNTS_KEY);
        for id in &ids {
            ack.arg(id).arg(1);
        }
        Ok(ack.invoke_async(&mut self.conn.clone()).await?)
    }
}

//! Eight processes on one server with everything on that makes it safe; they, and it, are killed at random under load.

use martlet_base::Clock;
use martlet_postgres::PostgresStore;
use martlet_store::Store;
use martlet_store::conformance::crash::{Crew, kills, work};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const URL: &str = "MARTLET_POSTGRES_CRASH_URL";
const NAME: &str = "MARTLET_POSTGRES_CRASH_NAME";
const PROCESSES: usize = 8;

/// A server of one's own, which can be killed.
struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    root: bool,
}

impl Cluster {
    fn new() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = versions
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("initdb").is_file())
            .max()?;
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let folder = std::env::temp_dir().join(crate::schema("martlet_crash"));
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let cluster = Self { programs, folder, port, child: None, root };
        std::fs::create_dir(&cluster.folder).unwrap();
        if root {
            let status = Command::new("chown").arg("postgres").arg(&cluster.folder).status().unwrap();
            assert!(status.success());
        }
        let output = cluster
            .command("initdb")
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// PostgreSQL does not run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !self.root {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?connect_timeout=2", self.port)
    }

    async fn start(&mut self) {
        // What makes it safe is on by default; it is said here all the same.
        let safe = [
            "fsync=on",
            "full_page_writes=on",
            "synchronous_commit=on",
            "listen_addresses=127.0.0.1",
            "max_connections=200",
        ];
        // After a crash the whole folder is synced; one call for all its files is as safe, and quicker.
        let quick = "recovery_init_sync_method=syncfs";
        let real = Clock::system();
        // Processes of the one before may be about to end: it does not start beside them.
        for _ in 0..100 {
            let mut child = self
                .command("postgres")
                .arg("-D")
                .arg(self.data())
                .arg("-k")
                .arg(&self.folder)
                .args(["-p", &self.port.to_string()])
                .args(safe.iter().flat_map(|option| ["-c", option]))
                .args(cfg!(target_os = "linux").then_some(["-c", quick]).into_iter().flatten())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            for _ in 0..200 {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.is_ok() {
                    self.child = Some(child);
                    return;
                }
                real.sleep(Duration::from_millis(50)).await;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("PostgreSQL does not start");
    }

    /// Waits until the server has done what killed processes had asked of it.
    async fn nobody_is_left(&self) {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            Clock::system().sleep(Duration::from_millis(20)).await;
        }
    }

    /// The server itself, by its id: `child` may be `runuser`.
    fn signal(&mut self, signal: &str) {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = text.lines().next() {
            let _ = Command::new("kill").args([signal, pid.trim()]).stderr(Stdio::null()).status();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal("-INT");
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// In the parent's run this does nothing: the test below starts it in processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let (Ok(url), Ok(name)) = (std::env::var(URL), std::env::var(NAME)) else { return };
    let real = Clock::system();
    let store = loop {
        // The server may be down just now.
        match PostgresStore::builder(&url).connections(4).wait(Duration::from_secs(3)).open().await {
            Ok(store) => break store,
            Err(_) => real.sleep(Duration::from_millis(50)).await,
        }
    };
    work(Arc::new(store), &name, |line| {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "witness: {line} .").is_err() {
            std::process::exit(1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_and_servers_break_no_promise() {
    let Some(mut cluster) = Cluster::new() else {
        return crate::skip("the crash test needs PostgreSQL's programs in /usr/lib/postgresql");
    };
    cluster.start().await;
    PostgresStore::open(&cluster.url()).await.unwrap().close().await;
    let url = cluster.url();
    let spawn = move |n: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::what_a_process_does", "--nocapture", "--test-threads=1"])
            .env(URL, &url)
            .env(NAME, format!("p{n}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut crew = Crew::start(PROCESSES, spawn);
    let (mut clients, mut servers, wanted) = (0, 0, kills());
    while clients + servers < wanted {
        for _ in 0..4 {
            clients += crew.kill_some();
            crew.listen(20);
            cluster.signal("-KILL");
            servers += 1;
            cluster.start().await;
        }
        crew.stop();
        cluster.nobody_is_left().await;
        let store = PostgresStore::open(&cluster.url()).await.unwrap();
        crew.witness.check(&store as &dyn Store).await;
        store.close().await;
        if clients + servers < wanted {
            crew.go_on(PROCESSES);
        }
    }
    let heard = crew.witness.heard();
    writeln!(std::io::stderr(), "{clients} clients and {servers} servers killed, {heard} promises kept")
        .unwrap();
    assert!(heard > 10 * wanted);
    drop(crew);
    assert!(Path::new(&cluster.data()).is_dir());
}

//! A server of a test's own, with everything on that makes it safe.

use martlet_base::Clock;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server of one's own, which can be killed.
pub(crate) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    root: bool,
    /// What else the server is told, and its environment.
    pub(crate) options: Vec<String>,
    pub(crate) env: Vec<(String, PathBuf)>,
    /// Where `url` leads.
    pub(crate) database: &'static str,
}

impl Cluster {
    /// An empty one.
    pub(crate) fn new() -> Option<Self> {
        let cluster = Self::without_data()?;
        let args = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
        cluster.run("initdb", &args);
        Some(cluster)
    }

    /// One that follows `self`, which is running.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::without_data().expect("the programs are there");
        let port = self.port.to_string();
        let args = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-c", "fast", "--no-sync", "-D"];
        standby.run("pg_basebackup", &args);
        standby
    }

    /// From now on it writes.
    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["promote", "-D"]);
    }

    /// A program that ends, told where the data is.
    fn run(&self, program: &str, args: &[&str]) {
        let output = self.command(program).args(args).arg(self.data()).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn without_data() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = versions
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("initdb").is_file())
            .max()?;
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let folder = std::env::temp_dir().join(crate::schema("martlet_crash"));
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let cluster = Self {
            programs,
            folder,
            port,
            child: None,
            root,
            options: Vec::new(),
            env: Vec::new(),
            database: "postgres",
        };
        std::fs::create_dir(&cluster.folder).unwrap();
        if root {
            let status = Command::new("chown").arg("postgres").arg(&cluster.folder).status().unwrap();
            assert!(status.success());
        }
        Some(cluster)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A file beside the data that the server may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        self.own(&path);
        path
    }

    /// Makes a file the server's own.
    pub(crate) fn own(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if self.root {
            assert!(Command::new("chown").arg("postgres").arg(path).status().unwrap().success());
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
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

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}?connect_timeout=2", self.port, self.database)
    }

    pub(crate) async fn start(&mut self) {
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
                .args(self.options.iter().flat_map(|option| ["-c", option]))
                .envs(self.env.iter().map(|(name, value)| (name, value)))
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
    pub(crate) async fn nobody_is_left(&self) {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            Clock::system().sleep(Duration::from_millis(20)).await;
        }
    }

    /// The server itself, by its id: `child` may be `runuser`.
    pub(crate) fn signal(&mut self, signal: &str) {
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

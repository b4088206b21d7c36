//! A Redis server of one's own, whose process can be killed and whose machine can lose its power.

use martlet_base::Clock;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Notes how much of a file has certainly reached the disk: what was in it when a sync began that succeeded.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int noted(const char *name, int fd) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
    int result = sync(fd);
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = known && result == 0 ? readlink(link, path, sizeof path - 16) : -1;
    if (length < 0) return result;
    strcpy(path + length, ".synced");
    int note = open(path, O_WRONLY | O_CREAT, 0600);
    char size[32];
    int digits = snprintf(size, sizeof size, "%020lld\n", (long long)before.st_size);
    if (note >= 0 && pwrite(note, size, digits, 0) == digits) close(note);
    return result;
}
int fsync(int fd) { return noted("fsync", fd); }
int fdatasync(int fd) { return noted("fdatasync", fd); }
"#;

pub(crate) struct Server {
    folder: tempfile::TempDir,
    port: u16,
    args: Vec<String>,
    shim: Option<PathBuf>,
    child: Option<Child>,
}

/// Whether there is a Redis to start.
pub(crate) fn is_installed() -> bool {
    Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    /// With these options; it is not started yet. `None` when Redis is not installed.
    pub(crate) fn new(args: &[&str]) -> Option<Self> {
        is_installed().then(|| Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            args: args.iter().map(ToString::to_string).collect(),
            shim: None,
            child: None,
        })
    }

    /// That appends to its file and syncs as `appendfsync` says.
    pub(crate) fn durable(appendfsync: &str) -> Option<Self> {
        let options =
            ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--appendfsync", appendfsync];
        let mut server = Self::new(&options)?;
        server.shim = Some(shim(server.folder.path())?);
        Some(server)
    }

    /// A node of a cluster that is still to be made.
    #[cfg(feature = "cluster")]
    pub(crate) fn node() -> Self {
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
        Self::new(&options).unwrap()
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For the next start.
    pub(crate) fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(ToString::to_string).collect();
    }

    pub(crate) async fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--loglevel",
                "warning",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim);
        }
        self.child = Some(command.spawn().unwrap());
        let client = redis::Client::open(self.url()).unwrap();
        for _ in 0..600 {
            if let Ok(mut conn) = client.get_multiplexed_async_connection().await
                // Refused while it reads its file.
                && redis::cmd("PING").query_async::<String>(&mut conn).await.is_ok()
            {
                return;
            }
            Clock::system().sleep(Duration::from_millis(25)).await;
        }
        panic!("Redis does not start");
    }

    /// Waits until it has done what processes that are gone had asked of it.
    pub(crate) async fn nobody_is_left(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut conn = client.get_multiplexed_async_connection().await.unwrap();
        loop {
            let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut conn).await.unwrap();
            if list.lines().count() == 1 {
                return;
            }
            Clock::system().sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL: no byte that the kernel had is lost.
    pub(crate) fn kill(&mut self) -> u64 {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        0
    }

    /// The end of its machine: what was not synced is gone. Returns how many bytes that were.
    pub(crate) fn cut_power(&mut self) -> u64 {
        self.kill();
        let mut lost = 0;
        for note in files(&self.folder.path().join("appendonlydir")) {
            if note.extension().is_some_and(|extension| extension == "synced") {
                let size: u64 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
                let path = note.with_extension("");
                let Ok(file) = std::fs::File::options().write(true).open(&path) else { continue };
                lost += file.metadata().unwrap().len().saturating_sub(size);
                file.set_len(size.min(file.metadata().unwrap().len())).unwrap();
            }
        }
        lost
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// `None` where there is no C compiler.
fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("noted.c"), folder.join("noted.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    built.is_ok_and(|status| status.success()).then_some(library)
}

//! The database servers that tests need: started for a run of the tests, on ports that the system chooses, in folders that go
//! with them, and ended by their ids.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(30);

/// A kind of server, and whose tests want it.
struct Kind {
    packages: &'static [&'static str],
    variable: &'static str,
    /// What apt calls it.
    apt: &'static str,
    start: fn(&Urls) -> Result<Server, String>,
}

/// What earlier servers are reached by, under the names of their variables.
type Urls = BTreeMap<&'static str, String>;

const POSTGRES: &str = "MARTLET_TEST_POSTGRES_URL";

const KINDS: [Kind; 4] = [
    Kind {
        packages: &["martlet-postgres", "martlet-redis", "martlet-example-outbox"],
        variable: POSTGRES,
        apt: "postgresql",
        start: |_| postgres(),
    },
    Kind {
        packages: &["martlet-postgres"],
        variable: "MARTLET_TEST_PGBOUNCER_URL",
        apt: "pgbouncer",
        start: |urls| pgbouncer(urls.get(POSTGRES).ok_or("there is no PostgreSQL")?),
    },
    Kind {
        packages: &["martlet-redis"],
        variable: "MARTLET_TEST_REDIS_URL",
        apt: "redis-server",
        start: |_| redis(),
    },
    Kind {
        packages: &["martlet-redis"],
        variable: "MARTLET_TEST_REDIS_CLUSTER_URL",
        apt: "redis-server",
        start: |_| redis_cluster(),
    },
];

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Whom to tell to stop: the server itself, where `child` only started it.
    pid: u32,
    folder: PathBuf,
    url: String,
    /// Others that end with it.
    _with: Vec<Server>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT: all of these servers end at once and in order. The command is there wherever they are.
        let told = Command::new("kill").args(["-INT", &self.pid.to_string()]).status();
        if told.is_ok_and(|status| status.success()) {
            // It has nothing left to do; still, nobody waits for ever.
            for _ in 0..100 {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    break;
                }
                pause(Duration::from_millis(100));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts what the tests of `packages` need (`None`: all packages) and adds the variables that name it to `cargo`.
///
/// A variable that is set already is left alone. A server that cannot be started fails the run when `in_ci`, and is told
/// otherwise: its tests then skip themselves.
pub(crate) fn provide(
    cargo: &mut Command,
    packages: Option<&[String]>,
    in_ci: bool,
) -> Result<Vec<Server>, String> {
    let (mut servers, mut urls) = (Vec::new(), Urls::new());
    for kind in KINDS {
        let is_for = |package: &String| kind.packages.contains(&package.as_str());
        let wanted = packages.is_none_or(|packages| packages.iter().any(is_for));
        let given = std::env::var(kind.variable).ok().filter(|value| !value.is_empty());
        let is_given = given.is_some();
        urls.extend(given.map(|url| (kind.variable, url)));
        if !wanted || is_given || !kind.packages.iter().any(|package| is_member(package)) {
            continue;
        }
        let started = (kind.start)(&urls).or_else(|missing| {
            install(kind.apt).map_err(|reason| format!("{missing}; {reason}"))?;
            (kind.start)(&urls)
        });
        match started {
            Ok(server) => {
                cargo.env(kind.variable, &server.url);
                urls.insert(kind.variable, server.url.clone());
                servers.push(server);
            }
            Err(reason) if in_ci => {
                return Err(format!("{} cannot be tested: {reason}", kind.packages.join(", ")));
            }
            Err(reason) => eprintln!("SKIPPED {}: {reason}", kind.packages.join(", ")),
        }
    }
    Ok(servers)
}

fn is_member(package: &str) -> bool {
    crate::workspace::Workspace::load()
        .is_ok_and(|workspace| workspace.packages.iter().any(|member| member.name == package))
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn install(package: &str) -> Result<(), String> {
    if !is_root() {
        return Err(format!("only root can `apt-get install {package}`"));
    }
    let apt =
        |args: &[&str]| output(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args));
    // The lists of packages may be missing or old.
    let install = ["install", "-y", "--no-install-recommends", package];
    apt(&install).or_else(|_| apt(&["update"]).and_then(|_| apt(&install))).map(drop)
}

/// What a command says, or why it failed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("`{name}` does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{name}` failed: {}", words.trim().lines().last().unwrap_or("without a word")))
}

/// An empty folder that others may enter.
pub(crate) fn folder(name: &str) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("cannot make a folder: {error}");
    for n in 0.. {
        let folder = std::env::temp_dir().join(format!("martlet-{name}-{}-{n}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => {
                #[cfg(unix)]
                {
                    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                    fs::set_permissions(&folder, all).map_err(failed)?;
                }
                return Ok(folder);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    unreachable!("the numbers do not end")
}

/// A port that is free now. Somebody may take it before the server does: then it does not come up, and is tried again.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no port is free: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no port is free: {error}"))
}

pub(crate) fn log_file(path: &Path) -> Result<fs::File, String> {
    fs::File::create(path).map_err(|error| format!("cannot make a file: {error}"))
}

fn pause(time: Duration) {
    let (_open, nothing) = std::sync::mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// Waits until `child` answers on `port`, and is still alive then: somebody else's server might answer.
pub(crate) fn wait_until_ready(child: &mut Child, port: u16, log: &Path) -> Result<(), String> {
    const STEP: Duration = Duration::from_millis(50);
    for _ in 0..READY.as_millis() / STEP.as_millis() {
        if let Ok(Some(status)) = child.try_wait() {
            let words = fs::read_to_string(log).unwrap_or_default();
            return Err(format!(
                "it ended at once ({status}): {}",
                words.trim().lines().last().unwrap_or_default()
            ));
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            pause(STEP * 4);
            return match child.try_wait() {
                Ok(None) => Ok(()),
                _ => Err("it ended when it had begun to answer".to_owned()),
            };
        }
        pause(STEP);
    }
    Err(format!("it does not answer within {READY:?}"))
}

/// Tries again with another port: the first may have been taken meanwhile.
fn attempt(start: impl Fn(u16) -> Result<Server, String>) -> Result<Server, String> {
    (0..2).find_map(|_| free_port().and_then(&start).ok()).map_or_else(|| start(free_port()?), Ok)
}

/// The server program of the newest version that Debian's packages have put aside, or the one on the path.
fn postgres_programs() -> Result<PathBuf, String> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").is_file());
    if let Some(newest) = newest.max_by_key(|path| number(path)) {
        return Ok(newest.join("bin"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .ok_or_else(|| "PostgreSQL is not installed".to_owned())
}

fn postgres() -> Result<Server, String> {
    let programs = postgres_programs()?;
    let root = is_root();
    // PostgreSQL does not run as root.
    let command = |program: &str| {
        let program = programs.join(program);
        if !root {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    };
    attempt(|port| {
        let folder = folder("postgres")?;
        let (data, log) = (folder.join("data"), folder.join("log"));
        fs::create_dir(&data).map_err(|error| format!("cannot make a folder: {error}"))?;
        if root {
            output(Command::new("chown").arg("postgres").arg(&data))?;
        }
        let args = ["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D"];
        output(command("initdb").args(args).arg(&data))?;
        // Nothing here outlives the run. Tests of what survives a crash start servers of their own.
        let quick = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];
        let mut start = command("postgres");
        start.arg("-D").arg(&data).arg("-k").arg(&data).args(["-p", &port.to_string()]);
        start.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=400"]);
        start.args(quick.iter().flat_map(|option| ["-c", option]));
        let mut child = start
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&log)?)
            .current_dir(&folder)
            .spawn()
            .map_err(|error| format!("PostgreSQL does not start: {error}"))?;
        let ready = wait_until_ready(&mut child, port, &log);
        let id = fs::read_to_string(data.join("postmaster.pid")).ok();
        let pid = id.and_then(|text| text.lines().next()?.trim().parse().ok()).unwrap_or_else(|| child.id());
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let server = Server { child, pid, folder, url, _with: Vec::new() };
        ready.map(|()| server).map_err(|reason| format!("PostgreSQL: {reason}"))
    })
}

/// In transaction mode: each transaction gets another connection to the server.
fn pgbouncer(url: &str) -> Result<Server, String> {
    let program =
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
    let program = program.ok_or("PgBouncer is not installed")?;
    // `postgres://user@host:port/database`, as `postgres` above makes them and anybody may give one.
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (login, place) = rest.rsplit_once('@').ok_or("the URL of PostgreSQL names no user")?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (address, database) = place.split_once('/').unwrap_or((place, "postgres"));
    let (host, server_port) = address.split_once(':').unwrap_or((address, "5432"));
    let root = is_root();
    attempt(|port| {
        let folder = folder("pgbouncer")?;
        let (data, log) = (folder.join("data"), folder.join("log"));
        let (config, pidfile) = (folder.join("pgbouncer.ini"), data.join("pid"));
        fs::create_dir(&data).map_err(|error| format!("cannot make a folder: {error}"))?;
        let login = if password.is_empty() { String::new() } else { format!(" password={password}") };
        let text = format!(
            "[databases]\n{database} = host={host} port={server_port} user={user}{login}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\nmax_client_conn = 2000\ndefault_pool_size = 40\npidfile = {}\n",
            pidfile.display()
        );
        fs::write(&config, text).map_err(|error| format!("cannot make a file: {error}"))?;
        // It does not run as root either.
        let mut start = Command::new(program);
        if root {
            output(Command::new("chown").arg("postgres").arg(&data))?;
            start = Command::new("runuser");
            start.args(["-u", "postgres", "--", program]);
        }
        let mut child = start
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&log)?)
            .current_dir(&folder)
            .spawn()
            .map_err(|error| format!("PgBouncer does not start: {error}"))?;
        let ready = wait_until_ready(&mut child, port, &log);
        let id = fs::read_to_string(pidfile).ok();
        let pid = id.and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| child.id());
        let url = format!("postgres://{user}@127.0.0.1:{port}/{database}");
        let server = Server { child, pid, folder, url, _with: Vec::new() };
        ready.map(|()| server).map_err(|reason| format!("PgBouncer: {reason}"))
    })
}

fn redis() -> Result<Server, String> {
    redis_with(&[])
}

/// Three nodes that share the slots.
fn redis_cluster() -> Result<Server, String> {
    let node = || {
        let bus = free_port()?.to_string();
        redis_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
    };
    let (mut first, others) = (node()?, vec![node()?, node()?]);
    let nodes: Vec<String> =
        [&first].into_iter().chain(&others).map(|node| node.url.replace("redis://", "")).collect();
    output(Command::new("redis-cli").args(["--cluster", "create"]).args(&nodes).arg("--cluster-yes"))?;
    for node in &nodes {
        let (host, port) = node.split_once(':').unwrap_or_default();
        let is_ready = || {
            let info = output(Command::new("redis-cli").args(["-h", host, "-p", port, "CLUSTER", "INFO"]));
            info.is_ok_and(|info| info.contains("cluster_state:ok"))
        };
        let mut looks = (0..100).map(|look| {
            pause(if look > 0 { READY / 100 } else { Duration::ZERO });
            is_ready()
        });
        if !looks.any(|ready| ready) {
            return Err(format!("the Redis cluster is not ready within {READY:?}"));
        }
    }
    first._with = others;
    Ok(first)
}

fn redis_with(options: &[&str]) -> Result<Server, String> {
    output(Command::new("redis-server").arg("--version")).map_err(|_| "Redis is not installed".to_owned())?;
    attempt(|port| {
        let folder = folder("redis")?;
        let log = folder.join("log");
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&folder)
            .args(options)
            .stdin(Stdio::null())
            .stdout(log_file(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("Redis does not start: {error}"))?;
        let ready = wait_until_ready(&mut child, port, &log);
        let pid = child.id();
        let url = format!("redis://127.0.0.1:{port}");
        let server = Server { child, pid, folder, url, _with: Vec::new() };
        ready.map(|()| server).map_err(|reason| format!("Redis: {reason}"))
    })
}

/// The packages that the arguments of `cargo test` choose; `None`: all.
pub(crate) fn chosen(args: &[String]) -> Option<Vec<String>> {
    let mut packages = Vec::new();
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        let name = match arg.as_str() {
            "--workspace" | "--all" => return None,
            "-p" | "--package" => args.next().cloned(),
            other => other.strip_prefix("--package=").or_else(|| other.strip_prefix("-p")).map(str::to_owned),
        };
        packages.extend(name);
    }
    (!packages.is_empty()).then_some(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(line: &str) -> Option<Vec<String>> {
        chosen(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_packages_that_are_tested_are_known_in_every_spelling() {
        let two = Some(vec!["a".to_owned(), "b".to_owned()]);
        for line in ["-p a -p b", "-pa -pb", "--package=a --package b", "-p a --lib -p b -- -p c"] {
            assert_eq!(packages(line), two, "{line}");
        }
        for line in ["", "--workspace", "--lib -- a", "--workspace -p a"] {
            assert_eq!(packages(line), None, "{line}");
        }
    }

    #[test]
    fn a_server_that_ends_at_once_is_told() {
        let folder = folder("log").unwrap();
        let log = folder.join("log");
        let mut child = Command::new("sh")
            .args(["-c", "echo out of order >&2; exit 3"])
            .stderr(log_file(&log).unwrap())
            .spawn()
            .unwrap();
        let words = wait_until_ready(&mut child, free_port().unwrap(), &log).unwrap_err();
        fs::remove_dir_all(folder).unwrap();
        assert!(words.contains("out of order") && words.contains('3'), "{words}");
    }

    #[test]
    fn somebody_elses_server_on_the_port_is_not_taken_for_ours() {
        let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let mut child = Command::new("sh").args(["-c", "sleep 0.1"]).spawn().unwrap();
        assert!(wait_until_ready(&mut child, port, Path::new("none")).is_err());
    }

    #[test]
    fn a_server_ends_with_its_guard_and_takes_its_folder_along() {
        let folder = folder("test").unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        drop(Server { child, pid, folder: folder.clone(), url: String::new(), _with: Vec::new() });
        assert!(!folder.exists());
        let alive =
            Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
        assert!(!alive.success());
    }
}

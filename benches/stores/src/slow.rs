//! A disk that is slower than the one that is there: a little library before libc's adds a pause to each sync.

use std::path::Path;
use std::process::{Command, ExitStatus};

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int slow(const char *name, int fd) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = sync(fd);
    usleep((useconds_t)atoi(getenv("MARTLET_BENCH_SYNC_MICROS")));
    return result;
}
int fsync(int fd) { return slow("fsync", fd); }
int fdatasync(int fd) { return slow("fdatasync", fd); }
"#;

/// Set in a program whose disk is slowed down.
const MICROS: &str = "MARTLET_BENCH_SYNC_MICROS";

/// Whether this is the program that was run again.
pub(crate) fn is_slow() -> bool {
    std::env::var_os(MICROS).is_some()
}

/// Runs this program again with `micros` added to each sync. Needs a C compiler.
pub(crate) fn again(micros: u64, args: &[String]) -> Result<ExitStatus, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (source, library) = (folder.path().join("slow.c"), folder.path().join("slow.so"));
    std::fs::write(&source, SHIM).map_err(|error| error.to_string())?;
    compile(&source, &library)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(program)
        .args(args)
        .env("LD_PRELOAD", &library)
        .env(MICROS, micros.to_string())
        .status()
        .map_err(|error| error.to_string())
}

fn compile(source: &Path, library: &Path) -> Result<(), String> {
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(library)
        .arg(source)
        .arg("-ldl")
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the C compiler failed: {status}")),
        Err(error) => Err(format!("there is no C compiler: {error}")),
    }
}

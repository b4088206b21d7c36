//! Whose processor time it was: on a machine that is shared, steadier than a rate.

use std::fs;

/// Seconds of processor time so far: of this process, and of a server on this machine with all its processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) client: f64,
    pub(crate) server: f64,
}

/// What `/proc` counts in.
const TICKS_A_SECOND: f64 = 100.0;

impl Cpu {
    /// `postmaster`: the first process of the server. All is nothing where there is no `/proc`.
    pub(crate) fn now(postmaster: Option<u32>) -> Self {
        let seconds = |pid: u32, ended: bool| {
            let fields = fields(pid);
            let at = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
            // User and system, and that of children that have ended.
            (at(11) + at(12) + if ended { at(13) + at(14) } else { 0.0 }) / TICKS_A_SECOND
        };
        let server = postmaster.map_or(0.0, |postmaster| {
            seconds(postmaster, true) + children(postmaster).map(|pid| seconds(pid, false)).sum::<f64>()
        });
        Self { client: seconds(std::process::id(), false), server }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { client: self.client - before.client, server: self.server - before.server }
    }
}

/// The fields of `/proc/PID/stat` behind the name: the state is the first.
fn fields(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(str::to_owned).collect()
}

/// Who started a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    fields(pid).get(1)?.parse().ok()
}

fn children(of: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(move |pid| parent(*pid) == Some(of))
}

//! What several tests need.

use std::io::Write;

/// A line on stderr itself: libtest captures `eprintln!`, and a skipped or counted test must be seen.
pub(crate) fn say(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{line}").unwrap();
}

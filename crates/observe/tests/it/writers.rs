//! Many threads, and writers that fail.

use crate::kit::{Page, log, signals, valid};
use martlet_base::{Clock, ManualClock, Observer, Rng};
use martlet_observe::JsonLog;
use std::io::{self, Write};
use std::sync::{Arc, Barrier};

/// Takes at most 7 bytes at a time, so that a line in two pieces would be mixed with others.
struct Sips(Page);

impl Write for Sips {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(7)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_of_many_threads_never_mix() {
    const THREADS: usize = 8;
    const EACH: usize = 1_000;
    let page = Page::default();
    let log = Arc::new(JsonLog::new(Sips(page.clone()), Clock::system(), Rng::system()));
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let logged: Vec<_> = signals().into_iter().filter(|s| crate::kit::kind(s).1).collect();
                start.wait();
                logged.iter().cycle().take(EACH).for_each(|signal| log.observe(signal));
            });
        }
    });
    let lines = page.lines();
    assert_eq!(lines.len(), THREADS * EACH);
    assert_eq!(log.errors(), 0);
}

/// Does what its script says, one step a write: take so many bytes (all, if more than there are), or fail.
struct Moody {
    page: Page,
    script: std::vec::IntoIter<Option<usize>>,
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.script.next().unwrap_or(Some(usize::MAX)) {
            Some(n) => self.page.write(&bytes[..bytes.len().min(n)]),
            None => Err(io::Error::other("the disk is full")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::Error::other("the disk is full"))
    }
}

fn moody(script: Vec<Option<usize>>) -> (JsonLog, Page) {
    let page = Page::default();
    let writer = Moody { page: page.clone(), script: script.into_iter() };
    (JsonLog::new(writer, ManualClock::new().clock(), Rng::seeded(1)), page)
}

#[test]
fn a_writer_that_fails_costs_lines_and_they_are_counted() {
    // Fails at once, before anything of the line was taken: nothing has to be ended.
    let (log, page) = moody(vec![None, None]);
    for _ in 0..3 {
        log.observe(&signals()[0]);
    }
    assert_eq!(log.errors(), 2);
    assert_eq!(page.lines().len(), 1);
    assert!(log.flush().is_err());
    assert_eq!(log.errors(), 3);
}

#[test]
fn a_writer_that_takes_nothing_does_not_hang_the_log() {
    let (log, page) = moody(vec![Some(0)]);
    log.observe(&signals()[0]);
    assert_eq!((log.errors(), page.text().as_str()), (1, ""));
}

#[test]
fn a_line_cut_short_is_ended_before_the_next_begins() {
    // Ten bytes, failure; the line's end fails too at first.
    let (log, page) = moody(vec![Some(10), None, None]);
    for _ in 0..4 {
        log.observe(&signals()[0]);
    }
    assert_eq!(log.errors(), 2);
    let text = page.text();
    let (torn, whole) = text.split_once('\n').unwrap();
    assert_eq!(torn, "{\"ts\":\"202");
    assert_eq!(whole.lines().map(valid).count(), 2);
}

struct Panics;

impl Write for Panics {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("a bug in the writer")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_of_the_writer_does_not_lock_the_log_up() {
    let log = Arc::new(JsonLog::new(Panics, ManualClock::new().clock(), Rng::seeded(1)));
    let other = Arc::clone(&log);
    assert!(std::thread::spawn(move || other.observe(&signals()[0])).join().is_err());
    assert!(log.flush().is_ok());
}

#[test]
fn the_log_shows_no_content_when_it_is_printed() {
    let text = format!("{:?}", log().0);
    assert!(text.starts_with("JsonLog { run_id: \"019b76da-"), "{text}");
}

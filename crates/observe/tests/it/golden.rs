//! The lines to the letter: on a clock that stands still and with seeded ids they never change.

use crate::kit::{log, signals};
use martlet_base::Observer;

#[test]
fn the_lines_of_one_signal_of_each_kind() {
    let (log, page, _) = log();
    signals().iter().for_each(|signal| log.observe(signal));
    insta::assert_snapshot!(page.text());
}

//! Holds the benches `pager` and `extract`; they have a package of their own for the sake of their peers.

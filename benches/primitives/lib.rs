//! Holds the bench `primitives`; it has a package of its own for the sake of its peers.

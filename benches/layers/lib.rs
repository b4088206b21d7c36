//! Holds the bench `layer_overhead`; it has a package of its own for the sake of its peers.

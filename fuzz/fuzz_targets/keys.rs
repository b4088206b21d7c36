#![no_main]

#[allow(dead_code, reason = "every target is a binary of its own")]
#[path = "../../crates/webhooks/tests/it/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::keys(data));

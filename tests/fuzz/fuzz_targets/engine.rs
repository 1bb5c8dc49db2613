//! Any bytes are a program for a whole engine. The driver, with all that it demands, is that of the
//! property test (`crates/engine/tests/invariants.rs`): one verdict for each packet, no buffer lost,
//! every lease with a mapping, no inside address outside, and no panic.
//!
//! The committed corpus (`tests/fuzz/corpus/engine`) is written and checked by that test as well. What
//! has failed is run again by giving its file to the built target.
#![no_main]

#[allow(dead_code, reason = "the property test alone writes programs")]
#[path = "../../../crates/engine/tests/driver/mod.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|program: &[u8]| {
    driver::run(program);
});

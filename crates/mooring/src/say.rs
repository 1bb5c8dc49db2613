//! Lines for people: each one a single write, to whoever still listens.
//!
//! A reader that went away (a closed pipe, a full disk) is nobody's failure: what cannot be said is
//! lost, and the appliance goes on. The macros of the standard library panic there, so this crate
//! does without them.

use std::io::{self, Write};

/// Writes `line` and its line break to standard error: logs, warnings, failures.
pub(crate) fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes `line` and its line break to standard output: what was asked for.
pub(crate) fn answer(line: &str) {
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// How many there are of a thing whose plural ends in "s".
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

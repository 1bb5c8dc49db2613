//! The walk of one batch, and everything a worker needs for it: neighbours, counters, drop reasons.
//!
//! Sans-I/O: bytes, a time and a seed go in, bytes and verdicts come out. So the engine can be tested
//! with literal bytes, fuzzed whole, replayed from a capture and timed without a kernel in the way.
//!
//! Start at [`walk`].
#![forbid(unsafe_code)]

mod across;
mod classify;
mod counters;
mod cut;
mod drop_reason;
mod echo;
mod engine;
mod family;
mod fragments;
mod hairpin;
mod history;
mod limiter;
mod local;
mod lots;
mod originate;
mod probe;
mod quoted;
mod reload;
mod service;
mod silent;
#[cfg(test)]
mod test_bench;
mod unreachable;
mod unsolicited;
mod verdict;
mod watched;
mod work;

pub mod explain;
pub mod neighbours;
pub mod outbox;
pub mod view;
pub mod walk;

pub use counters::{Counters, InterfaceCounters};
pub use drop_reason::DropReason;
pub use engine::{Engine, Link, Occupancy};
pub use history::{EVENTS_PAGE, EventPage, Told};
pub use mooring_nat::{Event, EventKind, Share};
pub use outbox::{HandOver, Outbox, Stage};
pub use reload::{Leftovers, Supplies};
pub use silent::{SILENT_HOPS, SilentHop};
pub use verdict::{Verdict, Verdicts, WorkerId};
pub use work::Work;

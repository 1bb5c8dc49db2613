//! Sessions: keys, records, the table that finds them, and the timeouts that end them.
//!
//! One worker owns a table; nothing here locks, reads a clock or allocates after start.

pub mod next_hop;
pub mod tick;

pub use next_hop::NextHopIndex;
pub use tick::{Stamp, Tick};

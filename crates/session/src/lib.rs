//! Sessions: keys, records, the table that finds them, and the timeouts that end them.
//!
//! A session is plain data: keys, ready-made rewrite, state, next hops, counters. One worker owns a
//! table; nothing here locks, reads a clock, or allocates after the table was made. The table knows
//! no packet and no policy: `mooring-nat` decides what goes in, `mooring-engine` asks what is there.
//!
//! Read in this order: [`key`] (what is looked for), [`record`] (what is found), [`table`] (how),
//! [`state`] (how long it lives), [`wheel`] (who ends it).
#![deny(unsafe_code)]

pub mod contacts;
pub mod fragments;
pub mod hash;
pub mod index;
pub mod key;
pub mod mapping;
pub mod memory;
pub mod next_hop;
pub mod record;
pub mod sources;
pub mod state;
pub mod table;
mod tags;
pub mod tick;
pub mod wheel;
pub mod window;

pub use contacts::{Contact, CountTable, Counted};
pub use hash::{KeyedHash, Purpose};
pub use key::{Address, Direction, FlowKey};
pub use mapping::{InsideEnd, Mapping, MappingIndex, MappingTable};
pub use next_hop::NextHopIndex;
pub use record::{Admitted, Counts, HAIRPIN, Held, NO_RULE, OUTBOUND_REFRESH, Session};
pub use sources::{Source, SourceIndex, SourceTable};
pub use state::{INERT, State, TimeoutClass, Timeouts};
pub use table::{InsertError, Likely, Renewed, SessionIndex, SessionRef, SessionTable};
pub use tick::{Stamp, Tick};
pub use window::{Judged, Segment, Windows};

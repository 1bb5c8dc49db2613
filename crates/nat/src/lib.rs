//! Translation: who may have a session, which outside port it gets, and how a packet is rewritten.
//!
//! [`Nat`] is the state of one address family in one worker: sessions, mappings, port ownership. It
//! reads the policy but does not hold it, so that ports stay owned across a reload. It knows no
//! Ethernet, no interface but by number, and no clock: next hops, time and randomness are arguments.
//!
//! Read [`admit`] for the way in, [`reload`] for what another policy does to sessions, [`rewrite`] for what every packet goes through, [`icmp_error`] for
//! the packets about other packets, [`ports`] for who owns what.
#![forbid(unsafe_code)]

mod address_choice;
pub mod admit;
mod ahead;
mod blocks;
mod bucket;
pub mod choice;
mod decided;
mod division;
pub mod event;
pub mod fan_out;
#[cfg(test)]
mod fixture;
pub mod foresee;
mod hold_down;
mod holdings;
pub mod icmp_error;
mod lease;
mod limits;
pub mod owner;
mod plain;
mod plan;
mod pool_numbers;
pub mod port_owners;
pub mod ports;
mod queue;
pub mod refusal;
pub mod reload;
pub mod rewrite;
mod ring;
pub mod share;

mod stock;
mod sweeps;
mod tally;
pub mod transitory;
mod translator;
mod turn;

pub use admit::{Admission, Arrival, NextHops};
pub use ahead::Drawn;
pub use choice::Choice;
pub use event::{Event, EventKind, EventLog};
pub use owner::Owners;
pub use plan::{HAIRPIN_INTERFACE, Listed, question};
pub use port_owners::{PortOwner, PortOwners};
pub use ports::PortLedger;
pub use refusal::Refusal;
pub use reload::Rechecked;
pub use rewrite::Place;
pub use share::{Share, owner_of_port};
pub use stock::Stock;
pub use translator::Nat;

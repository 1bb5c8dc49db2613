//! Views over the bytes of packets, and the arithmetic of their checksums.
//!
//! A view such as [`ipv4::Ipv4`] is made by `parse` alone, which checks every length that an
//! accessor relies on: *construction is the proof*, so accessors cannot fail, and setters that
//! would break the proof do not exist. Views edit in place and never copy; what the appliance
//! originates is written whole by an `Emit`.
//!
//! Multi-byte values are in host order on the Rust side and in network order in the bytes.
//!
//! This crate knows no session, policy, interface or clock, and it keeps no state.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod crc32c;
pub mod error;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod mac;
pub mod mld;
pub mod ndp;
pub mod protocol;
pub mod quote;
pub mod router;
pub mod tcp;
pub mod udp;
mod view;

pub use crate::error::ParseError;
pub use crate::mac::Mac;
pub use crate::protocol::Protocol;

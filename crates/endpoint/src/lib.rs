//! TCP services on owned addresses, over smoltcp: packets and the time go in, packets come out.
//!
//! smoltcp gives each TCP connection a socket and looks through all sockets for every packet. Here
//! each connection has a socket set of its own with one socket in it: [`Endpoint`] finds the
//! connection itself, so a packet costs the same with one connection and with hundreds.
//!
//! All memory is taken at start. A SYN gets a connection from it only after its checksum was verified
//! and its port is one of a service; half-open connections are capped, the oldest makes room.
//!
//! It knows no socket of the kernel, clock, interface or route: whoever calls it sends what it emits.
#![forbid(unsafe_code)]

mod connection;
mod device;
mod endpoint;
mod segment;

pub use crate::endpoint::{Config, Counters, Endpoint, Service, ServiceKind};
pub use crate::segment::Refusal;

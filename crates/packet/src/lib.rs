//! The neck between the ports (`mooring-io`) and the engine: a [`Packet`] is a window in a buffer,
//! a [`Batch`] is what one receive call filled, [`Receive`] and [`Transmit`] are the two halves of a
//! port.
//!
//! A packet borrows its buffer from the port that received it, so the compiler proves that no packet
//! outlives its frame: receive, process, transmit, and only then may the port fill the frame again.
//! What must live longer (a packet that waits for its neighbour, an ICMP error of our own) is copied
//! into an [`OwnedPacket`] from a bounded [`BufferPool`].
//!
//! This crate knows no header, no socket and no clock.
#![forbid(unsafe_code)]

pub mod batch;
pub mod offload;
pub mod owned;
pub mod packet;
pub mod port;

pub use batch::{BATCH_CAPACITY, Batch};
pub use offload::Offload;
pub use owned::{BufferPool, OwnedPacket};
pub use packet::{HEADROOM, Packet};
pub use port::{Abilities, Receive, Received, Transmit, Transmitted};

//! Ports: how frames come in from a device and leave through one, and the little that has to be
//! asked of the kernel for it.
//!
//! - [`af_packet`]: packet sockets on a kernel device, super-packets and partial checksums whole.
//! - [`af_xdp`]: AF_XDP sockets on a kernel device, past the kernel's stack.
//! - [`xdp_live`]: frames that an XDP program makes in the kernel, to send as fast as it goes.
//! - [`tap`]: a TAP device of our own, whose other end is the kernel.
//! - [`tun_tap`]: the same without offloads, to compare with.
//! - [`port`]: one of these, whichever.
//! - [`seam`]: cuts super-packets and completes checksums for ports that cannot.
//! - [`memory`]: ports made of memory, for tests.
//! - [`pcap`]: capture files.
//! - [`link`]: what the kernel says of a device.
//! - [`routing`]: what it says of addresses and routes.
//! - [`rights`]: the capabilities that all of it needs, and no others.
//! - [`tsc`]: the counter that benchmarks count in.
//! - [`kernel_forwarding`]: keeps the kernel from carrying the same packets untranslated.
//!
//! Unsafe code stands in one file per kernel object (`af_packet/socket.rs`, `af_packet/slots.rs`, `ring.rs`, `send_ring.rs`,
//! `tap/device.rs`, and of `af_xdp` `socket.rs`, `ring.rs`, `umem.rs`, `bpf.rs`), one instruction in `tsc.rs`, and nowhere else.
//! This crate moves bytes and their offload metadata; only the seam looks into a packet, and `af_xdp` for a checksum that was left and for
//! how long it is.
#![deny(unsafe_code)]

pub mod af_packet;
pub mod af_xdp;
mod coalesce;
pub mod kernel_forwarding;
pub mod link;
pub mod memory;
mod netlink;
pub mod pcap;
pub mod port;
pub mod rights;
pub mod routing;
mod rtnetlink;
pub mod seam;
pub mod tap;
pub mod tsc;
pub mod tun_tap;
pub mod xdp_live;

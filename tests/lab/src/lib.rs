//! Labs: a client, a gateway and a server in network namespaces, with real kernel stacks and
//! every offload left as the kernel sets it.
//!
//! ```text
//!   client namespace            gateway namespace               server namespace
//!   10.0.0.2, 10.0.0.4          (no kernel addresses)           192.0.2.2, 198.51.100.1
//!   eth0 ───────────── veth ─── in0   mooring   out0 ─── veth ──────────── eth0
//!                               10.0.0.1        192.0.2.1       route 203.0.113.0/24
//! ```
//!
//! [`Site`] is a larger one of both families.
//!
//! Everything stands inside a private mount, network and process namespace ([`isolation`]), so
//! that the kernel takes it all away when the first process ends, however it ends. The appliance
//! is only known by its command line and its control socket: a lab links no crate of the packet
//! path.

#![forbid(unsafe_code)]

pub mod agent;
mod appliance;
mod binary;
mod cache;
mod capture;
pub mod clock;
mod config;
mod container;
mod image;
pub mod isolation;
mod namespace;
pub mod peers;
mod process;
pub mod refusal;
pub mod seccomp;
mod site;
mod topology;

pub use appliance::Appliance;
pub use binary::{built, mooring_binary};
pub use cache::cache;
pub use capture::{Capture, Frame, Frames};
pub use config::Config;
pub use container::{Container, SecurityContext};
pub use image::Image;
pub use isolation::isolated;
pub use namespace::Namespace;
pub use process::{Exit, Process};
pub use site::{Family, Mtus, Site, Variant};
pub use topology::{KernelAddresses, Lab, Topology, address};

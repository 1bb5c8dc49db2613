//! A port on a kernel device by packet sockets (AF_PACKET), with offload metadata: super-packets of
//! 64 KB and partial checksums arrive whole and leave whole (PACKET_VNET_HDR).
//!
//! One socket receives, another sends; the sending one is bound to no protocol, so that nothing
//! queues up in it. A frame keeps its place in the receiver's memory until the next receive call;
//! nothing is allocated after [`open`].
//!
//! The frames reach the kernel's own stack as well: see [`crate::kernel_forwarding`].

mod receive;
mod send;
mod socket;

use std::io;

use mooring_packet::Abilities;
use thiserror::Error;

use crate::link::{Link, LinkError};

pub use receive::Receiver;
pub use send::Sender;

/// Opens a port on `device`, which must be set up.
///
/// Frames that arrive before this returns are not seen.
///
/// # Errors
/// [`OpenError`]; nothing stays open then.
pub fn open(device: &str) -> Result<(Receiver, Sender, Link), OpenError> {
    let link = Link::find(device)?.require_up()?;
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted { device: device.to_owned() },
        _ => OpenError::Socket { device: device.to_owned(), source },
    };
    let sender = Sender::open(link.index).map_err(failed)?;
    let receiver = Receiver::open(link.index).map_err(failed)?;
    Ok((receiver, sender, link))
}

/// What packet sockets carry: whatever the kernel can express in a `virtio_net_hdr`.
pub const ABILITIES: Abilities =
    Abilities { partial_checksum: true, tcp_segmentation: true, udp_segmentation: true };

/// Why a port could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The device cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The process may not open packet sockets.
    #[error("no permission to open a packet socket on `{device}` (CAP_NET_RAW)")]
    NotPermitted {
        /// The device's name.
        device: String,
    },
    /// The kernel refused to open or to set up a socket.
    #[error("cannot open a packet socket on `{device}`: {source}")]
    Socket {
        /// The device's name.
        device: String,
        /// Its reason.
        source: io::Error,
    },
}

impl OpenError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Link(error) => error.hint(),
            Self::NotPermitted { .. } => Some(
                "run as root or with CAP_NET_RAW; in a Pod: \
                 securityContext.capabilities.add: [NET_RAW]"
                    .to_owned(),
            ),
            Self::Socket { .. } => None,
        }
    }
}

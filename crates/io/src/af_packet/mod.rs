//! A port on a kernel device by packet sockets (AF_PACKET), with offload metadata: super-packets of
//! 64 KB and partial checksums arrive whole and leave whole (PACKET_VNET_HDR).
//!
//! One socket receives, another sends; the sending one is bound to no protocol, so that nothing
//! queues up in it. A frame keeps its place in the kernel's ring until the next receive call; nothing
//! is allocated after [`open`].
//!
//! The frames reach the kernel's own stack as well: see [`crate::kernel_forwarding`].

mod bare;
mod fan_out;
mod groups;
mod receive;
mod refused;
mod ring;
mod send;
mod send_ring;
mod slots;
mod socket;

use std::io;
use std::num::NonZeroU8;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;

use mooring_packet::Abilities;
use thiserror::Error;

use crate::link::{Link, LinkError};
use crate::rights;

pub use fan_out::FanOut;
pub use groups::Groups;
pub use libc::sock_filter;
pub use receive::Receiver;
pub use refused::Refused;
pub use send::Sender;
pub use send_ring::RingSender;

/// Opens a port on `device`, which must be set up. The device is this port's alone until the
/// [`Receiver`] is dropped.
///
/// Frames that arrive before this returns are not seen.
///
/// # Errors
/// [`OpenError`], also where the kernel refuses what [`open_group`] does without; nothing stays open then.
pub fn open(device: &str) -> Result<(Receiver, Sender, Link), OpenError> {
    let Opened { mut halves, link, refused, .. } = open_group(device, NonZeroU8::MIN)?;
    if let Some(source) = refused.metadata.or(refused.ring) {
        return Err(OpenError::of(device, source));
    }
    let (receiver, sender) = halves.pop().expect("one worker has one port");
    Ok((receiver, sender, link))
}

/// Opens only a sending half on `device`, by a ring. The device must be set up and no port be open on it; it is
/// not claimed.
///
/// # Errors
/// [`OpenError`]; nothing stays open then.
pub fn open_ring(device: &str) -> Result<(RingSender, Link), OpenError> {
    let link = Link::find(device)?.require_up()?;
    drop(claim(&link)?);
    let sender = RingSender::open(link.index).map_err(|source| OpenError::of(device, source))?;
    Ok((sender, link))
}

/// The two halves of the port of each worker.
pub type Halves = Vec<(Receiver, Sender)>;

/// A port for each worker on one device.
pub struct Opened {
    /// By worker.
    pub halves: Halves,
    /// The device.
    pub link: Link,
    /// What shares its frames out among several workers.
    pub fan_out: Option<FanOut>,
    /// What the kernel has refused to any of them.
    pub refused: Refused,
}

/// Opens a port on `device` for each of `workers`; each frame arrives at one of them, the one that
/// [`FanOut`] says, the first until that has been told. The device is theirs alone until the last
/// [`Receiver`] is dropped. What the kernel refuses to single sockets they do without ([`Refused`]).
///
/// # Errors
/// [`OpenError`]; nothing stays open then.
pub fn open_group(device: &str, workers: NonZeroU8) -> Result<Opened, OpenError> {
    let link = Link::find(device)?.require_up()?;
    let claim = Arc::new(claim(&link)?);
    let mut refused = Refused::default();
    let (halves, fan_out) = open_halves(&link, workers, &claim, &mut refused)
        .map_err(|source| OpenError::of(device, source))?;
    Ok(Opened { halves, link, fan_out, refused })
}

/// Until the last socket has joined the group each would get every frame: so none gets any.
fn open_halves(
    link: &Link,
    workers: NonZeroU8,
    claim: &Arc<UnixListener>,
    refused: &mut Refused,
) -> io::Result<(Halves, Option<FanOut>)> {
    let mut halves = Halves::new();
    let mut group = None;
    for _ in 0..workers.get() {
        let sender = Sender::open(link.index, refused)?;
        let receiver = Receiver::open(link, Arc::clone(claim), refused)?;
        if workers.get() > 1 {
            group = Some(receiver.fan_out(group)?);
        }
        halves.push((receiver, sender));
    }
    let first = halves.first().filter(|_| group.is_some());
    let fan_out = first.map(|(receiver, _)| receiver.fan_out_handle()).transpose()?;
    for (receiver, _) in &halves {
        receiver.begin()?;
    }
    Ok((halves, fan_out.map(FanOut::new)))
}

/// Keeps other instances off the device: two would each translate and send every packet.
///
/// The claim is an abstract Unix socket that nobody talks to. Its name is known in this network
/// namespace only, as the device's number is, and goes away with the process, however that ends.
fn claim(link: &Link) -> Result<UnixListener, OpenError> {
    let device = || link.name.clone();
    SocketAddr::from_abstract_name(format!("mooring-device-{}", link.index))
        .and_then(|name| UnixListener::bind_addr(&name))
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => OpenError::InUse { device: device() },
            _ => OpenError::Claim { device: device(), source },
        })
}

/// What packet sockets carry, if the kernel has not [`Refused`] it: whatever it can express in a
/// `virtio_net_hdr`. The same for every device: what the device cannot do, the kernel does on its way
/// out (`validate_xmit_skb`), where need be by the queueing discipline.
pub const ABILITIES: Abilities =
    Abilities { partial_checksum: true, tcp_segmentation: true, udp_segmentation: true };

/// Why a port could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The device cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A port on the device is open already, here or in another process.
    #[error("another instance uses the device `{device}`")]
    InUse {
        /// The device's name.
        device: String,
    },
    /// The kernel refused the socket that keeps other instances off the device.
    #[error("cannot claim the device `{device}`: {source}")]
    Claim {
        /// The device's name.
        device: String,
        /// Its reason.
        source: io::Error,
    },
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
    /// What the kernel says of a socket.
    fn of(device: &str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { device: device.to_owned() },
            _ => Self::Socket { device: device.to_owned(), source },
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Link(error) => error.hint(),
            Self::InUse { .. } => Some("stop it first, or give this one other devices".to_owned()),
            Self::NotPermitted { .. } => Some(rights::advice("NET_RAW")),
            Self::Claim { .. } | Self::Socket { .. } => None,
        }
    }
}

//! A port on a TAP device that we make: the kernel is the other end of the wire. Super-packets and
//! partial checksums pass whole (IFF_VNET_HDR, if the kernel has it), and each worker has a queue (IFF_MULTI_QUEUE).
//!
//! The device lives as long as its queues, so it vanishes with the process, however that ends. The
//! kernel's end and ours have Ethernet addresses of their own, both made from the name.

mod device;
mod kernel_side;
mod queue;

use std::fs::File;
use std::io;
use std::iter;
use std::num::NonZeroU8;

use mooring_packet::Abilities;
use mooring_wire::Mac;
use thiserror::Error;

use crate::link::{Link, LinkError, TransmitDrops};
use crate::rights;

pub use kernel_side::{Delivered, KernelSide};
pub use queue::{Receiver, Sender};

/// A device that we have made.
pub struct Tap {
    /// The halves of each worker's queue.
    pub queues: Vec<(Receiver, Sender)>,
    /// The device, with the Ethernet address of *our* end.
    pub link: Link,
    /// What it carries.
    pub abilities: Abilities,
    /// What the kernel has refused to it.
    pub refused: Option<Refused>,
    /// The kernel's end; undone when dropped.
    pub kernel: KernelSide,
}

/// What a kernel may refuse to a device that serves all the same: the kernel cuts and completes what it sends there,
/// and gets cut and complete what is sent to it.
#[derive(Debug, Error)]
pub enum Refused {
    /// The [`mooring_packet::Offload`] in front of every frame.
    #[error("no offload metadata (IFF_VNET_HDR: {0}): packets cross the device cut and completed")]
    Metadata(io::Error),
    /// Super-packets and partial checksums from the kernel.
    #[error("no offloads (TUNSETOFFLOAD: {0}): packets cross the device cut and completed")]
    Offloads(io::Error),
}

/// Makes the TAP device `name` with a queue for each worker, and sets it up. `mtu` is in bytes; `None`
/// is 1,500.
///
/// # Errors
/// [`OpenError`]; no device is left then.
pub fn create(name: &str, workers: NonZeroU8, mtu: Option<u16>) -> Result<Tap, OpenError> {
    refuse_existing(name)?;
    let failed = |source: io::Error| OpenError::of(name, source);
    let (files, refused) = open_queues(name, workers).map_err(failed)?;
    let metadata = refused.is_none();
    let (abilities, refused) = match refused {
        Some(error) => (Abilities::default(), Some(Refused::Metadata(error))),
        None => match device::set_offloads(&files[0]) {
            Ok(abilities) => (abilities, None),
            Err(error) => (Abilities::default(), Some(Refused::Offloads(error))),
        },
    };
    let (link, kernel) = set_up(name, mtu)?;
    let drops = iter::once(Some(TransmitDrops::of(link.index))).chain(iter::repeat_with(|| None));
    let queues =
        files.into_iter().zip(drops).map(|(file, drops)| queue::halves(file, drops, metadata));
    let queues = queues.collect();
    Ok(Tap { queues, link, abilities, refused, kernel })
}

/// A queue for each worker, and why frames have no metadata in front, if they have none.
fn open_queues(name: &str, workers: NonZeroU8) -> io::Result<(Vec<File>, Option<io::Error>)> {
    let open = |metadata| {
        (0..workers.get()).map(|_| device::open_queue(name, metadata)).collect::<io::Result<_>>()
    };
    match open(true) {
        // What a kernel says that does not know it; the device has gone with its queues.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            open(false).map(|files| (files, Some(error)))
        }
        opened => opened.map(|files| (files, None)),
    }
}

/// A device of this name that is there already is somebody else's.
pub(crate) fn refuse_existing(name: &str) -> Result<(), OpenError> {
    if Link::list()?.iter().any(|link| link.name == name) {
        return Err(OpenError::Exists { device: name.to_owned() });
    }
    Ok(())
}

/// Sets up the device that was just made: our end of it, and the kernel's.
pub(crate) fn set_up(name: &str, mtu: Option<u16>) -> Result<(Link, KernelSide), OpenError> {
    let kernel = KernelSide::set_up(&Link::find(name)?, kernel_mac(name), mtu);
    let kernel = kernel.map_err(|source| OpenError::of(name, source))?;
    let mut link = Link::find(name)?;
    link.mac = own_mac(name);
    Ok((link, kernel))
}

/// Why a TAP device could not be made.
#[derive(Debug, Error)]
pub enum OpenError {
    /// There is no node to make devices with.
    #[error("cannot make the TAP device `{device}`: there is no {}", device::PATH)]
    NoNode {
        /// The device's name.
        device: String,
    },
    /// A device of this name is there already.
    #[error("there is a device `{device}` already")]
    Exists {
        /// The device's name.
        device: String,
    },
    /// The process may not make devices.
    #[error("no permission to make the TAP device `{device}` (CAP_NET_ADMIN)")]
    NotPermitted {
        /// The device's name.
        device: String,
    },
    /// The device vanished, or cannot be read.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel refused.
    #[error("cannot make the TAP device `{device}`: {source}")]
    Refused {
        /// The device's name.
        device: String,
        /// Its reason.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn of(device: &str, source: io::Error) -> Self {
        let device = device.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Self::NoNode { device },
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { device },
            Some(libc::EBUSY) => Self::Exists { device },
            _ => Self::Refused { device, source },
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoNode { .. } => Some(
                "load the module `tun`; in a Pod: mount the node's /dev/net/tun (volumes: hostPath \
                 with type CharDevice) and add NET_ADMIN to \
                 securityContext.capabilities"
                    .to_owned(),
            ),
            Self::Exists { .. } => Some(
                "Mooring makes the device itself: choose another name, or `ip link del` the old one"
                    .to_owned(),
            ),
            Self::NotPermitted { .. } => {
                let advice = rights::advice("NET_ADMIN");
                Some(format!("{advice}; and a /dev/net/tun that it may open"))
            }
            Self::Link(error) => error.hint(),
            Self::Refused { .. } => None,
        }
    }
}

/// The Ethernet address of our end: locally administered, and the same after a restart.
fn own_mac(name: &str) -> Mac {
    numbered(name, 1)
}

/// The Ethernet address of the kernel's end.
fn kernel_mac(name: &str) -> Mac {
    numbered(name, 2)
}

/// FNV-1a of the name, behind the bit of local administration.
fn numbered(name: &str, end: u8) -> Mac {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    Mac([0x02, a, b, c, d, end])
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{OpenError, kernel_mac, own_mac};

    #[test]
    fn the_two_ends_have_addresses_of_their_own() {
        let macs = [own_mac("in0"), kernel_mac("in0"), own_mac("in1"), kernel_mac("in1")];
        for (at, mac) in macs.iter().enumerate() {
            assert_eq!(mac.0[0], 0x02, "locally administered, not a group");
            assert!(!macs[..at].contains(mac));
        }
        assert_eq!(own_mac("in0"), own_mac("in0"));
    }

    #[test]
    fn a_pod_without_the_node_is_told_what_to_add() {
        let error = OpenError::of("tap0", io::Error::from_raw_os_error(libc::ENOENT));
        assert!(error.to_string().contains("/dev/net/tun"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("hostPath")));
        let error = OpenError::of("tap0", io::Error::from_raw_os_error(libc::EPERM));
        assert!(error.hint().is_some_and(|hint| hint.contains("NET_ADMIN")));
    }
}

//! What the kernel says of a network device: its number, address, MTU and state.
//!
//! A snapshot, read over rtnetlink at the moment of asking (so it is that of the caller's network
//! namespace, which `/sys` is not always). Changes nothing.

use std::fmt;
use std::io;

use mooring_wire::Mac;
use thiserror::Error;

use crate::netlink::{NetlinkSocket, ROUTE, attributes, u16_at, u32_at};
use crate::rtnetlink::IFINFOMSG_LEN;

/// A network device of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The device's name, as `ip link` shows it.
    pub name: String,
    /// The kernel's number of the device.
    pub index: u32,
    /// Its Ethernet address; zero for a device without one.
    pub mac: Mac,
    /// The largest IP packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// True when an operator has set the device up (`IFF_UP`).
    pub up: bool,
    /// Whether packets can pass.
    pub operation: Operation,
    /// `ARPHRD_*`: what kind of frames it carries.
    hardware: u16,
}

impl Link {
    /// The Ethernet device called `name`.
    ///
    /// # Errors
    /// [`LinkError::NoSuchDevice`], [`LinkError::NotEthernet`], or the kernel's answer to the
    /// question. A device that is down is not an error here: see [`Link::require_up`].
    pub fn find(name: &str) -> Result<Self, LinkError> {
        let links = Self::list()?;
        let Some(link) = links.iter().find(|link| link.name == name) else {
            let present = links.into_iter().map(|link| link.name).collect();
            return Err(LinkError::NoSuchDevice { name: name.to_owned(), present });
        };
        if link.hardware != libc::ARPHRD_ETHER {
            return Err(LinkError::NotEthernet { name: name.to_owned(), hardware: link.hardware });
        }
        Ok(link.clone())
    }

    /// All devices, in the kernel's order.
    ///
    /// # Errors
    /// [`LinkError::Kernel`].
    pub fn list() -> Result<Vec<Self>, LinkError> {
        let socket = NetlinkSocket::open(ROUTE).map_err(LinkError::Kernel)?;
        let bodies = socket.dump(libc::RTM_GETLINK, &[0; IFINFOMSG_LEN]);
        Ok(bodies.map_err(LinkError::Kernel)?.iter().filter_map(|body| Self::parse(body)).collect())
    }

    /// The device itself when it is set up.
    ///
    /// # Errors
    /// [`LinkError::Down`].
    pub fn require_up(self) -> Result<Self, LinkError> {
        if self.up { Ok(self) } else { Err(LinkError::Down { name: self.name }) }
    }

    /// Reads `struct ifinfomsg` and the attributes after it. `None` for a message that is not a
    /// device.
    fn parse(body: &[u8]) -> Option<Self> {
        let mut link = Self {
            name: String::new(),
            index: u32_at(body, 4)?,
            mac: Mac::ZERO,
            mtu: 0,
            up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
            operation: Operation::Unknown,
            hardware: u16_at(body, 2)?,
        };
        for (kind, payload) in attributes(body.get(IFINFOMSG_LEN..)?) {
            match kind {
                libc::IFLA_IFNAME => {
                    link.name = String::from_utf8_lossy(payload.strip_suffix(&[0])?).into_owned();
                }
                libc::IFLA_ADDRESS => link.mac = payload.try_into().map_or(Mac::ZERO, Mac),
                libc::IFLA_MTU => link.mtu = u32_at(payload, 0)?,
                libc::IFLA_OPERSTATE => link.operation = Operation::from_kernel(*payload.first()?),
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// Packets that the kernel could not send out of a device since it was made: for a TAP device, what
/// its readers were too slow for, all of them together.
#[derive(Debug)]
pub(crate) struct TransmitDrops {
    device: u32,
    /// What the kernel has said last.
    known: u64,
}

impl TransmitDrops {
    /// Of the device with this number.
    pub(crate) const fn of(device: u32) -> Self {
        Self { device, known: 0 }
    }

    /// As many as there are now; where the kernel does not say, as many as there were.
    pub(crate) fn read(&mut self) -> u64 {
        self.known = transmit_drops(self.device).unwrap_or(self.known);
        self.known
    }
}

/// Packets that left the device of this number since it was made, as its driver counts them.
///
/// # Errors
/// The kernel's answer to the question, or that it does not say.
pub fn transmitted(device: u32) -> io::Result<u64> {
    statistic(device, TX_PACKETS)
}

fn transmit_drops(device: u32) -> io::Result<u64> {
    statistic(device, TX_DROPPED)
}

/// The number at this place of `struct rtnl_link_stats64` (linux/if_link.h).
fn statistic(device: u32, at: usize) -> io::Result<u64> {
    let mut header = [0; IFINFOMSG_LEN];
    header[4..8].copy_from_slice(&device.to_ne_bytes());
    let body = NetlinkSocket::open(ROUTE)?.get(libc::RTM_GETLINK, &header)?;
    let statistics = body
        .get(IFINFOMSG_LEN..)
        .and_then(|rest| attributes(rest).find(|(kind, _)| *kind == libc::IFLA_STATS64));
    let number = statistics.and_then(|(_, numbers)| numbers.get(at..)?.first_chunk());
    number.map(|bytes| u64::from_ne_bytes(*bytes)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Where `tx_packets` lies in `struct rtnl_link_stats64`, in bytes.
const TX_PACKETS: usize = 8;

/// Where `tx_dropped` lies in `struct rtnl_link_stats64` (linux/if_link.h), in bytes.
const TX_DROPPED: usize = 7 * 8;

/// Whether packets can pass a device (RFC 2863 `ifOperStatus`, the kernel's `IF_OPER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The driver does not say; usual for TAP devices. Packets may pass.
    Unknown,
    /// The hardware is gone.
    NotPresent,
    /// No carrier, or set down.
    Down,
    /// The device below (the other end of a veth pair) is down.
    LowerLayerDown,
    /// In a test mode.
    Testing,
    /// Waits for something outside, such as 802.1X.
    Dormant,
    /// Packets pass.
    Up,
}

impl Operation {
    const fn from_kernel(state: u8) -> Self {
        match state {
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::NotPresent => "not present",
            Self::Down => "down",
            Self::LowerLayerDown => "lower layer down",
            Self::Testing => "testing",
            Self::Dormant => "dormant",
            Self::Up => "up",
        })
    }
}

/// Why a device cannot be used.
#[derive(Debug, Error)]
pub enum LinkError {
    /// No device has this name in this network namespace.
    #[error("there is no device `{name}`")]
    NoSuchDevice {
        /// The name asked for.
        name: String,
        /// The names there are.
        present: Vec<String>,
    },
    /// The device carries no Ethernet frames.
    #[error("`{name}` is not an Ethernet device (ARPHRD type {hardware})")]
    NotEthernet {
        /// The device's name.
        name: String,
        /// Its `ARPHRD_*` type.
        hardware: u16,
    },
    /// The device is set down.
    #[error("`{name}` is down")]
    Down {
        /// The device's name.
        name: String,
    },
    /// The kernel would not answer.
    #[error("the kernel did not list its devices: {0}")]
    Kernel(#[source] io::Error),
}

impl LinkError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchDevice { present, .. } => {
                Some(format!("there are: {}", present.join(", ")))
            }
            Self::NotEthernet { .. } => Some("use an Ethernet, veth or tap device".to_owned()),
            Self::Down { name } => Some(format!("ip link set {name} up")),
            Self::Kernel(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mooring_wire::Mac;

    use super::{Link, LinkError, Operation};
    use crate::netlink::{attribute, string};

    fn ifinfomsg(hardware: u16, index: u32, flags: u32) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        bytes.extend(hardware.to_ne_bytes());
        bytes.extend(index.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn reads_a_device() {
        let body = [
            ifinfomsg(1, 7, 1),
            string(libc::IFLA_IFNAME, "out0"),
            attribute(libc::IFLA_ADDRESS, [2, 0, 0, 0, 0, 9]),
            attribute(libc::IFLA_MTU, 1400u32.to_ne_bytes()),
            attribute(libc::IFLA_OPERSTATE, [6]),
        ]
        .concat();
        let link = Link::parse(&body).expect("a whole message");
        assert_eq!((link.name.as_str(), link.index, link.mtu, link.up), ("out0", 7, 1400, true));
        assert_eq!((link.mac, link.operation), (Mac([2, 0, 0, 0, 0, 9]), Operation::Up));
    }

    #[test]
    fn half_a_message_is_no_device() {
        assert_eq!(Link::parse(&ifinfomsg(1, 7, 1)), None, "without a name");
        assert_eq!(Link::parse(&ifinfomsg(1, 7, 1)[..11]), None);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Link::find("no-such-device0").expect_err("there is none");
        assert!(matches!(&error, LinkError::NoSuchDevice { present, .. }
            if present.contains(&"lo".to_owned())));
        assert!(error.hint().is_some_and(|hint| hint.contains("lo")));
    }

    #[test]
    fn the_loopback_device_is_no_ethernet() {
        let error = Link::find("lo").expect_err("it carries no Ethernet frames");
        assert!(matches!(error, LinkError::NotEthernet { hardware: 772, .. }));
    }
}

//! What the messages of rtnetlink have in common: their fixed headers, addresses, and a change that
//! the kernel is asked for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{Content, NetlinkSocket, ROUTE, message};

/// Bytes of `struct ifinfomsg`: family, padding, type (2), device (4), flags (4), change (4).
pub(crate) const IFINFOMSG_LEN: usize = 16;

/// Bytes of `struct ifaddrmsg`: family, prefix length, flags, scope, device (4).
pub(crate) const IFADDRMSG_LEN: usize = 8;

/// Bytes of `struct rtmsg`: family, destination length, source length, service, table, protocol,
/// scope, type, flags (4).
pub(crate) const RTMSG_LEN: usize = 12;

/// Asks the kernel for one change and waits for its answer.
pub(crate) fn change(
    kind: u16,
    flags: i32,
    header: &[u8],
    attributes: impl IntoIterator<Item = Vec<u8>>,
) -> io::Result<()> {
    let socket = NetlinkSocket::open(ROUTE)?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    socket.send(&message(kind, flags, 1, header, attributes))?;
    loop {
        for reply in socket.receive()? {
            if let Content::Status(status) = reply.content {
                return status;
            }
        }
    }
}

/// The address of `family` in an attribute. `None` for another family, or a length that is not its.
pub(crate) fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        libc::AF_INET6 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

/// The address that stands for all of `family`: a route without a destination leads there.
pub(crate) fn any(family: u8) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        libc::AF_INET6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

/// The family of an address, as headers have it.
pub(crate) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// An address as attributes have it.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

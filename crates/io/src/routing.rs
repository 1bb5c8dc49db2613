//! What the kernel says of addresses and routes, and that it has changed its mind.
//!
//! A snapshot over rtnetlink, of the caller's network namespace; [`Changes`] tells when to take the
//! next one. Changes nothing. Only what helps to send packets is read: global unicast addresses that
//! are in use, and unicast routes of the main table with one next hop.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use ipnet::IpNet;

use crate::link::{Link, LinkError};
use crate::netlink::{NetlinkSocket, ROUTE, attributes, u32_at};
use crate::rtnetlink::{self, IFADDRMSG_LEN, RTMSG_LEN};

/// The addresses and routes of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRouting {
    /// The device.
    pub link: Link,
    /// Its addresses with the prefix that is connected; host bits kept.
    pub addresses: Vec<IpNet>,
    /// Destination and router of the routes that leave by it; without a router they are on-link.
    /// One for each destination: that of the lowest metric.
    pub routes: Vec<(IpNet, Option<IpAddr>)>,
}

/// What the kernel says now of every device.
///
/// # Errors
/// The kernel's, when it does not answer.
pub fn devices() -> Result<Vec<DeviceRouting>, LinkError> {
    let links = Link::list()?;
    let socket = NetlinkSocket::open(ROUTE).map_err(LinkError::Kernel)?;
    let dump = |kind, header: &[u8]| socket.dump(kind, header).map_err(LinkError::Kernel);
    let addresses = dump(libc::RTM_GETADDR, &[0; IFADDRMSG_LEN])?;
    let routes = dump(libc::RTM_GETROUTE, &[0; RTMSG_LEN])?;
    let addresses: Vec<_> = addresses.iter().filter_map(|body| address(body)).collect();
    let mut best = HashMap::new();
    for route in routes.iter().filter_map(|body| Route::parse(body)) {
        let kept = best.entry((route.device, route.destination)).or_insert(route);
        if route.metric < kept.metric {
            *kept = route;
        }
    }
    let mut devices: Vec<DeviceRouting> = links
        .into_iter()
        .map(|link| DeviceRouting {
            addresses: addresses.iter().filter(|a| a.0 == link.index).map(|a| a.1).collect(),
            routes: best
                .values()
                .filter(|route| route.device == link.index)
                .map(|route| (route.destination, route.router))
                .collect(),
            link,
        })
        .collect();
    for device in &mut devices {
        device.routes.sort_unstable();
    }
    Ok(devices)
}

/// Becomes readable when a device, an address or a route has changed.
#[derive(Debug)]
pub struct Changes {
    socket: NetlinkSocket,
}

impl Changes {
    /// Watches from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch() -> io::Result<Self> {
        let socket = NetlinkSocket::open(ROUTE)?;
        socket.join_groups(GROUPS)?;
        Ok(Self { socket })
    }

    /// Reads what there is to read. True when something has changed since the last call; also when
    /// there were more changes than the socket could keep. Does not block.
    ///
    /// # Errors
    /// The kernel's, when the socket is broken.
    pub fn any(&self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match self.socket.discard() {
                Ok(()) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// An address in use, and the number of its device (`struct ifaddrmsg` and attributes).
fn address(body: &[u8]) -> Option<(u32, IpNet)> {
    let (header, rest) = body.split_at_checked(IFADDRMSG_LEN)?;
    let (family, prefix_len, scope, device) = (header[0], header[1], header[3], u32_at(body, 4)?);
    let (mut flags, mut found, mut local) = (u32::from(header[2]), None, None);
    for (kind, payload) in attributes(rest) {
        match kind {
            libc::IFA_ADDRESS => found = rtnetlink::address(family, payload),
            // On a point-to-point link IFA_ADDRESS is the other end.
            libc::IFA_LOCAL => local = rtnetlink::address(family, payload),
            libc::IFA_FLAGS => flags = u32_at(payload, 0)?,
            _ => {}
        }
    }
    let unusable = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;
    if scope >= libc::RT_SCOPE_LINK || flags & unusable != 0 {
        return None;
    }
    Some((device, IpNet::new(local.or(found)?, prefix_len).ok()?))
}

#[derive(Clone, Copy)]
struct Route {
    device: u32,
    destination: IpNet,
    router: Option<IpAddr>,
    metric: u32,
}

impl Route {
    /// Reads `struct rtmsg` and the attributes after it. `None` for a route that is not a way out.
    fn parse(body: &[u8]) -> Option<Self> {
        let (header, rest) = body.split_at_checked(RTMSG_LEN)?;
        let (family, prefix_len, kind) = (header[0], header[1], header[7]);
        let mut table = u32::from(header[4]);
        let (mut device, mut destination, mut router, mut metric) = (None, None, None, 0);
        for (kind, payload) in attributes(rest) {
            match kind {
                libc::RTA_DST => destination = Some(rtnetlink::address(family, payload)?),
                libc::RTA_GATEWAY => router = Some(rtnetlink::address(family, payload)?),
                libc::RTA_OIF => device = u32_at(payload, 0),
                libc::RTA_PRIORITY => metric = u32_at(payload, 0)?,
                libc::RTA_TABLE => table = u32_at(payload, 0)?,
                _ => {}
            }
        }
        if kind != libc::RTN_UNICAST || table != u32::from(libc::RT_TABLE_MAIN) {
            return None;
        }
        let destination = IpNet::new(destination.or(rtnetlink::any(family))?, prefix_len).ok()?;
        // Each link has its own fe80::/64; nothing is routed there.
        let of_the_link =
            matches!(destination, IpNet::V6(net) if net.addr().is_unicast_link_local());
        (!of_the_link).then_some(Self { device: device?, destination, router, metric })
    }
}

/// `RTMGRP_*` (linux/rtnetlink.h): devices, addresses and routes of both families.
const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE) as u32;

#[cfg(test)]
mod tests {
    use super::{Route, address, devices};
    use crate::netlink::attribute;

    fn address_message(flags: u8, scope: u8, octets: &[u8]) -> Vec<u8> {
        let family = if octets.len() == 4 { libc::AF_INET } else { libc::AF_INET6 } as u8;
        let header = [vec![family, 24, flags, scope], 7u32.to_ne_bytes().to_vec()].concat();
        [header, attribute(libc::IFA_ADDRESS, octets)].concat()
    }

    #[test]
    fn addresses_in_use_are_read() {
        let used = address_message(0, 0, &[192, 0, 2, 9]);
        assert_eq!(address(&used), Some((7, "192.0.2.9/24".parse().expect("a prefix"))));
        let tentative = address_message(libc::IFA_F_TENTATIVE as u8, 0, &[192, 0, 2, 9]);
        assert_eq!(address(&tentative), None);
        assert_eq!(address(&address_message(0, libc::RT_SCOPE_LINK, &[192, 0, 2, 9])), None);
        assert_eq!(address(&address_message(0, 0, &[192, 0, 2])), None, "a wrong length");
        assert_eq!(address(&used[..9]), None);
    }

    #[test]
    fn routes_of_the_main_table_are_read() {
        let route = |table: u8, kind: u8, prefix_len: u8| {
            let header = [libc::AF_INET as u8, prefix_len, 0, 0, table, 3, 0, kind, 0, 0, 0, 0];
            let oif = attribute(libc::RTA_OIF, 7u32.to_ne_bytes());
            let gateway = attribute(libc::RTA_GATEWAY, [169, 254, 1, 1]);
            [header.to_vec(), oif, gateway].concat()
        };
        let default = Route::parse(&route(254, libc::RTN_UNICAST, 0)).expect("a default route");
        assert_eq!(default.destination, "0.0.0.0/0".parse().expect("a prefix"));
        assert_eq!((default.device, default.router), (7, Some([169, 254, 1, 1].into())));
        assert!(Route::parse(&route(255, libc::RTN_UNICAST, 0)).is_none(), "the local table");
        assert!(Route::parse(&route(254, libc::RTN_LOCAL, 0)).is_none());
        assert!(Route::parse(&route(254, libc::RTN_UNICAST, 33)).is_none());
        assert!(Route::parse(&route(254, libc::RTN_UNICAST, 0)[..11]).is_none());
    }

    #[test]
    fn the_loopback_device_is_there() {
        let devices = devices().expect("readable without privilege");
        let loopback =
            devices.iter().find(|device| device.link.name == "lo").expect("always there");
        assert!(loopback.routes.is_empty(), "its routes are local ones: {:?}", loopback.routes);
    }
}

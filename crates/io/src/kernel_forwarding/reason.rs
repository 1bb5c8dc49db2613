//! What the kernel would do with the packets that we carry: read from its settings and from its
//! table of local addresses. Changes nothing.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::netlink::{NetlinkSocket, ROUTE, attributes};
use crate::rtnetlink::{self, RTMSG_LEN};

/// One thing that the kernel would do beside us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It forwards packets, because of this setting.
    Forwards {
        /// The setting's name, as `sysctl` takes it.
        setting: String,
    },
    /// It takes addresses for its own that are ours, and would answer with resets and ICMP errors.
    Holds {
        /// Its addresses, all or part of them ours.
        prefix: IpNet,
    },
}

impl Reason {
    /// A command that ends it, or what to change.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Forwards { setting } => format!("sysctl -w {setting}=0"),
            Self::Holds { prefix } => format!("take {prefix} off the kernel's interfaces"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwards { setting } => write!(f, "{setting} is on"),
            Self::Holds { prefix } => write!(f, "the kernel holds {prefix} itself"),
        }
    }
}

/// What the kernel of this network namespace would do with packets that arrive on `devices` or for
/// an address in `owned`, when `local` are its own. Empty when it would leave them alone.
///
/// That forwarding also needs a route is not looked at: one may come at any time.
///
/// # Errors
/// The operating system's, when settings cannot be read.
pub fn would_forward(
    devices: &[&str],
    owned: &[IpNet],
    local: &LocalPrefixes,
) -> io::Result<Vec<Reason>> {
    let mut reasons = Vec::new();
    for setting in forwarding_settings(devices)? {
        if is_on(&setting)? {
            reasons.push(Reason::Forwards { setting: format!("net.{}", setting.join(".")) });
        }
    }
    let held = local.overlapping(owned);
    reasons.extend(held.into_iter().map(|prefix| Reason::Holds { prefix }));
    Ok(reasons)
}

/// What the kernel of this network namespace takes for its own, of both families: addresses, and
/// prefixes made local by a route. As it was at one moment.
#[derive(Clone, Debug)]
pub struct LocalPrefixes(Vec<IpNet>);

impl LocalPrefixes {
    /// As they are now. Reads all routes.
    ///
    /// # Errors
    /// The operating system's, when they cannot be read.
    pub fn read() -> io::Result<Self> {
        let socket = NetlinkSocket::open(ROUTE)?;
        let mut prefixes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut header = [0; RTMSG_LEN];
            header[0] = family as u8;
            let routes = socket.dump(libc::RTM_GETROUTE, &header)?;
            prefixes.extend(routes.iter().filter_map(|route| local_prefix(route)));
        }
        Ok(Self(prefixes))
    }

    /// What of it is, whole or in part, in `owned`, or has something of that.
    #[must_use]
    pub fn overlapping(&self, owned: &[IpNet]) -> Vec<IpNet> {
        let overlaps = |prefix: &&IpNet| {
            owned.iter().any(|ours| ours.contains(*prefix) || prefix.contains(ours))
        };
        self.0.iter().filter(overlaps).copied().collect()
    }

    /// Whether this is a prefix of its own.
    #[must_use]
    pub fn has(&self, prefix: &IpNet) -> bool {
        self.0.contains(prefix)
    }

    /// The addresses that the kernel answers for itself, in their order and without those in `owned`. A
    /// shorter prefix that a route makes local (127.0.0.0/8) is not among them.
    #[must_use]
    pub fn addresses_without(&self, owned: &[IpNet]) -> Vec<IpAddr> {
        let hosts = self.0.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
        let mut addresses: Vec<IpAddr> = hosts
            .map(IpNet::addr)
            .filter(|address| !owned.iter().any(|ours| ours.contains(address)))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// The settings that decide, each as its path below `/proc/sys/net`.
///
/// For IPv4 that is the receiving device's own (`all` only writes all of them). For IPv6 it is `all`,
/// or since Linux 6.17 the device's `force_forwarding`; a device's own `forwarding` only says whether
/// it behaves as a router towards its neighbours.
fn forwarding_settings<'d>(devices: &[&'d str]) -> io::Result<Vec<[&'d str; 4]>> {
    let mut settings = Vec::new();
    let mut any_ipv6 = false;
    for device in devices {
        settings.push(["ipv4", "conf", device, "forwarding"]);
        settings.push(["ipv6", "conf", device, "force_forwarding"]);
        let conf = format!("/proc/sys/net/ipv6/conf/{device}");
        any_ipv6 |= fs::exists(conf)? && !is_on(&["ipv6", "conf", device, "disable_ipv6"])?;
    }
    if any_ipv6 {
        settings.push(["ipv6", "conf", "all", "forwarding"]);
    }
    Ok(settings)
}

/// Whether a setting is there and not 0.
fn is_on(setting: &[&str; 4]) -> io::Result<bool> {
    match fs::read_to_string(format!("/proc/sys/net/{}", setting.join("/"))) {
        Ok(value) => Ok(value.trim() != "0"),
        // Without IPv6, or without this device.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The destination of a route (`struct rtmsg` and attributes) that ends in this host.
fn local_prefix(route: &[u8]) -> Option<IpNet> {
    let (header, rest) = route.split_at_checked(RTMSG_LEN)?;
    let (family, prefix_len, kind) = (header[0], header[1], header[7]);
    if ![libc::RTN_LOCAL, libc::RTN_ANYCAST].contains(&kind) {
        return None;
    }
    let address = match attributes(rest).find(|(kind, _)| *kind == libc::RTA_DST) {
        Some((_, bytes)) => rtnetlink::address(family, bytes)?,
        None => rtnetlink::any(family)?,
    };
    IpNet::new(address, prefix_len).ok()
}

#[cfg(test)]
mod tests {
    use super::{LocalPrefixes, Reason, local_prefix, would_forward};
    use crate::netlink::attribute;

    fn route(family: i32, prefix_len: u8, kind: u8, destination: &[u8]) -> Vec<u8> {
        let header = [family as u8, prefix_len, 0, 0, 255, 2, 254, kind, 0, 0, 0, 0];
        [header.to_vec(), attribute(libc::RTA_DST, destination)].concat()
    }

    #[test]
    fn only_routes_that_end_here_are_local() {
        let local = route(libc::AF_INET, 32, libc::RTN_LOCAL, &[192, 0, 2, 1]);
        assert_eq!(local_prefix(&local), "192.0.2.1/32".parse().ok());
        let connected = route(libc::AF_INET, 24, libc::RTN_UNICAST, &[192, 0, 2, 0]);
        assert_eq!(local_prefix(&connected), None);
        let any = route(libc::AF_INET6, 0, libc::RTN_LOCAL, &[]);
        assert_eq!(local_prefix(&any), None, "an address of the wrong length");
        assert_eq!(local_prefix(&any[..12]), "::/0".parse().ok(), "no address: all of them");
        assert_eq!(local_prefix(&local[..11]), None);
    }

    #[test]
    fn a_kernel_address_is_found_from_either_side() {
        let local = LocalPrefixes::read().expect("readable without privilege");
        for owned in ["127.0.0.1/32", "127.0.0.0/24", "96.0.0.0/3"] {
            let owned = [owned.parse().expect("a prefix")];
            let reasons = would_forward(&[], &owned, &local).expect("readable without privilege");
            assert!(matches!(reasons.first(), Some(Reason::Holds { .. })), "{reasons:?}");
        }
        let foreign = ["203.0.113.77/32".parse().expect("a prefix")];
        assert_eq!(would_forward(&[], &foreign, &local).expect("readable without privilege"), []);
    }

    #[test]
    fn kernel_addresses_are_in_order_and_without_ours() {
        let local = LocalPrefixes::read().expect("readable without privilege");
        let all = local.addresses_without(&[]);
        assert!(all.is_sorted());
        let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a prefix"));
        let rest = local.addresses_without(&everything);
        assert!(rest.is_empty(), "{rest:?}");
    }
}

//! What a link of ours looks like to its neighbours: the address we send from, and which of our IP
//! addresses we speak with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use mooring_wire::Mac;

/// An interface as the neighbour module needs it. Its place in the slice given to
/// [`Neighbours::new`](super::Neighbours::new) is its `InterfaceId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceLink {
    /// The Ethernet address that we send from.
    pub mac: Mac,
    /// Bytes of the longest IP packet, as router advertisements tell it.
    pub mtu: u16,
    /// Our own addresses on this link with the prefixes connected by them: what questions are asked
    /// from. Which addresses we *answer* for is the caller's word, packet by packet.
    pub addresses: Vec<IpNet>,
    /// When set, every neighbour on this link has this address and none is ever asked (replay).
    pub fixed_peer: Option<Mac>,
}

impl InterfaceLink {
    /// Our link-local address: the configured one, else [`Self::made_link_local`].
    #[must_use]
    pub fn link_local(&self) -> Ipv6Addr {
        self.configured_link_local().unwrap_or(self.made_link_local())
    }

    /// The one that we made, if none is configured. It is ours unasked: neighbours that we asked from
    /// it ask back for it. A configured one is answered for as the caller says: the kernel may have it.
    pub(super) fn unconfigured_link_local(&self) -> Option<Ipv6Addr> {
        self.configured_link_local().is_none().then_some(self.made_link_local())
    }

    /// The link-local address that belongs to the MAC address (RFC 4291 §2.5.1 and appendix A).
    #[must_use]
    pub const fn made_link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        let eui64 = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f];
        let [s, t, u, v, w, x, y, z] = eui64;
        Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, s, t, u, v, w, x, y, z])
    }

    fn configured_link_local(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|network| match network.addr() {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
            _ => None,
        })
    }

    /// True for an address that one other machine can have.
    pub(super) fn may_be_neighbour(&self, mac: Mac) -> bool {
        mac.is_unicast() && mac != Mac::ZERO && mac != self.mac
    }

    /// The sender of an ARP request for `target`: our address in its subnet, else our first one.
    /// Without any it is 0.0.0.0, which is a probe and is answered as well (RFC 5227 §2.1.1).
    pub(super) fn source_v4(&self, target: Ipv4Addr) -> Ipv4Addr {
        self.source(IpAddr::V4(target), |own| match own {
            IpAddr::V4(own) => Some(own),
            IpAddr::V6(_) => None,
        })
        .unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The source of a neighbor solicitation for `target`: our address in its subnet, else the
    /// link-local one.
    pub(super) fn source_v6(&self, target: Ipv6Addr) -> Ipv6Addr {
        if target.is_unicast_link_local() {
            return self.link_local();
        }
        self.source(IpAddr::V6(target), |own| match own {
            IpAddr::V6(own) if !own.is_unicast_link_local() => Some(own),
            _ => None,
        })
        .unwrap_or(self.link_local())
    }

    fn source<A>(&self, target: IpAddr, family: impl Fn(IpAddr) -> Option<A>) -> Option<A> {
        let near = self.addresses.iter().find(|network| network.contains(&target));
        near.and_then(|network| family(network.addr()))
            .or_else(|| self.addresses.iter().find_map(|network| family(network.addr())))
    }
}

#[cfg(test)]
mod tests {
    use mooring_wire::Mac;

    use super::InterfaceLink;

    fn link(addresses: &[&str]) -> InterfaceLink {
        InterfaceLink {
            mac: Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]),
            mtu: 1500,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            fixed_peer: None,
        }
    }

    #[test]
    fn asks_from_the_address_in_the_subnet_of_the_target() {
        let link = link(&["10.0.0.1/24", "192.0.2.1/24", "2001:db8::1/64", "2001:db8:1::1/64"]);
        for (target, source) in [("192.0.2.9", "192.0.2.1"), ("198.51.100.9", "10.0.0.1")] {
            assert_eq!(link.source_v4(target.parse().unwrap()).to_string(), source);
        }
        for (target, source) in [
            ("2001:db8:1::9", "2001:db8:1::1"),
            ("2001:db8:9::9", "2001:db8::1"),
            ("fe80::1", "fe80::11:22ff:fe33:4455"),
        ] {
            assert_eq!(link.source_v6(target.parse().unwrap()).to_string(), source);
        }
    }

    #[test]
    fn asks_even_without_an_address() {
        let link = link(&[]);
        assert!(link.source_v4("192.0.2.9".parse().unwrap()).is_unspecified());
        assert_eq!(link.source_v6("2001:db8::9".parse().unwrap()), link.link_local());
    }
}

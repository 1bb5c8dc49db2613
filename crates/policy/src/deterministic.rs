//! Deterministic allocation: which ports a host has, and which host has a port, by arithmetic alone
//! (RFC 7422).
//!
//! Slices are counted through the pool's addresses as they were written: an address has as many as
//! fit in the pool's `ports`, the ports that are left over belong to nobody. Host `n` of the source
//! prefix has slice `n`. Nothing is remembered, so that a log of the configuration is enough to name
//! the host behind a port of any day (RFC 6888 REQ-12).
//!
//! ICMP identifiers have no range of their own: a host's queries use the numbers of its slice.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::pool::{Allocation, Deterministic, Pool, address_count, nth_address};

impl Deterministic {
    /// How many hosts the source prefix has, its first and last address included; saturates for `::/0`.
    #[must_use]
    pub fn hosts(&self) -> u128 {
        address_count(&self.source)
    }

    /// How many slices an address with these ports has.
    #[must_use]
    pub fn slices_per_address(&self, ports: &RangeInclusive<u16>) -> u32 {
        let count = u32::from(*ports.end()) - u32::from(*ports.start()) + 1;
        count / u32::from(self.ports_per_host)
    }
}

impl Pool {
    /// The outside address and ports of a host of a deterministic pool, RFC 7422 §2.2: "a
    /// deterministic mapping of internal addresses to external addresses and port ranges". ICMP
    /// queries use the same numbers as identifiers.
    ///
    /// `None` if the pool is not deterministic, or the host is not of its source prefix.
    ///
    /// Cost: a division and the steps of [`Pool::nth_address`].
    #[must_use]
    pub fn deterministic_slice(&self, host: IpAddr) -> Option<(IpAddr, RangeInclusive<u16>)> {
        let (plan, slices) = self.plan()?;
        let n = u32::try_from(offset(&plan.source, host)?).ok()?;
        let outside = self.nth_address(n / slices)?;
        let size = u32::from(plan.ports_per_host);
        let first = u32::from(*self.ports.start()) + n % slices * size;
        // Slices end within `ports`.
        Some((outside, first as u16..=(first + size - 1) as u16))
    }

    /// The host of a deterministic pool that has an outside port, or ICMP identifier: the reverse of
    /// [`Pool::deterministic_slice`].
    ///
    /// `None` if the pool is not deterministic, or the port is nobody's.
    #[must_use]
    pub fn deterministic_host(&self, outside: IpAddr, port: u16) -> Option<IpAddr> {
        let (plan, slices) = self.plan()?;
        if !self.ports.contains(&port) {
            return None;
        }
        let slice = u32::from(port - self.ports.start()) / u32::from(plan.ports_per_host);
        // What is left over at the end of an address is no slice.
        let slice = Some(slice).filter(|slice| *slice < slices)?;
        let n = u128::from(self.index_of(outside)?) * u128::from(slices) + u128::from(slice);
        (n < plan.hosts()).then(|| nth_address(&plan.source, n))
    }

    /// Which address of the pool this is: the reverse of [`Pool::nth_address`].
    #[must_use]
    pub fn index_of(&self, address: IpAddr) -> Option<u32> {
        let mut before = 0;
        for prefix in &self.addresses {
            if let Some(n) = offset(prefix, address) {
                // Validation bounds the sum by `Self::MAX_ADDRESSES`.
                return Some((before + n) as u32);
            }
            before += address_count(prefix);
        }
        None
    }

    /// The pool's arithmetic, and the slices of an address, at least one.
    fn plan(&self) -> Option<(&Deterministic, u32)> {
        let Allocation::Deterministic(plan) = &self.allocation else { return None };
        let slices = plan.slices_per_address(&self.ports);
        (slices > 0).then_some((plan, slices))
    }
}

/// Which address of the prefix this is, from 0.
fn offset(prefix: &IpNet, address: IpAddr) -> Option<u128> {
    if !prefix.contains(&address) {
        return None;
    }
    Some(bits(address) - bits(prefix.network()))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_bits(address).into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::{Pool, load};

    fn pool(addresses: &str, ports: &str, source: &str, ports_per_host: u16) -> Pool {
        let text = format!(
            "[[pool]]\nname = \"d\"\naddresses = {addresses}\nports = \"{ports}\"\nallocation = \
             {{ kind = \"deterministic\", source = \"{source}\", ports_per_host = {ports_per_host} }}\n\
             [[interface]]\nname = \"i\"\ndevice = \"i0\"\naddresses = [\"192.0.2.1/24\"]"
        );
        let loaded = load(&text).unwrap_or_else(|problems| panic!("{}", problems.render("test")));
        loaded.policy.pools[0].clone()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    // RFC 7422 §2.2, the sequential algorithm by hand: 64512 / 252 = 256 slices an address.
    #[test]
    fn a_host_has_the_slice_of_its_number() {
        let pool = pool(r#"["203.0.113.10", "203.0.113.4/31"]"#, "1024-65535", "10.0.0.0/23", 252);
        let slice = |host: &str| pool.deterministic_slice(address(host));
        assert_eq!(slice("10.0.0.0"), Some((address("203.0.113.10"), 1024..=1275)));
        assert_eq!(slice("10.0.0.1"), Some((address("203.0.113.10"), 1276..=1527)));
        assert_eq!(slice("10.0.0.255"), Some((address("203.0.113.10"), 65284..=65535)));
        assert_eq!(slice("10.0.1.0"), Some((address("203.0.113.4"), 1024..=1275)));
        assert_eq!(slice("10.0.2.0"), None, "not of the source prefix");
        let host = |outside: &str, port| pool.deterministic_host(address(outside), port);
        assert_eq!(host("203.0.113.10", 1527), Some(address("10.0.0.1")));
        assert_eq!(host("203.0.113.4", 1024), Some(address("10.0.1.0")));
        assert_eq!(host("203.0.113.5", 1024), None, "512 hosts fill two addresses");
        assert_eq!(host("203.0.113.10", 1023), None, "below the pool's ports");
        assert_eq!(host("203.0.113.11", 1024), None, "no address of the pool");
    }

    #[test]
    fn ports_that_make_no_whole_slice_are_nobodys() {
        let pool = pool(r#"["2001:db8:2::/127"]"#, "1-1000", "fd00::/126", 400);
        let (outside, ports) = pool.deterministic_slice(address("fd00::3")).expect("host 3");
        assert_eq!((outside, ports), (address("2001:db8:2::1"), 401..=800));
        assert_eq!(pool.deterministic_host(outside, 800), Some(address("fd00::3")));
        assert_eq!(pool.deterministic_host(outside, 801), None);
    }

    #[test]
    fn other_pools_have_no_slices() {
        let mut pool = pool(r#"["203.0.113.10"]"#, "1-1000", "10.0.0.0/31", 400);
        pool.allocation = crate::Allocation::Random;
        assert_eq!(pool.deterministic_slice(address("10.0.0.0")), None);
        assert_eq!(pool.deterministic_host(address("203.0.113.10"), 1), None);
    }
}

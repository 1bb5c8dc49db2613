//! Where a generator may send: addresses that nobody on the Internet has.
//!
//! A flood that leaves the lab by mistake hits a stranger. So anything else needs `--really`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use thiserror::Error;

/// The destinations are somebody's.
#[derive(Debug, Error)]
#[error(
    "{address} is no address of a lab (documentation, benchmark, private, unique local or link-local)\n\
     hint: --really sends there all the same"
)]
pub(crate) struct Outside {
    address: IpAddr,
}

/// Checks that every address from `first` to `last` is one of a lab.
///
/// # Errors
/// [`Outside`], with the first address that is not.
pub(crate) fn check(first: IpAddr, last: IpAddr) -> Result<(), Outside> {
    // Both ends in one range: then so is all between them.
    if is_within_one_range(first, last) {
        return Ok(());
    }
    let address = if is_within_one_range(first, first) { last } else { first };
    Err(Outside { address })
}

fn is_within_one_range(first: IpAddr, last: IpAddr) -> bool {
    LAB.iter().any(|network| network.contains(&first) && network.contains(&last))
}

const LAB: [IpNet; 12] = [
    // RFC 5737 §3: documentation.
    v4([192, 0, 2, 0], 24),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // RFC 1918 §3: private.
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    // RFC 2544, Appendix C.2.2: benchmarks.
    v4([198, 18, 0, 0], 15),
    // RFC 3927 §2.1: link-local.
    v4([169, 254, 0, 0], 16),
    // RFC 3849 §2: documentation.
    v6([0x2001, 0xdb8, 0], 32),
    // RFC 5180 §8: benchmarks.
    v6([0x2001, 2, 0], 48),
    // RFC 4193 §3.1: unique local.
    v6([0xfc00, 0, 0], 7),
    // RFC 4291 §2.5.6: link-local.
    v6([0xfe80, 0, 0], 10),
];

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits)
}

const fn v6([a, b, c]: [u16; 3], bits: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), bits)
}

#[cfg(test)]
mod tests {
    use super::check;

    fn allowed(first: &str, last: &str) -> bool {
        check(first.parse().unwrap(), last.parse().unwrap()).is_ok()
    }

    #[test]
    fn only_addresses_that_nobody_has_may_be_flooded() {
        for lab in [
            "192.0.2.1",
            "198.51.100.255",
            "203.0.113.0",
            "10.0.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "198.19.255.255",
            "169.254.0.1",
            "2001:db8::1",
            "2001:2::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(allowed(lab, lab), "{lab}");
        }
        for other in [
            "8.8.8.8",
            "172.32.0.0",
            "198.20.0.0",
            "198.17.255.255",
            "192.0.3.0",
            "11.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "2001:db9::",
            "2001:2:1::",
            "2600::1",
            "fec0::1",
            "ff02::1",
            "::1",
            "64:ff9b::808:808",
        ] {
            assert!(!allowed(other, other), "{other}");
        }
    }

    #[test]
    fn a_range_that_leaves_the_lab_is_refused() {
        assert!(allowed("198.51.100.0", "198.51.100.255"));
        assert!(!allowed("198.51.100.0", "198.51.101.0"));
        // From one range of the lab to another, with others' addresses between them.
        assert!(!allowed("10.0.0.1", "192.168.0.1"));
    }
}

//! Where a generator may send: addresses that nobody on the Internet has.
//!
//! A flood that leaves the lab by mistake hits a stranger. So anything else needs `--really`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => IPV4.iter().any(|(network, bits)| {
            let mask = u32::MAX << (32 - bits);
            [first, last].iter().all(|end| end.to_bits() & mask == network.to_bits())
        }),
        (IpAddr::V6(first), IpAddr::V6(last)) => IPV6.iter().any(|(network, bits)| {
            let mask = u128::MAX << (128 - bits);
            [first, last].iter().all(|end| end.to_bits() & mask == network.to_bits())
        }),
        _ => false,
    }
}

const IPV4: &[(Ipv4Addr, u32)] = &[
    // RFC 5737 §3: documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // RFC 1918 §3: private.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // RFC 2544, Appendix C.2.2: benchmarks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // RFC 3927 §2.1: link-local.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
];

const IPV6: &[(Ipv6Addr, u32)] = &[
    // RFC 3849 §2: documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // RFC 5180 §8: benchmarks.
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48),
    // RFC 4193 §3.1: unique local.
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    // RFC 4291 §2.5.6: link-local.
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

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

//! Ethernet addresses.

use std::error::Error;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet (MAC) address, first octet first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station of the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// "Not known": the target of an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// The group that carries the IPv6 multicast address `group`: 33:33 and its last four bytes
    /// (RFC 2464 §7).
    #[inline]
    pub const fn multicast_v6(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }

    /// The group on which the owner of `address` hears neighbor solicitations: that of its
    /// solicited-node address (RFC 4291 §2.7.1).
    #[inline]
    pub const fn solicited_node(address: Ipv6Addr) -> Self {
        let [.., b, c, d] = address.octets();
        Self([0x33, 0x33, 0xff, b, c, d])
    }

    /// Whether this names more than one station: multicast or broadcast.
    #[inline]
    pub const fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this names one station.
    #[inline]
    pub const fn is_unicast(&self) -> bool {
        !self.is_group()
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = MacSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            *octet = parts.next().and_then(hex_octet).ok_or(MacSyntaxError)?;
        }
        if parts.next().is_some() {
            return Err(MacSyntaxError);
        }
        Ok(Self(octets))
    }
}

/// Two hexadecimal digits; `from_str_radix` alone would take a sign, or one digit.
fn hex_octet(text: &str) -> Option<u8> {
    let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if two_digits { u8::from_str_radix(text, 16).ok() } else { None }
}

/// A text that is not six colon-separated pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacSyntaxError;

impl fmt::Display for MacSyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, as in 02:00:00:00:00:01")
    }
}

impl Error for MacSyntaxError {}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::{Mac, MacSyntaxError};

    #[test]
    fn text_round_trip() {
        let mac = Mac([0x02, 0, 0xab, 0xcd, 0xef, 0x09]);
        assert_eq!(mac.to_string(), "02:00:ab:cd:ef:09");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("02:00:AB:CD:EF:09".parse(), Ok(mac));
    }

    #[test]
    fn refuses_what_is_not_a_mac() {
        for text in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:09:01",
            "2:0:ab:cd:ef:9",
            "+2:00:ab:cd:ef:09",
            "02-00-ab-cd-ef-09",
            "0g:00:ab:cd:ef:09",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacSyntaxError), "{text:?}");
        }
    }

    #[test]
    fn groups() {
        assert!(Mac::BROADCAST.is_group());
        assert!(!Mac::BROADCAST.is_unicast());
        assert!(Mac([0x02, 0, 0, 0, 0, 1]).is_unicast());
        let address: Ipv6Addr = "2001:db8::1234:5678".parse().unwrap();
        assert_eq!(Mac::solicited_node(address), Mac([0x33, 0x33, 0xff, 0x34, 0x56, 0x78]));
        let routers: Ipv6Addr = "ff02::2".parse().unwrap();
        assert_eq!(Mac::multicast_v6(routers), Mac([0x33, 0x33, 0, 0, 0, 2]));
        assert!(Mac::multicast_v6(routers).is_group());
    }
}

//! Why bytes are not the header that they were taken for.
//!
//! One small `Copy` error for all views: which layer, and what about it. It holds fields, not
//! strings, so that a drop reason can be derived from it by an exhaustive match.

use std::error::Error;
use std::fmt;

/// Why a `parse` refused its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The bytes end before the header or the length that it promises.
    Truncated {
        /// The header that was being read.
        layer: Layer,
        /// Bytes that would have been enough, counted from the start of this layer.
        needed: usize,
        /// Bytes that there were, counted from the start of this layer.
        had: usize,
    },
    /// A field holds a value that this layer does not allow.
    BadValue {
        /// The header that was being read.
        layer: Layer,
        /// The field.
        field: Field,
        /// What it held, as the wire has it (a length in its own units), in host order.
        value: u32,
    },
    /// A packet too long for its 16-bit length field, which holds 0 instead: a "BIG TCP"
    /// super-packet of the kernel, or an IPv6 jumbogram (RFC 2675).
    BigTcp {
        /// [`Layer::Ipv4`] or [`Layer::Ipv6`].
        layer: Layer,
        /// Bytes that there were, counted from the start of this layer.
        had: usize,
    },
}

impl ParseError {
    /// The header that was being read.
    #[inline]
    pub const fn layer(&self) -> Layer {
        match *self {
            Self::Truncated { layer, .. }
            | Self::BadValue { layer, .. }
            | Self::BigTcp { layer, .. } => layer,
        }
    }
}

/// A header that this crate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Ethernet II.
    Ethernet,
    /// ARP for IPv4 over Ethernet.
    Arp,
    /// IPv4.
    Ipv4,
    /// The IPv4 header quoted in an ICMP error.
    QuotedIpv4,
    /// The fixed IPv6 header.
    Ipv6,
    /// The IPv6 header quoted in an ICMPv6 error.
    QuotedIpv6,
    /// An IPv6 extension header.
    Ipv6Extension,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP for IPv4.
    Icmpv4,
    /// ICMP for IPv6.
    Icmpv6,
    /// Neighbor discovery, on top of ICMPv6.
    Ndp,
    /// Multicast listener discovery, on top of ICMPv6.
    Mld,
}

/// A field whose value can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// IP version.
    Version,
    /// Length of an IPv4 or authentication header, in 32-bit words (of the latter, minus 2).
    HeaderLength,
    /// IPv4 total length or UDP length, in bytes.
    Length,
    /// TCP data offset, in 32-bit words.
    DataOffset,
    /// IPv6 next header that may not stand where it stands.
    NextHeader,
    /// Number of IPv6 extension headers in one packet.
    ExtensionCount,
    /// ARP hardware type.
    HardwareType,
    /// ARP protocol type.
    ProtocolType,
    /// ARP hardware (high byte) and protocol (low byte) address lengths, in bytes.
    AddressLengths,
    /// ICMP type.
    Kind,
    /// ICMP code.
    Code,
    /// Neighbor discovery target (the value is its first four bytes).
    Target,
    /// Neighbor discovery option length, in units of 8 bytes.
    OptionLength,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { layer, needed, had } => {
                write!(f, "{layer}: needs {needed} bytes, has {had}")
            }
            Self::BadValue { layer, field, value } => {
                write!(f, "{layer}: {field} cannot be {value}")
            }
            Self::BigTcp { layer, had } => {
                write!(f, "{layer}: length 0 on a packet of {had} bytes (BIG TCP)")
            }
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "ethernet",
            Self::Arp => "arp",
            Self::Ipv4 => "ipv4",
            Self::QuotedIpv4 => "quoted ipv4",
            Self::Ipv6 => "ipv6",
            Self::QuotedIpv6 => "quoted ipv6",
            Self::Ipv6Extension => "ipv6 extension",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Icmpv4 => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Ndp => "neighbor discovery",
            Self::Mld => "mld",
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::HeaderLength => "header length",
            Self::Length => "length",
            Self::DataOffset => "data offset",
            Self::NextHeader => "next header",
            Self::ExtensionCount => "number of extension headers",
            Self::HardwareType => "hardware type",
            Self::ProtocolType => "protocol type",
            Self::AddressLengths => "address lengths",
            Self::Kind => "type",
            Self::Code => "code",
            Self::Target => "target",
            Self::OptionLength => "option length",
        })
    }
}

impl Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::{Field, Layer, ParseError};

    #[test]
    fn says_what_is_wrong_and_where() {
        let short = ParseError::Truncated { layer: Layer::Tcp, needed: 20, had: 7 };
        assert_eq!(short.to_string(), "tcp: needs 20 bytes, has 7");
        let wrong = ParseError::BadValue { layer: Layer::Ipv4, field: Field::Version, value: 6 };
        assert_eq!(wrong.to_string(), "ipv4: version cannot be 6");
        assert_eq!(wrong.layer(), Layer::Ipv4);
        let big = ParseError::BigTcp { layer: Layer::Ipv4, had: 180_000 };
        assert_eq!(big.to_string(), "ipv4: length 0 on a packet of 180000 bytes (BIG TCP)");
    }
}

//! etherparse, an independent parser, accepts what we accept and reads the same values, or
//! differs for a reason in the closed list of [`Reason`].
//!
//! Each reason is shown to be real by a literal packet that makes the two differ. Any other
//! difference, on arbitrary bytes or on valid packets that were damaged, fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod agreement;

use agreement::Layer;
use agreement::packets::{damaged, valid};
use mooring_wire::Protocol;
use mooring_wire::error::{Field, ParseError};
use mooring_wire::ipv6::Ipv6;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

/// Why our reading of some bytes may differ from that of etherparse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// etherparse takes an authentication header behind IPv4 for a part of the IP header, and
    /// refuses the packet if that part is damaged. To us it is a payload, carried or dropped by
    /// its protocol number like any other.
    AuthenticationHeader,
    /// IPv6 payload length 0 with bytes behind it: etherparse takes all of them for the payload.
    /// To us they are padding, or a packet too long for its length field, which is refused.
    ZeroPayloadLength,
    /// etherparse walks on through the pieces of a fragmented IPv6 packet, where in all but the
    /// first there is no header to walk to. We stop at the fragment header.
    Fragment,
    /// A chain of more than 8 IPv6 extension headers: ours is a bounded walk.
    ExtensionCount,
    /// UDP length 0: etherparse takes all bytes for the datagram (RFC 2675 jumbograms). We refuse
    /// it: nothing that fits our buffers needs that.
    ZeroUdpLength,
    /// etherparse refuses an ICMPv4 timestamp message that does not have 20 bytes. We read the 8
    /// bytes that all messages have, and the timestamps are the receiver's business.
    TimestampLength,
    /// etherparse reads ARP for any kind of address; we know IPv4 over Ethernet alone.
    OtherAddresses,
}

impl Reason {
    const ALL: [Self; 7] = [
        Self::AuthenticationHeader,
        Self::ZeroPayloadLength,
        Self::Fragment,
        Self::ExtensionCount,
        Self::ZeroUdpLength,
        Self::TimestampLength,
        Self::OtherAddresses,
    ];

    /// Whether this reason holds for `bytes`.
    fn holds(self, layer: Layer, bytes: &[u8]) -> bool {
        let starts = |at: usize, with: &[u8]| bytes.get(at..).is_some_and(|b| b.starts_with(with));
        let walk = || Ipv6::parse(bytes).and_then(|packet| packet.upper_layer());
        match self {
            Self::AuthenticationHeader => layer == Layer::Ipv4 && starts(9, &[51]),
            Self::ZeroPayloadLength => {
                layer == Layer::Ipv6 && starts(4, &[0, 0]) && bytes.len() > 40
            }
            Self::Fragment => {
                layer == Layer::Ipv6 && walk().is_ok_and(|(last, _)| last == Protocol::FRAGMENT)
            }
            Self::ExtensionCount => {
                let too_many = |error| {
                    matches!(error, ParseError::BadValue { field: Field::ExtensionCount, .. })
                };
                layer == Layer::Ipv6 && walk().is_err_and(too_many)
            }
            Self::ZeroUdpLength => layer == Layer::Udp && starts(4, &[0, 0]),
            Self::TimestampLength => {
                let timestamp = starts(0, &[13, 0]) || starts(0, &[14, 0]);
                layer == Layer::Icmpv4 && timestamp && bytes.len() != 20
            }
            Self::OtherAddresses => {
                layer == Layer::Arp && !starts(0, &[0, 1, 8, 0, 6, 4]) && bytes.len() >= 8
            }
        }
    }

    /// A packet on which the two differ for this reason.
    fn example(self) -> (Layer, Vec<u8>) {
        const ADDRESSES: [u8; 8] = [192, 0, 2, 1, 192, 0, 2, 2];
        let ipv6 = |len: u8, next: u8, payload: &[u8]| {
            let fixed = [0x60, 0, 0, 0, 0, len, next, 64];
            (Layer::Ipv6, [&fixed[..], &[0x20; 32], payload].concat())
        };
        match self {
            Self::AuthenticationHeader => {
                let header = [0x45, 0, 0, 21, 0, 0, 0, 0, 64, 51, 0, 0];
                (Layer::Ipv4, [&header[..], &ADDRESSES, &[17]].concat())
            }
            Self::ZeroPayloadLength => ipv6(0, 17, &[1, 2, 3, 4]),
            Self::Fragment => ipv6(12, 44, &[17, 0, 0, 8, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]),
            Self::ExtensionCount => {
                let nine = [[60, 0, 1, 4, 0, 0, 0, 0]; 8].concat();
                ipv6(72, 60, &[&nine[..], &[17, 0, 1, 4, 0, 0, 0, 0]].concat())
            }
            Self::ZeroUdpLength => (Layer::Udp, vec![0, 1, 0, 2, 0, 0, 0, 0, 0xaa]),
            Self::TimestampLength => (Layer::Icmpv4, vec![13, 0, 0, 0, 0, 1, 0, 1]),
            Self::OtherAddresses => {
                let header = [0, 6, 8, 0, 6, 4, 0, 1];
                (Layer::Arp, [&header[..], &[0x11; 20]].concat())
            }
        }
    }
}

/// Fails unless both read the same from `bytes`, or there is a reason.
fn agree(layer: Layer, bytes: &[u8]) -> Result<(), TestCaseError> {
    if Reason::ALL.iter().any(|reason| reason.holds(layer, bytes)) {
        return Ok(());
    }
    prop_assert_eq!(layer.ours(bytes), layer.theirs(bytes), "{:?} of {:02x?}", layer, bytes);
    Ok(())
}

#[test]
fn every_reason_is_real() {
    for reason in Reason::ALL {
        let (layer, bytes) = reason.example();
        assert_ne!(layer.ours(&bytes), layer.theirs(&bytes), "{reason:?} makes no difference");
        let holding: Vec<Reason> =
            Reason::ALL.into_iter().filter(|reason| reason.holds(layer, &bytes)).collect();
        assert_eq!(holding, [reason], "the example has one reason");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn on_valid_packets(
        (layer, bytes) in select(&Layer::ALL).prop_flat_map(|layer| valid(layer).prop_map(move |bytes| (layer, bytes)))
    ) {
        prop_assert_eq!(layer.ours(&bytes), layer.theirs(&bytes));
        prop_assert_eq!(layer.ours(&bytes).is_some(), true, "a valid packet is accepted");
    }

    #[test]
    fn on_damaged_packets(
        (layer, bytes) in select(&Layer::ALL).prop_flat_map(|layer| damaged(layer).prop_map(move |bytes| (layer, bytes)))
    ) {
        agree(layer, &bytes)?;
    }

    #[test]
    fn on_arbitrary_bytes(layer in select(&Layer::ALL), bytes in vec(any::<u8>(), 0..128)) {
        agree(layer, &bytes)?;
    }
}

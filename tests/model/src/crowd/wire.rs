//! Datagrams and segments without payload, as short as can be (RFC 791, 8200, 768, 9293).

use std::net::IpAddr;

use crate::packet::{End, TCP, UDP, octets, ones_sum};

/// A packet of a flow; `flags` are those of a segment.
pub(super) fn packet(protocol: u8, flags: u8, from: End, to: End) -> Vec<u8> {
    let mut l4 = [0; 20];
    l4[0..2].copy_from_slice(&from.1.to_be_bytes());
    l4[2..4].copy_from_slice(&to.1.to_be_bytes());
    let (len, sum_at) = if protocol == TCP {
        (l4[12], l4[13], l4[14]) = (0x50, flags, 0x40);
        (20, 16)
    } else {
        l4[5] = 8;
        (8, 6)
    };
    let mut bytes = Vec::with_capacity(60);
    if from.0.is_ipv4() {
        bytes.extend([0x45, 0, 0, 20 + len as u8, 0, 0, 0, 0, 64, protocol, 0, 0]);
    } else {
        bytes.extend([0x60, 0, 0, 0, 0, len as u8, protocol, 64]);
    }
    bytes.extend(octets(from.0));
    bytes.extend(octets(to.0));
    if from.0.is_ipv4() {
        let sum = !ones_sum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let sum = !ones_sum(&[addresses(&bytes), &[0, protocol, 0, len as u8], &l4[..len]]);
    // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    let sum = if protocol == UDP && sum == 0 { 0xffff } else { sum };
    l4[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(&l4[..len]);
    bytes
}

/// Where a packet that has passed is from and where it goes.
///
/// # Panics
/// When a checksum is wrong, or it has not lost one hop.
pub(super) fn ends(bytes: &[u8]) -> (u8, End, End) {
    let v4 = bytes[0] >> 4 == 4;
    let (head, protocol, hops) =
        if v4 { (20, bytes[9], bytes[8]) } else { (40, bytes[6], bytes[7]) };
    let l4 = &bytes[head..];
    assert_eq!((hops, l4.len()), (63, if protocol == TCP { 20 } else { 8 }), "{bytes:02x?}");
    assert!(matches!(protocol, TCP | UDP), "{bytes:02x?}");
    assert!(!v4 || ones_sum(&[&bytes[..20]]) == 0xffff, "{bytes:02x?}");
    let sum = ones_sum(&[addresses(bytes), &[0, protocol, 0, l4.len() as u8], l4]);
    assert_eq!(sum, 0xffff, "{bytes:02x?}");
    let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    let both = addresses(bytes);
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes")),
    };
    let (from, to) = both.split_at(both.len() / 2);
    (protocol, (address(from), port(0)), (address(to), port(2)))
}

/// Both addresses, as they stand in the header.
fn addresses(bytes: &[u8]) -> &[u8] {
    if bytes[0] >> 4 == 4 { &bytes[12..20] } else { &bytes[8..40] }
}

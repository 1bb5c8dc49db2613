//! The headers of a super-packet.

use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::tcp::Flags;
use mooring_wire::{Protocol, checksum, ipv4, ipv6};
use zerocopy::IntoBytes;

use super::shape::Shape;

/// Ethernet, IP and transport.
pub(super) struct Headers {
    bytes: [u8; LONGEST],
    len: u8,
}

impl Headers {
    pub(super) const EMPTY: Self = Self { bytes: [0; LONGEST], len: 0 };

    /// Those of the super-packet of `payload` bytes that begins with the first frame, whose shape is given, and
    /// ends with the last.
    pub(super) fn join([first, last]: [&[u8]; 2], shape: &Shape, payload: u16) -> Self {
        let len = usize::from(shape.headers);
        let mut bytes = [0; LONGEST];
        bytes[..len].copy_from_slice(&first[..len]);
        let (before, transport) = bytes[..len].split_at_mut(usize::from(shape.transport));
        // At most 65,535 with the IP header: that was asked before it was joined.
        let upper_len = transport.len() as u16 + payload;
        let pseudo_sum = edit_ip(&mut before[HEADER_LEN..], shape, upper_len);
        if shape.is_udp() {
            edit_udp(transport, upper_len, pseudo_sum);
        } else {
            edit_tcp(transport, &last[usize::from(shape.transport)..len], pseudo_sum);
        }
        Self { bytes, len: len as u8 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Gives the IP header the length of the super-packet; returns the sum of its pseudo-header, which the checksum
/// field of the transport has to hold.
fn edit_ip(bytes: &mut [u8], shape: &Shape, upper_len: u16) -> u16 {
    let protocol = if shape.is_udp() { Protocol::UDP } else { Protocol::TCP };
    if shape.is_ipv4() {
        let header = ipv4::Header::mut_at_front(bytes).expect("it was parsed before");
        header.become_segment(ipv4::HEADER_LEN as u16 + upper_len, 0);
        header.set_checksum(0);
        header.set_checksum(checksum::checksum(header.as_bytes()));
        checksum::pseudo_v4(header.source(), header.destination(), protocol, upper_len)
    } else {
        let header = ipv6::Header::mut_at_front(bytes).expect("it was parsed before");
        header.set_payload_len(upper_len);
        let (source, destination) = (header.source(), header.destination());
        checksum::pseudo_v6(source, destination, protocol, u32::from(upper_len))
    }
}

fn edit_udp(header: &mut [u8], len: u16, pseudo_sum: u16) {
    header[4..6].copy_from_slice(&len.to_be_bytes());
    header[6..8].copy_from_slice(&pseudo_sum.to_be_bytes());
}

/// "Push" is what the last one says: of all others it was asked that they do not.
fn edit_tcp(header: &mut [u8], last: &[u8], pseudo_sum: u16) {
    header[13] |= last[13] & Flags::PSH.0;
    header[16..18].copy_from_slice(&pseudo_sum.to_be_bytes());
}

/// Ethernet, IPv6 and TCP with all options.
const LONGEST: usize = HEADER_LEN + ipv6::HEADER_LEN + 60;

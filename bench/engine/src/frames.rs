//! Frames, built by etherparse with checksums summed up anew: what goes in, and what must come out. No code of the
//! translator has a part in it.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6FragmentHeader, Ipv6Header, PacketBuilder, icmpv4, icmpv6,
};

use crate::flows::{End, Family};

/// What kind of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// UDP, 64 bytes on the wire.
    Short,
    /// UDP; of twelve, seven have 64 bytes on the wire, four 594, one 1518.
    Imix,
    /// UDP in two pieces, of which one follows the other.
    Pieces,
    /// ICMP errors of a router outside about what a host has sent.
    Errors,
}

/// A UDP datagram.
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) ttl: u8,
    /// Of the session.
    pub(crate) session: u32,
    /// Of the frame: no two are alike.
    pub(crate) sequence: u32,
}

/// The two Ethernet addresses of a frame: from and to.
pub(crate) type Between = ([u8; 6], [u8; 6]);

impl Datagram {
    /// Writes the frame of this datagram, or, of a shape that quotes it, an error about it; its length.
    pub(crate) fn write(&self, shape: Shape, between: Between, frame: &mut [u8]) -> usize {
        match shape {
            Shape::Short => self.write_whole(self.least_payload(), between, frame),
            Shape::Imix => self.write_whole(self.mixed_payload(), between, frame),
            Shape::Pieces => self.write_piece(between, frame),
            Shape::Errors => self.write_error(between, frame),
        }
    }

    fn write_whole(&self, payload_len: usize, (from, to): Between, frame: &mut [u8]) -> usize {
        let mut payload = [0xa5; LONGEST];
        payload[..4].copy_from_slice(&self.session.to_be_bytes());
        // Both pieces of a datagram say the same.
        payload[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        let packet = PacketBuilder::ethernet2(from, to).ip(self.header(self.from.0, self.to.0));
        let packet = packet.udp(self.from.1, self.to.1);
        let len = packet.size(payload_len);
        let written = packet.write_to_slice(frame, &payload[..payload_len]);
        written.expect("there is room for the longest frame");
        len
    }

    /// The first piece of a datagram has an even sequence, the second one the odd one behind it.
    fn write_piece(&self, between: Between, frame: &mut [u8]) -> usize {
        let whole_of = Self { sequence: self.sequence / 2, ..*self };
        let mut whole = [0; LONGEST + 100];
        let len = whole_of.write_whole(LONGEST_IN_PIECES, between, &mut whole);
        let ip_len = if self.from.0.is_ipv4() { 20 } else { 40 };
        let (l2, l4) = (&whole[..14], &whole[14 + ip_len..len]);
        let first = self.sequence.is_multiple_of(2);
        let (piece, offset) = if first { (&l4[..CUT], 0) } else { (&l4[CUT..], CUT as u16 / 8) };
        let offset = IpFragOffset::try_new(offset).expect("it is small");
        let mut written = l2.to_vec();
        match whole_of.header(self.from.0, self.to.0) {
            IpHeaders::Ipv4(mut header, _) => {
                (header.dont_fragment, header.more_fragments) = (false, first);
                header.fragment_offset = offset;
                header.protocol = IpNumber::UDP;
                header.set_payload_len(piece.len()).expect("a piece is short");
                header.header_checksum = header.calc_header_checksum();
                written.extend_from_slice(&header.to_bytes());
            }
            IpHeaders::Ipv6(mut header, _) => {
                let id = whole_of.sequence;
                let fragment = Ipv6FragmentHeader::new(IpNumber::UDP, offset, first, id);
                header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
                header.set_payload_length(piece.len() + 8).expect("a piece is short");
                written.extend_from_slice(&header.to_bytes());
                written.extend_from_slice(&fragment.to_bytes());
            }
        }
        written.extend_from_slice(piece);
        frame[..written.len()].copy_from_slice(&written);
        written.len()
    }

    /// A router says that this datagram, which it quotes, could not go on: to whom it comes from.
    fn write_error(&self, (from, to): Between, frame: &mut [u8]) -> usize {
        let mut quoted = [0; 128];
        let sent = Self { ttl: QUOTED_TTL, ..*self };
        let len = sent.write_whole(self.least_payload(), (from, to), &mut quoted);
        let quote = &quoted[14..len];
        let (builder, router) = (PacketBuilder::ethernet2(from, to), self.to.0);
        let builder = builder.ip(self.header(router, self.from.0));
        let (len, written) = match router {
            IpAddr::V4(_) => {
                let host = icmpv4::DestUnreachableHeader::Host;
                let packet = builder.icmpv4(Icmpv4Type::DestinationUnreachable(host));
                (packet.size(quote.len()), packet.write_to_slice(frame, quote).is_ok())
            }
            IpAddr::V6(_) => {
                let address = icmpv6::DestUnreachableCode::Address;
                let packet = builder.icmpv6(Icmpv6Type::DestinationUnreachable(address));
                (packet.size(quote.len()), packet.write_to_slice(frame, quote).is_ok())
            }
        };
        assert!(written, "there is room for an error");
        len
    }

    fn header(&self, from: IpAddr, to: IpAddr) -> IpHeaders {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header =
                    Ipv4Header::new(0, self.ttl, IpNumber::UDP, from.octets(), to.octets());
                let mut header = header.expect("no payload is short");
                header.identification = self.sequence as u16;
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let label = Ipv6FlowLabel::try_new(self.sequence & 0xf_ffff);
                let header = Ipv6Header {
                    hop_limit: self.ttl,
                    flow_label: label.expect("it is masked"),
                    next_header: IpNumber::UDP,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            _ => unreachable!("both ends of a packet are of one family"),
        }
    }

    fn least_payload(&self) -> usize {
        let family = if self.from.0.is_ipv4() { Family::V4 } else { Family::V6 };
        family.least_payload()
    }

    fn mixed_payload(&self) -> usize {
        // IPv6 headers are 20 bytes longer.
        let longer = if self.from.0.is_ipv4() { 0 } else { 20 };
        match self.sequence % 12 {
            0..=6 => self.least_payload(),
            7..=10 => 548 - longer,
            _ => LONGEST - longer,
        }
    }
}

/// Bytes of the longest payload, of that of a datagram in pieces, and of its first piece.
pub(crate) const LONGEST: usize = 1472;
const LONGEST_IN_PIECES: usize = 1000;
const CUT: usize = 512;

/// What a packet has left where a router could not send it on.
const QUOTED_TTL: u8 = 9;

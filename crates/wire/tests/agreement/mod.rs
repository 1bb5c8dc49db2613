//! The same bytes, read by our views and by etherparse into one comparable form.

pub(crate) mod packets;

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    ArpPacketSlice, Ethernet2Slice, Icmpv4Slice, Icmpv6Slice, Ipv4Slice, Ipv6Slice, TcpSlice,
    UdpSlice, ip_number,
};
use mooring_wire::arp::Arp;
use mooring_wire::checksum::pseudo_v4;
use mooring_wire::ethernet::Ethernet;
use mooring_wire::icmpv4::Icmpv4;
use mooring_wire::icmpv6::Icmpv6;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;
use mooring_wire::tcp::Tcp;
use mooring_wire::udp::Udp;
use mooring_wire::{Mac, Protocol};

/// A header that both read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Ethernet II.
    Ethernet,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6 with its extension headers.
    Ipv6,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP for IPv4.
    Icmpv4,
    /// ICMP for IPv6.
    Icmpv6,
}

impl Layer {
    /// Every layer.
    pub(crate) const ALL: [Self; 8] = [
        Self::Ethernet,
        Self::Arp,
        Self::Ipv4,
        Self::Ipv6,
        Self::Udp,
        Self::Tcp,
        Self::Icmpv4,
        Self::Icmpv6,
    ];

    /// What our view reads; `None` if it refuses the bytes.
    pub(crate) fn ours(self, bytes: &[u8]) -> Option<Reading> {
        match self {
            Self::Ethernet => our_ethernet(bytes),
            Self::Arp => our_arp(bytes),
            Self::Ipv4 => our_ipv4(bytes),
            Self::Ipv6 => our_ipv6(bytes),
            Self::Udp => our_udp(bytes),
            Self::Tcp => our_tcp(bytes),
            Self::Icmpv4 => our_icmpv4(bytes),
            Self::Icmpv6 => our_icmpv6(bytes),
        }
    }

    /// What etherparse reads; `None` if it refuses the bytes.
    pub(crate) fn theirs(self, bytes: &[u8]) -> Option<Reading> {
        match self {
            Self::Ethernet => their_ethernet(bytes),
            Self::Arp => their_arp(bytes),
            Self::Ipv4 => their_ipv4(bytes),
            Self::Ipv6 => their_ipv6(bytes),
            Self::Udp => their_udp(bytes),
            Self::Tcp => their_tcp(bytes),
            Self::Icmpv4 => their_icmpv4(bytes),
            Self::Icmpv6 => their_icmpv6(bytes),
        }
    }
}

/// All that was read: named values, then options and payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    values: Vec<(&'static str, u128)>,
    bytes: Vec<Vec<u8>>,
}

impl Reading {
    fn new<const N: usize>(values: [(&'static str, u128); N], bytes: &[&[u8]]) -> Option<Self> {
        let bytes = bytes.iter().map(|bytes| bytes.to_vec()).collect();
        Some(Self { values: values.to_vec(), bytes })
    }
}

/// The ends of the packet that a transport header is taken to stand in.
const ENDS_V4: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 254));
const ENDS_V6: (Ipv6Addr, Ipv6Addr) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);

fn mac(octets: [u8; 6]) -> u128 {
    octets.iter().fold(0, |value, octet| value << 8 | u128::from(*octet))
}

/// Checked as a receiver checks (RFC 1071 §1): the sum of all, checksum included, is -0.
/// `calc_header_checksum` would leave out the reserved flag, which its header has no room for.
fn their_sum_is_right(pseudo: Sum16BitWords, bytes: &[u8]) -> bool {
    pseudo.add_slice(bytes).ones_complement() == 0
}

fn our_ethernet(bytes: &[u8]) -> Option<Reading> {
    let frame = Ethernet::parse(bytes).ok()?;
    let values = [
        ("destination", mac(frame.destination().0)),
        ("source", mac(frame.source().0)),
        ("type", frame.ether_type().0.into()),
    ];
    Reading::new(values, &[frame.payload()])
}

fn their_ethernet(bytes: &[u8]) -> Option<Reading> {
    let frame = Ethernet2Slice::from_slice_without_fcs(bytes).ok()?;
    let values = [
        ("destination", mac(frame.destination())),
        ("source", mac(frame.source())),
        ("type", frame.ether_type().0.into()),
    ];
    Reading::new(values, &[frame.payload_slice()])
}

fn our_arp(bytes: &[u8]) -> Option<Reading> {
    let message = Arp::parse(bytes).ok()?;
    let Mac(sender) = message.sender_mac();
    let Mac(target) = message.target_mac();
    let (sender_ip, target_ip) = (message.sender_ip().octets(), message.target_ip().octets());
    Reading::new(
        [("operation", message.operation().into())],
        &[&sender, &sender_ip, &target, &target_ip],
    )
}

fn their_arp(bytes: &[u8]) -> Option<Reading> {
    let message = ArpPacketSlice::from_slice(bytes).ok()?;
    Reading::new(
        [("operation", message.operation().0.into())],
        &[
            message.sender_hw_addr(),
            message.sender_protocol_addr(),
            message.target_hw_addr(),
            message.target_protocol_addr(),
        ],
    )
}

fn our_ipv4(bytes: &[u8]) -> Option<Reading> {
    let packet = Ipv4::parse(bytes).ok()?;
    let values = [
        ("header length", packet.header_len() as u128),
        ("tos", packet.tos().into()),
        ("total length", packet.total_len().into()),
        ("identification", packet.identification().into()),
        ("don't fragment", packet.dont_fragment().into()),
        ("more fragments", packet.more_fragments().into()),
        ("fragment offset", packet.fragment_offset().into()),
        ("is a fragment", packet.is_fragment().into()),
        ("ttl", packet.ttl().into()),
        ("protocol", packet.protocol().0.into()),
        ("checksum", packet.checksum().into()),
        ("checksum is valid", packet.checksum_is_valid().into()),
        ("source", packet.source().to_bits().into()),
        ("destination", packet.destination().to_bits().into()),
    ];
    Reading::new(values, &[packet.options(), packet.payload()])
}

fn their_ipv4(bytes: &[u8]) -> Option<Reading> {
    let packet = Ipv4Slice::from_slice(bytes).ok()?;
    let header = packet.header();
    let values = [
        ("header length", u128::from(header.ihl()) * 4),
        ("tos", (header.dcp().value() << 2 | header.ecn().value()).into()),
        ("total length", header.total_len().into()),
        ("identification", header.identification().into()),
        ("don't fragment", header.dont_fragment().into()),
        ("more fragments", header.more_fragments().into()),
        ("fragment offset", u128::from(header.fragments_offset().value()) * 8),
        ("is a fragment", header.is_fragmenting_payload().into()),
        ("ttl", header.ttl().into()),
        ("protocol", header.protocol().0.into()),
        ("checksum", header.header_checksum().into()),
        ("checksum is valid", their_sum_is_right(Sum16BitWords::new(), header.slice()).into()),
        ("source", header.source_addr().to_bits().into()),
        ("destination", header.destination_addr().to_bits().into()),
    ];
    Reading::new(values, &[header.options(), packet.payload().payload])
}

fn our_ipv6(bytes: &[u8]) -> Option<Reading> {
    let packet = Ipv6::parse(bytes).ok()?;
    let (upper, offset) = packet.upper_layer().ok()?;
    let values = [
        ("traffic class", packet.traffic_class().into()),
        ("flow label", packet.flow_label().into()),
        ("payload length", packet.payload_len().into()),
        ("next header", packet.next_header().0.into()),
        ("hop limit", packet.hop_limit().into()),
        ("source", packet.source().to_bits()),
        ("destination", packet.destination().to_bits()),
        ("upper layer", upper.0.into()),
    ];
    Reading::new(values, &[&packet.payload()[offset - 40..]])
}

fn their_ipv6(bytes: &[u8]) -> Option<Reading> {
    let packet = Ipv6Slice::from_slice(bytes).ok()?;
    let header = packet.header();
    let values = [
        ("traffic class", header.traffic_class().into()),
        ("flow label", header.flow_label().value().into()),
        ("payload length", header.payload_length().into()),
        ("next header", header.next_header().0.into()),
        ("hop limit", header.hop_limit().into()),
        ("source", header.source_addr().to_bits()),
        ("destination", header.destination_addr().to_bits()),
        ("upper layer", packet.payload().ip_number.0.into()),
    ];
    Reading::new(values, &[packet.payload().payload])
}

fn our_udp(bytes: &[u8]) -> Option<Reading> {
    let datagram = Udp::parse(bytes).ok()?;
    let values = [
        ("source port", datagram.source_port().into()),
        ("destination port", datagram.destination_port().into()),
        ("length", datagram.len().into()),
        ("checksum", datagram.checksum().into()),
        ("computed checksum", computed_udp_checksum(bytes).into()),
    ];
    Reading::new(values, &[datagram.payload()])
}

fn computed_udp_checksum(bytes: &[u8]) -> u16 {
    let mut bytes = bytes.to_vec();
    let mut datagram = Udp::parse(&mut bytes[..]).unwrap();
    datagram.fill_checksum(pseudo_v4(ENDS_V4.0, ENDS_V4.1, Protocol::UDP, datagram.len()));
    datagram.checksum()
}

fn their_udp(bytes: &[u8]) -> Option<Reading> {
    let datagram = UdpSlice::from_slice(bytes).ok()?;
    let header = datagram.to_header();
    let (source, destination) = (ENDS_V4.0.octets(), ENDS_V4.1.octets());
    let computed = header.calc_checksum_ipv4_raw(source, destination, datagram.payload()).unwrap();
    let values = [
        ("source port", datagram.source_port().into()),
        ("destination port", datagram.destination_port().into()),
        ("length", datagram.length().into()),
        ("checksum", datagram.checksum().into()),
        ("computed checksum", computed.into()),
    ];
    Reading::new(values, &[datagram.payload()])
}

fn our_tcp(bytes: &[u8]) -> Option<Reading> {
    let segment = Tcp::parse(bytes).ok()?;
    let pseudo = pseudo_v4(ENDS_V4.0, ENDS_V4.1, Protocol::TCP, bytes.len() as u16);
    let values = [
        ("source port", segment.source_port().into()),
        ("destination port", segment.destination_port().into()),
        ("sequence", segment.sequence().into()),
        ("acknowledgment", segment.acknowledgment().into()),
        ("header length", segment.header_len() as u128),
        ("flags", segment.flags().0.into()),
        ("window", segment.window().into()),
        ("checksum", segment.checksum().into()),
        ("checksum is valid", segment.checksum_is_valid(pseudo).into()),
        ("urgent", segment.urgent().into()),
    ];
    Reading::new(values, &[segment.options(), segment.payload()])
}

fn their_tcp(bytes: &[u8]) -> Option<Reading> {
    let segment = TcpSlice::from_slice(bytes).ok()?;
    let flags = [
        segment.fin(),
        segment.syn(),
        segment.rst(),
        segment.psh(),
        segment.ack(),
        segment.urg(),
        segment.ece(),
        segment.cwr(),
    ];
    let flags = flags.iter().rev().fold(0, |flags, set| flags << 1 | u128::from(*set));
    let pseudo = Sum16BitWords::new()
        .add_4bytes(ENDS_V4.0.octets())
        .add_4bytes(ENDS_V4.1.octets())
        .add_2bytes([0, ip_number::TCP.0])
        .add_2bytes((bytes.len() as u16).to_be_bytes());
    let values = [
        ("source port", segment.source_port().into()),
        ("destination port", segment.destination_port().into()),
        ("sequence", segment.sequence_number().into()),
        ("acknowledgment", segment.acknowledgment_number().into()),
        ("header length", u128::from(segment.data_offset()) * 4),
        ("flags", flags),
        ("window", segment.window_size().into()),
        ("checksum", segment.checksum().into()),
        ("checksum is valid", their_sum_is_right(pseudo, bytes).into()),
        ("urgent", segment.urgent_pointer().into()),
    ];
    Reading::new(values, &[segment.options(), segment.payload()])
}

fn our_icmpv4(bytes: &[u8]) -> Option<Reading> {
    let message = Icmpv4::parse(bytes).ok()?;
    let values = [
        ("type", message.kind().into()),
        ("code", message.code().into()),
        ("checksum", message.checksum().into()),
        ("identifier", message.identifier().into()),
        ("sequence", message.sequence().into()),
    ];
    Reading::new(values, &[message.payload()])
}

fn their_icmpv4(bytes: &[u8]) -> Option<Reading> {
    let message = Icmpv4Slice::from_slice(bytes).ok()?;
    let [a, b, c, d] = message.bytes5to8();
    let values = [
        ("type", message.type_u8().into()),
        ("code", message.code_u8().into()),
        ("checksum", message.checksum().into()),
        ("identifier", u16::from_be_bytes([a, b]).into()),
        ("sequence", u16::from_be_bytes([c, d]).into()),
    ];
    Reading::new(values, &[&message.slice()[8..]])
}

fn our_icmpv6(bytes: &[u8]) -> Option<Reading> {
    let message = Icmpv6::parse(bytes).ok()?;
    let values = [
        ("type", message.kind().into()),
        ("code", message.code().into()),
        ("checksum", message.checksum().into()),
        ("checksum is valid", message.checksum_is_valid(ENDS_V6.0, ENDS_V6.1).into()),
        ("identifier", message.identifier().into()),
        ("sequence", message.sequence().into()),
    ];
    Reading::new(values, &[message.payload()])
}

fn their_icmpv6(bytes: &[u8]) -> Option<Reading> {
    let message = Icmpv6Slice::from_slice(bytes).ok()?;
    let [a, b, c, d] = message.bytes5to8();
    let valid = message.is_checksum_valid(ENDS_V6.0.octets(), ENDS_V6.1.octets());
    let values = [
        ("type", message.type_u8().into()),
        ("code", message.code_u8().into()),
        ("checksum", message.checksum().into()),
        ("checksum is valid", valid.into()),
        ("identifier", u16::from_be_bytes([a, b]).into()),
        ("sequence", u16::from_be_bytes([c, d]).into()),
    ];
    Reading::new(values, &[message.payload()])
}

//! What of a packet decides whether it may be joined to another one.

use mooring_packet::offload::GsoKind;
use mooring_packet::{Offload, Packet};
use mooring_wire::ethernet::{EtherType, Ethernet, HEADER_LEN};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;
use mooring_wire::tcp::{Flags, Tcp};
use mooring_wire::udp::{self, Udp};
use mooring_wire::{Protocol, ipv4, ipv6};

/// A TCP segment or UDP datagram with payload, with the plainest of headers, whose checksum is known to be right.
pub(super) struct Shape {
    kind: GsoKind,
    /// Where the transport header begins, in bytes from the start of the frame.
    pub(super) transport: u8,
    /// Bytes of all headers, Ethernet's included.
    pub(super) headers: u8,
    /// Bytes behind them.
    pub(super) payload: u16,
    /// Nothing of its flow may be joined behind it: its sender has said "push".
    pub(super) is_last: bool,
    /// Packets of one flow have the same number here.
    pub(super) flow: usize,
}

/// What was joined before.
#[derive(Clone, Copy)]
pub(super) struct Before {
    /// How many packets.
    pub(super) packets: u8,
    /// Their bytes.
    pub(super) payload: u16,
}

impl Shape {
    /// `None` for whatever is not joined to anything.
    pub(super) fn of(packet: &Packet<'_>) -> Option<Self> {
        let offload = packet.offload;
        if offload.is_gso() || (offload.partial().is_none() && !offload.is_verified()) {
            return None;
        }
        let bytes = packet.bytes();
        let ethernet = Ethernet::parse(bytes).ok()?;
        let (protocol, transport, len) = match ethernet.ether_type() {
            EtherType::IPV4 => of_ipv4(ethernet.into_payload())?,
            EtherType::IPV6 => of_ipv6(ethernet.into_payload())?,
            _ => return None,
        };
        // What is behind the IP packet would be in the middle of a super-packet.
        if len != bytes.len() {
            return None;
        }
        let behind = &bytes[transport..];
        let is_v6 = transport == HEADER_LEN + ipv6::HEADER_LEN;
        let (kind, header, checksum, is_last) = match protocol {
            Protocol::UDP => {
                let udp = Udp::parse(behind).ok()?;
                // A length of its own, or no checksum, would not come out of a super-packet again.
                let plain = usize::from(udp.len()) == behind.len() && udp.checksum() != 0;
                (GsoKind::UdpL4, plain.then_some(udp::HEADER_LEN)?, UDP_CHECKSUM, false)
            }
            Protocol::TCP => {
                let tcp = Tcp::parse(behind).ok()?;
                let flags = tcp.flags();
                let plain = flags.without(Flags::PSH) == Flags::ACK && tcp.urgent() == 0;
                let kind = if is_v6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
                let is_last = flags.contains(Flags::PSH);
                (kind, plain.then_some(tcp.header_len())?, TCP_CHECKSUM, is_last)
            }
            _ => return None,
        };
        let is_here = |at: mooring_packet::offload::PartialChecksum| {
            usize::from(at.start) == transport && at.offset == checksum
        };
        let payload = behind.len() - header;
        if payload == 0 || !offload.partial().is_none_or(is_here) {
            return None;
        }
        Some(Self {
            kind,
            transport: transport as u8,
            headers: (transport + header) as u8,
            payload: payload as u16,
            is_last,
            flow: flow(bytes, transport),
        })
    }

    /// Whether the headers of `other` are of the same kind and length.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.transport, self.headers) == (other.kind, other.transport, other.headers)
    }

    /// Whether the second frame, which is alike, is the one that comes after what `before` says, which begins
    /// with the first one.
    pub(super) fn precedes(&self, [first, next]: [&[u8]; 2], before: Before) -> bool {
        let transport = usize::from(self.transport);
        let same = |from: usize, to: usize| first[from..to] == next[from..to];
        let ip = if transport == HEADER_LEN + ipv4::HEADER_LEN {
            // All but length, identification and checksum.
            same(0, 16) && same(20, 24) && same(26, 34) && identified(first, next, before.packets)
        } else {
            // All but the length.
            same(0, 18) && same(20, 54)
        };
        ip && same(transport, transport + 4)
            && match self.kind {
                GsoKind::UdpL4 => true,
                GsoKind::TcpV4 | GsoKind::TcpV6 => {
                    let sequence = |bytes: &[u8]| word(bytes, transport + 4);
                    // Acknowledgment and header length; flags are those that every segment here has; window;
                    // urgent pointer and options.
                    sequence(next) == sequence(first).wrapping_add(u32::from(before.payload))
                        && same(transport + 8, transport + 13)
                        && same(transport + 14, transport + 16)
                        && same(transport + 18, usize::from(self.headers))
                }
            }
    }

    /// What a super-packet with this one in front says beside its bytes.
    pub(super) fn super_packet(&self) -> Offload {
        let checksum = if self.kind == GsoKind::UdpL4 { UDP_CHECKSUM } else { TCP_CHECKSUM };
        Offload::partial_checksum(u16::from(self.transport), checksum).with_gso(
            self.kind,
            self.payload,
            u16::from(self.headers),
        )
    }

    /// Whether it is UDP; else it is TCP.
    pub(super) fn is_udp(&self) -> bool {
        self.kind == GsoKind::UdpL4
    }

    /// Whether it is IPv4; else it is IPv6.
    pub(super) fn is_ipv4(&self) -> bool {
        usize::from(self.transport) == HEADER_LEN + ipv4::HEADER_LEN
    }
}

/// What its transport is, where that begins in the frame and where the packet ends.
fn of_ipv4(bytes: &[u8]) -> Option<(Protocol, usize, usize)> {
    let ip = Ipv4::parse(bytes).ok()?;
    let plain = ip.header_len() == ipv4::HEADER_LEN && !ip.is_fragment();
    let len = HEADER_LEN + usize::from(ip.total_len());
    plain.then_some((ip.protocol(), HEADER_LEN + ipv4::HEADER_LEN, len))
}

/// The same; whatever has an extension header is of no transport that is known here.
fn of_ipv6(bytes: &[u8]) -> Option<(Protocol, usize, usize)> {
    let ip = Ipv6::parse(bytes).ok()?;
    let transport = HEADER_LEN + ipv6::HEADER_LEN;
    Some((ip.next_header(), transport, transport + usize::from(ip.payload_len())))
}

/// A segment's identification is that of the first one and its number (`inet_gso_segment`): so it has to be,
/// where somebody may cut the segment (RFC 791) and put it together again by it.
fn identified(first: &[u8], next: &[u8], number: u8) -> bool {
    let identification = |bytes: &[u8]| u16::from_be_bytes([bytes[18], bytes[19]]);
    next[20] & DONT_FRAGMENT != 0
        || identification(next) == identification(first).wrapping_add(u16::from(number))
}

/// From the last four bytes of either address, and the ports.
fn flow(bytes: &[u8], transport: usize) -> usize {
    let ports = word(bytes, transport);
    let destination = word(bytes, transport - 4);
    let source = if transport == HEADER_LEN + ipv4::HEADER_LEN { 8 } else { 20 };
    let mixed = ports ^ destination.rotate_left(5) ^ word(bytes, transport - source);
    (mixed.wrapping_mul(0x9e37_79b1) >> 28) as usize
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// In the seventh byte of an IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

/// Where the checksum lies in a UDP header.
const UDP_CHECKSUM: u16 = 6;

/// And in that of TCP.
const TCP_CHECKSUM: u16 = 16;

//! What the tests send.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Icmpv6Type, IpHeaders, IpNumber, Ipv4Header,
    Ipv4Options, PacketBuilder, PacketBuilderStep,
};
use mooring_wire::Mac;

use super::{GATEWAY_MAC, HOST_MAC, OUR_INSIDE, OUR_OUTSIDE};

/// An IPv4 packet on its way to us.
#[derive(Clone)]
pub(crate) struct Ip {
    macs: (Mac, Mac),
    header: Ipv4Header,
}

/// From the inside host, to our address of the inside link.
pub(crate) fn inside(source: Ipv4Addr, destination: Ipv4Addr) -> Ip {
    Ip::new((HOST_MAC, OUR_INSIDE), source, destination)
}

/// From the gateway, to our address of the outside link.
pub(crate) fn outside(source: Ipv4Addr, destination: Ipv4Addr) -> Ip {
    Ip::new((GATEWAY_MAC, OUR_OUTSIDE), source, destination)
}

impl Ip {
    fn new(macs: (Mac, Mac), source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let header = Ipv4Header::new(0, 64, IpNumber::UDP, source.octets(), destination.octets());
        Self { macs, header: header.expect("a packet without payload is not too long") }
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.header.time_to_live = ttl;
        self
    }

    /// Routers may cut it.
    pub(crate) fn fragmentable(mut self) -> Self {
        self.header.dont_fragment = false;
        self
    }

    /// A piece of a longer packet; `offset` in units of 8 bytes.
    pub(crate) fn piece(mut self, offset: u16, more: bool) -> Self {
        self.header.dont_fragment = false;
        self.header.more_fragments = more;
        self.header.fragment_offset = offset.try_into().expect("the offset has 13 bits");
        self
    }

    pub(crate) fn identified(mut self, identification: u16) -> Self {
        self.header.identification = identification;
        self
    }

    /// The packet with `l4` behind its IP header, in pieces of `size` bytes of it.
    pub(crate) fn pieces(
        self,
        identification: u16,
        protocol: u8,
        l4: &[u8],
        size: usize,
    ) -> Vec<Vec<u8>> {
        let parts = l4.chunks(size).enumerate();
        parts
            .map(|(at, part)| {
                let more = (at + 1) * size < l4.len();
                let piece =
                    self.clone().identified(identification).piece((at * size / 8) as u16, more);
                piece.other(protocol, part)
            })
            .collect()
    }

    pub(crate) fn options(mut self, options: Ipv4Options) -> Self {
        self.header.options = options;
        self
    }

    pub(crate) fn udp(self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.build().udp(from, to).write(&mut frame, payload).expect("a vector takes all");
        frame
    }

    /// `flags` by their first letters, such as `SA`.
    pub(crate) fn tcp(self, from: u16, to: u16, flags: &str, payload: &[u8]) -> Vec<u8> {
        self.tcp_at((from, to), flags, (1_000, 2_000), payload)
    }

    /// As [`Self::tcp`], with these sequence and acknowledgment numbers.
    pub(crate) fn tcp_at(
        self,
        (from, to): (u16, u16),
        flags: &str,
        (sequence, acknowledgment): (u32, u32),
        payload: &[u8],
    ) -> Vec<u8> {
        let mut tcp = self.build().tcp(from, to, sequence, 64_000);
        for flag in flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(acknowledgment),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                other => panic!("no flag is called {other}"),
            };
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, payload).expect("a vector takes all");
        frame
    }

    pub(crate) fn echo_request(self, id: u16, sequence: u16) -> Vec<u8> {
        self.icmp(8, 0, [id.to_be_bytes(), sequence.to_be_bytes()], ECHO_DATA)
    }

    pub(crate) fn echo_reply(self, id: u16, sequence: u16) -> Vec<u8> {
        self.icmp(0, 0, [id.to_be_bytes(), sequence.to_be_bytes()], ECHO_DATA)
    }

    /// An error about `quoted`, a frame, of which 28 bytes from the IP header on are quoted.
    pub(crate) fn error(self, (kind, code): (u8, u8), mtu: u16, quoted: &[u8]) -> Vec<u8> {
        self.icmp(kind, code, [[0; 2], mtu.to_be_bytes()], &quoted[14..quoted.len().min(42)])
    }

    pub(crate) fn icmp(self, kind: u8, code: u8, rest: [[u8; 2]; 2], payload: &[u8]) -> Vec<u8> {
        let [[a, b], [c, d]] = rest;
        let mut frame = Vec::new();
        let message = self.build().icmpv4_raw(kind, code, [a, b, c, d]);
        message.write(&mut frame, payload).expect("a vector takes all");
        frame
    }

    /// Another protocol, its whole header and payload given.
    pub(crate) fn other(self, protocol: u8, bytes: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let packet = self.build();
        packet.write(&mut frame, IpNumber(protocol), bytes).expect("a vector takes all");
        frame
    }

    fn build(self) -> PacketBuilderStep<IpHeaders> {
        let (from, to) = self.macs;
        PacketBuilder::ethernet2(from.0, to.0).ip(IpHeaders::Ipv4(self.header, Default::default()))
    }
}

/// A broadcast question for `target`.
pub(crate) fn arp_request((mac, address): (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    arp(ArpOperation::REQUEST, (mac, address), (Mac::ZERO, target), Mac::BROADCAST)
}

/// An answer to `to`.
pub(crate) fn arp_reply((mac, address): (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    arp(ArpOperation::REPLY, (mac, address), to, to.0)
}

fn arp(
    operation: ArpOperation,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
    to: Mac,
) -> Vec<u8> {
    let message = ArpEthIpv4Packet {
        operation,
        sender_mac: sender.0.0,
        sender_ipv4: sender.1.octets(),
        target_mac: target.0.0,
        target_ipv4: target.1.octets(),
    };
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(sender.0.0, to.0).arp(message.into());
    builder.write(&mut frame).expect("a vector takes all");
    frame
}

/// An ICMPv6 message from a neighbour of the outside link to `destination`.
pub(crate) fn icmpv6(
    to: Mac,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    message: Icmpv6Type,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(GATEWAY_MAC.0, to.0)
        .ipv6(source.octets(), destination.octets(), 255)
        .icmpv6(message)
        .write(&mut frame, payload)
        .expect("a vector takes all");
    frame
}

/// Writes another EtherType over the frame's.
pub(crate) fn with_ether_type(mut frame: Vec<u8>, ether_type: EtherType) -> Vec<u8> {
    frame[12..14].copy_from_slice(&ether_type.0.to_be_bytes());
    frame
}

/// Writes another destination over the frame's.
pub(crate) fn to_mac(mut frame: Vec<u8>, mac: Mac) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac.0);
    frame
}

/// Edits one byte; checksums stay as they are.
pub(crate) fn with_byte(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

const ECHO_DATA: &[u8] = b"abcdefgh";

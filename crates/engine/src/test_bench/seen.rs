//! What the tests see: a frame as etherparse reads it, all checksums verified.

use std::net::Ipv4Addr;

use etherparse::{Ipv4Header, NetSlice, SlicedPacket, TransportSlice, checksum};
use mooring_wire::Mac;

/// An IPv4 packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Source and destination of the frame.
    pub(crate) macs: (Mac, Mac),
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Ports, source first.
    Udp(u16, u16),
    /// Ports, source first.
    Tcp(u16, u16),
    /// Type, code, and the two 16-bit fields after the checksum.
    Icmp(u8, u8, u16, u16),
}

impl Seen {
    /// Reads a frame.
    ///
    /// # Panics
    /// When it is not IPv4 with a known protocol, or a checksum in it is wrong.
    pub(crate) fn read(frame: &[u8]) -> Self {
        let packet = SlicedPacket::from_ethernet(frame).expect("the frame is well-formed");
        let ethernet = packet.link.as_ref().and_then(|link| link.to_header());
        let ethernet = ethernet.and_then(|link| link.ethernet2()).expect("the frame is Ethernet");
        let Some(NetSlice::Ipv4(net)) = &packet.net else { panic!("not IPv4: {frame:02x?}") };
        let ip = net.header().to_header();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "the checksum of the header");
        let transport = packet.transport.as_ref().expect("the protocol is known");
        let (transport, payload) = read_transport(transport, &ip);
        Self {
            macs: (Mac(ethernet.source), Mac(ethernet.destination)),
            source: ip.source.into(),
            destination: ip.destination.into(),
            ttl: ip.time_to_live,
            transport,
            payload,
        }
    }
}

fn read_transport(slice: &TransportSlice<'_>, ip: &Ipv4Header) -> (Transport, Vec<u8>) {
    match slice {
        TransportSlice::Udp(slice) => {
            let (udp, payload) = (slice.to_header(), slice.payload());
            if udp.checksum != 0 {
                let right = udp.calc_checksum_ipv4(ip, payload).expect("a short datagram");
                assert_eq!(udp.checksum, right, "the checksum of UDP");
            }
            (Transport::Udp(udp.source_port, udp.destination_port), payload.to_vec())
        }
        TransportSlice::Tcp(slice) => {
            let (tcp, payload) = (slice.to_header(), slice.payload());
            let right = tcp.calc_checksum_ipv4(ip, payload).expect("a short segment");
            assert_eq!(tcp.checksum, right, "the checksum of TCP");
            (Transport::Tcp(tcp.source_port, tcp.destination_port), payload.to_vec())
        }
        TransportSlice::Icmpv4(slice) => {
            let bytes = slice.slice();
            assert_eq!(sum(bytes), 0, "the checksum of ICMP");
            let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            (Transport::Icmp(bytes[0], bytes[1], word(4), word(6)), bytes[8..].to_vec())
        }
        other => panic!("not expected: {other:?}"),
    }
}

/// The checksum of bytes that hold their checksum: 0 when it is right.
fn sum(bytes: &[u8]) -> u16 {
    checksum::Sum16BitWords::new().add_slice(bytes).ones_complement().to_be()
}

//! What differs between the address families where packets come in pieces.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::rewrite::{rewrite_fragment_v4, rewrite_fragment_v6};
use mooring_nat::{Place, icmp_error};
use mooring_packet::{OwnedPacket, Packet};
use mooring_session::fragments::{Datagram, FragmentTable, Piece};
use mooring_session::{Direction, FlowKey, Session};
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::ipv4::{self, Ipv4};
use mooring_wire::ipv6::fragment::{self, Fragment};
use mooring_wire::ipv6::{self, Ipv6};
use mooring_wire::{Protocol, checksum};

use super::{Fragments, Part};
use crate::DropReason;
use crate::classify::{Flow, first_piece_v4, first_piece_v6};
use crate::family::Family;

/// An address family whose packets may come in pieces.
pub(crate) trait Fragmented: Family {
    /// The widest identification.
    const IDENTIFICATIONS: u32;

    /// The family's part of the memory.
    fn memory(fragments: &mut Fragments) -> &mut FragmentTable<Self, OwnedPacket>;

    /// Reads a frame that is a piece of a packet and came in by `ingress`.
    ///
    /// # Errors
    /// When it is none, or goes beyond its frame.
    fn read(frame: &[u8], ingress: u8) -> Result<Part<Self>, DropReason>;

    /// The flow of a packet, by its first piece.
    ///
    /// # Errors
    /// When not all of its headers are there, or it is an ICMP error.
    fn first_flow(packet: &Packet<'_>, part: &Part<Self>) -> Result<Flow<Self>, DropReason>;

    /// Hop 4 for a piece that is not the first one; see [`rewrite_fragment_v4`].
    fn rewrite_piece(frame: &mut [u8], session: &Session<Self>, direction: Direction);

    /// Writes another identification.
    fn identify(frame: &mut [u8], place: Place, identification: u32);

    /// See [`icmp_error::datagram_of_quote`].
    fn datagram_of_quote(quote: &[u8]) -> Option<Datagram<Self>>;

    /// See [`icmp_error::identify_quote_v4`].
    fn identify_quote(message: &mut [u8], identification: u32);
}

impl Fragmented for Ipv4Addr {
    const IDENTIFICATIONS: u32 = 0xffff;

    fn memory(fragments: &mut Fragments) -> &mut FragmentTable<Self, OwnedPacket> {
        &mut fragments.v4
    }

    fn read(frame: &[u8], ingress: u8) -> Result<Part<Self>, DropReason> {
        let ip = frame.get(HEADER_LEN..).and_then(|bytes| Ipv4::parse(bytes).ok());
        let ip = ip.ok_or(DropReason::Malformed)?;
        fits_a_packet(ip.header_len(), ip.fragment_offset().into(), ip.payload().len())?;
        Ok(Part {
            datagram: Datagram {
                source: ip.source(),
                destination: ip.destination(),
                identification: ip.identification().into(),
                protocol: ip.protocol(),
                ingress,
            },
            piece: Piece {
                start: ip.fragment_offset().into(),
                len: ip.payload().len() as u32,
                last: !ip.more_fragments(),
            },
            place: Place { l3: L3, l4: L3 + ip.header_len() as u16 },
            ttl: ip.ttl(),
            dont_fragment: ip.dont_fragment(),
            ip_len: ip.total_len().into(),
        })
    }

    fn first_flow(packet: &Packet<'_>, _part: &Part<Self>) -> Result<Flow<Self>, DropReason> {
        first_piece_v4(packet)
    }

    fn rewrite_piece(frame: &mut [u8], session: &Session<Self>, direction: Direction) {
        rewrite_fragment_v4(frame, L3, session, direction);
    }

    fn identify(frame: &mut [u8], place: Place, identification: u32) {
        let header = ipv4::Header::mut_at_front(&mut frame[usize::from(place.l3)..]);
        let header = header.expect("the piece was parsed: its IPv4 header is whole");
        let delta = header.set_identification(identification as u16);
        header.set_checksum(checksum::apply(header.checksum(), delta));
    }

    fn datagram_of_quote(quote: &[u8]) -> Option<Datagram<Self>> {
        icmp_error::datagram_of_quote(quote)
    }

    fn identify_quote(message: &mut [u8], identification: u32) {
        icmp_error::identify_quote_v4(message, identification);
    }
}

impl Fragmented for Ipv6Addr {
    const IDENTIFICATIONS: u32 = u32::MAX;

    fn memory(fragments: &mut Fragments) -> &mut FragmentTable<Self, OwnedPacket> {
        &mut fragments.v6
    }

    fn read(frame: &[u8], ingress: u8) -> Result<Part<Self>, DropReason> {
        let ip = frame.get(HEADER_LEN..).and_then(|bytes| Ipv6::parse(bytes).ok());
        let ip = ip.ok_or(DropReason::Malformed)?;
        let (Protocol::FRAGMENT, at) = ip.upper_layer().map_err(|_| DropReason::Malformed)? else {
            return Err(DropReason::Malformed);
        };
        let bytes = &ip.payload()[at - ipv6::HEADER_LEN..];
        let header = Fragment::parse(bytes).map_err(|_| DropReason::Malformed)?;
        let len = bytes.len() - fragment::HEADER_LEN;
        fits_a_packet(at - ipv6::HEADER_LEN, header.offset().into(), len)?;
        Ok(Part {
            datagram: Datagram {
                source: ip.source(),
                destination: ip.destination(),
                identification: header.identification(),
                // RFC 8200 §4.5: the next header of the first piece alone counts, so it does not tell
                // packets apart.
                protocol: Protocol::FRAGMENT,
                ingress,
            },
            piece: Piece { start: header.offset().into(), len: len as u32, last: !header.more() },
            place: Place { l3: L3, l4: L3 + at as u16 },
            ttl: ip.hop_limit(),
            dont_fragment: true,
            ip_len: ipv6::HEADER_LEN as u32 + u32::from(ip.payload_len()),
        })
    }

    fn first_flow(packet: &Packet<'_>, part: &Part<Self>) -> Result<Flow<Self>, DropReason> {
        first_piece_v6(packet, usize::from(part.place.l4 - part.place.l3))
    }

    fn rewrite_piece(frame: &mut [u8], session: &Session<Self>, direction: Direction) {
        rewrite_fragment_v6(frame, L3, session, direction);
    }

    fn identify(frame: &mut [u8], place: Place, identification: u32) {
        Fragment::mut_at_front(&mut frame[usize::from(place.l4)..])
            .expect("the piece was parsed: its fragment header is whole")
            .set_identification(identification);
    }

    fn datagram_of_quote(quote: &[u8]) -> Option<Datagram<Self>> {
        icmp_error::datagram_of_quote_v6(quote)
    }

    fn identify_quote(message: &mut [u8], identification: u32) {
        icmp_error::identify_quote_v6(message, identification);
    }
}

impl<A: Family> Part<A> {
    /// The key of its flow as far as a piece without an L4 header knows it.
    pub(crate) fn key_without_ports(&self) -> FlowKey<A> {
        FlowKey {
            source: self.datagram.source,
            destination: self.datagram.destination,
            source_port: 0,
            destination_port: 0,
            vrf: 0,
            protocol: self.datagram.protocol,
            tag: 0,
        }
    }
}

/// RFC 791 §3.2, RFC 8200 §4.5: no packet is longer than its length field can tell, which in IPv4 counts
/// the header too, in IPv6 the extension headers in front of the fragment header. A piece that ends
/// beyond that has crashed receivers (the "ping of death").
fn fits_a_packet(headers: usize, start: usize, len: usize) -> Result<(), DropReason> {
    match headers + start + len {
        ..=0xffff => Ok(()),
        _ => Err(DropReason::Malformed),
    }
}

/// Where the IP header lies in a frame.
const L3: u16 = HEADER_LEN as u16;

//! What differs between the address families. The walk is written once, over [`Family`].

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use mooring_nat::icmp_error::{
    QuoteRefusal, Quoted, forges_mtu, forges_mtu_v6, has_extensions, has_extensions_v6,
    key_of_quote, key_of_quote_v6, quote_in, quote_in_v6, rewrite_error_v4, rewrite_error_v6,
};
use mooring_nat::rewrite::{
    give_hop_back_v4, give_hop_back_v6, rewrite_plain_v4, rewrite_plain_v6, rewrite_v4, rewrite_v6,
};
use mooring_nat::{Nat, Place};
use mooring_session::{Address, Direction, Session};
use mooring_wire::checksum::{pseudo_v4, pseudo_v6};
use mooring_wire::ethernet::EtherType;
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::icmpv6::{self, Icmpv6};
use mooring_wire::quote::{QuotedIpv4, QuotedIpv6};
use mooring_wire::tcp::Tcp;
use mooring_wire::{Mac, Protocol, ipv4, ipv6};

use crate::classify::Flow;
use crate::originate::Complaint;
use crate::unsolicited::{Unsolicited, Waiting};
use crate::{DropReason, echo};

/// The state of translation of both families.
pub(crate) struct Nats {
    pub(crate) v4: Nat<Ipv4Addr>,
    pub(crate) v6: Nat<Ipv6Addr>,
}

/// An address family that packets are walked in.
pub(crate) trait Family: Address + Ord {
    /// The protocol of its control messages.
    const ICMP: Protocol;
    /// Their type that asks for an echo.
    const ECHO_REQUEST: u8;
    /// The family in an Ethernet header.
    const ETHER_TYPE: EtherType;
    /// Bytes of an IP header without options or extensions.
    const IP_HEADER_LEN: usize;
    /// Bytes in front of the quote of an error of ours: IP header and ICMP header.
    const ERROR_HEADERS: usize = Self::IP_HEADER_LEN + ICMP_HEADER_LEN;
    /// The most bytes of a packet that an error of ours quotes.
    const MAX_QUOTE: usize;

    /// The family's part.
    fn nat(nats: &Nats) -> &Nat<Self>;

    /// As [`Family::nat`].
    fn nat_mut(nats: &mut Nats) -> &mut Nat<Self>;

    /// The family's part of the SYN that wait for an answer.
    fn unsolicited(unsolicited: &mut Unsolicited) -> &mut Waiting<Self>;

    /// Hop 4 for a packet of a session; see [`rewrite_v4`].
    fn rewrite(
        frame: &mut [u8],
        place: Place,
        session: &Session<Self>,
        direction: Direction,
        partial: bool,
    );

    /// Hop 4 for a plain packet of a session; see [`rewrite_plain_v4`].
    fn rewrite_plain(frame: &mut [u8], session: &Session<Self>, direction: Direction);

    /// Hop 4 for an ICMP error about a packet of a session; see [`rewrite_error_v4`].
    fn rewrite_error(frame: &mut [u8], place: Place, session: &Session<Self>, direction: Direction);

    /// Undoes the hop that a second rewrite has taken; see [`give_hop_back_v4`].
    fn give_hop_back(frame: &mut [u8], place: Place);

    /// Whose packet an ICMP error quotes; see [`key_of_quote`].
    ///
    /// # Errors
    /// When the quote does not tell.
    fn key_of_quote(quote: &[u8]) -> Result<Quoted<Self>, QuoteRefusal>;

    /// Where the quote of an error, given whole, lies; see [`quote_in`].
    fn quote_in(message: &[u8]) -> Range<usize>;

    /// Bytes of the packet of which this is the front.
    fn ip_len(front: &[u8]) -> Option<usize>;

    /// Whether an error tells of an MTU that no link has; see [`forges_mtu`].
    fn forges_mtu(message: &[u8]) -> bool;

    /// Whether extensions follow the quote; see [`has_extensions`].
    fn has_extensions(message: &[u8]) -> bool;

    /// Whether the checksum of an ICMP message of this flow is right. Reads all of it.
    fn icmp_checksum_is_valid(message: &[u8], flow: &Flow<Self>) -> bool;

    /// Turns an echo request into its reply.
    ///
    /// # Errors
    /// When the message's checksum is wrong.
    fn reply(frame: &mut [u8], place: Place, own: Mac) -> Result<(), DropReason>;

    /// Writes an ICMP error of ours from the one address to the other: IP header, message, quote. The
    /// buffer is as long as all that.
    fn write_error(buffer: &mut [u8], ends: [Self; 2], complaint: Complaint, quote: &[u8]);

    /// Writes a TCP segment of ours from the one address to the other: IP header, then `segment`, whose
    /// checksum is filled in.
    fn write_segment(buffer: &mut [u8], ends: [Self; 2], segment: &[u8]);

    /// An address that no packet on a link may have as its source or destination.
    fn is_martian(self) -> bool;

    /// An address that means nothing beyond its link.
    fn stays_on_link(self) -> bool;
}

impl Family for Ipv4Addr {
    const ICMP: Protocol = Protocol::ICMP;
    const ECHO_REQUEST: u8 = icmpv4::ECHO_REQUEST;
    const ETHER_TYPE: EtherType = EtherType::IPV4;
    const IP_HEADER_LEN: usize = ipv4::HEADER_LEN;
    /// RFC 1812 §4.3.2.3: as much of the packet as fits 576 bytes.
    const MAX_QUOTE: usize = 576 - Self::ERROR_HEADERS;

    #[inline]
    fn nat(nats: &Nats) -> &Nat<Self> {
        &nats.v4
    }

    #[inline]
    fn nat_mut(nats: &mut Nats) -> &mut Nat<Self> {
        &mut nats.v4
    }

    fn unsolicited(unsolicited: &mut Unsolicited) -> &mut Waiting<Self> {
        &mut unsolicited.v4
    }

    #[inline(always)]
    fn rewrite(
        frame: &mut [u8],
        place: Place,
        session: &Session<Self>,
        direction: Direction,
        partial: bool,
    ) {
        rewrite_v4(frame, place, session, direction, partial);
    }

    #[inline(always)]
    fn rewrite_plain(frame: &mut [u8], session: &Session<Self>, direction: Direction) {
        rewrite_plain_v4(frame, session, direction);
    }

    fn rewrite_error(
        frame: &mut [u8],
        place: Place,
        session: &Session<Self>,
        direction: Direction,
    ) {
        rewrite_error_v4(frame, place, session, direction);
    }

    fn give_hop_back(frame: &mut [u8], place: Place) {
        give_hop_back_v4(frame, place.l3);
    }

    fn key_of_quote(quote: &[u8]) -> Result<Quoted<Self>, QuoteRefusal> {
        key_of_quote(quote)
    }

    fn quote_in(message: &[u8]) -> Range<usize> {
        quote_in(message)
    }

    fn ip_len(front: &[u8]) -> Option<usize> {
        QuotedIpv4::parse(front).ok().map(|packet| packet.total_len().into())
    }

    fn forges_mtu(message: &[u8]) -> bool {
        forges_mtu(message)
    }

    fn has_extensions(message: &[u8]) -> bool {
        has_extensions(message)
    }

    fn icmp_checksum_is_valid(message: &[u8], _flow: &Flow<Self>) -> bool {
        Icmpv4::parse(message).is_ok_and(|icmp| icmp.checksum_is_valid())
    }

    fn reply(frame: &mut [u8], place: Place, own: Mac) -> Result<(), DropReason> {
        echo::reply_v4(frame, place, own)
    }

    fn write_error(
        buffer: &mut [u8],
        [source, destination]: [Self; 2],
        complaint: Complaint,
        quote: &[u8],
    ) {
        let (kind, code, mtu) = match complaint {
            Complaint::TimeExceeded => (icmpv4::TIME_EXCEEDED, icmpv4::TTL_EXCEEDED, 0),
            Complaint::TooBig(mtu) => (icmpv4::DEST_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, mtu),
            Complaint::HostUnreachable => (icmpv4::DEST_UNREACHABLE, icmpv4::HOST_UNREACHABLE, 0),
            Complaint::PortUnreachable => (icmpv4::DEST_UNREACHABLE, PORT_UNREACHABLE_V4, 0),
        };
        let header = ipv4::Emit {
            source,
            destination,
            protocol: Protocol::ICMP,
            ttl: echo::OUR_TTL,
            // RFC 1812 §4.3.2.5: errors travel with precedence 6.
            tos: 0xc0,
            identification: 0,
            dont_fragment: true,
            payload_len: (ICMP_HEADER_LEN + quote.len()) as u16,
        };
        header.emit(buffer);
        let message = &mut buffer[ipv4::HEADER_LEN..];
        let [high, low] = mtu.to_be_bytes();
        message[..ICMP_HEADER_LEN].copy_from_slice(&[kind, code, 0, 0, 0, 0, high, low]);
        message[ICMP_HEADER_LEN..].copy_from_slice(quote);
        Icmpv4::parse(message).expect("the buffer holds a whole message").fill_checksum();
    }

    fn write_segment(buffer: &mut [u8], [source, destination]: [Self; 2], segment: &[u8]) {
        let header = ipv4::Emit {
            source,
            destination,
            protocol: Protocol::TCP,
            ttl: echo::OUR_TTL,
            tos: 0,
            identification: 0,
            dont_fragment: true,
            payload_len: segment.len() as u16,
        };
        header.emit(buffer);
        let l4 = &mut buffer[ipv4::HEADER_LEN..];
        l4.copy_from_slice(segment);
        let pseudo = pseudo_v4(source, destination, Protocol::TCP, segment.len() as u16);
        Tcp::parse(l4).expect("the buffer holds a whole segment").fill_checksum(pseudo);
    }

    /// RFC 1812 §5.3.7.
    fn is_martian(self) -> bool {
        self.is_unspecified() || self.is_loopback() || self.is_multicast() || self.is_broadcast()
    }

    /// RFC 3927 §2.7 would say so of 169.254.0.0/16; but in a Pod next hops and services have such
    /// addresses, and a rule may name them.
    fn stays_on_link(self) -> bool {
        false
    }
}

impl Family for Ipv6Addr {
    const ICMP: Protocol = Protocol::ICMPV6;
    const ECHO_REQUEST: u8 = icmpv6::ECHO_REQUEST;
    const ETHER_TYPE: EtherType = EtherType::IPV6;
    const IP_HEADER_LEN: usize = ipv6::HEADER_LEN;
    /// RFC 4443 §2.4 (c): as much of the packet as fits the smallest MTU there is.
    const MAX_QUOTE: usize = 1280 - Self::ERROR_HEADERS;

    #[inline]
    fn nat(nats: &Nats) -> &Nat<Self> {
        &nats.v6
    }

    #[inline]
    fn nat_mut(nats: &mut Nats) -> &mut Nat<Self> {
        &mut nats.v6
    }

    fn unsolicited(unsolicited: &mut Unsolicited) -> &mut Waiting<Self> {
        &mut unsolicited.v6
    }

    #[inline(always)]
    fn rewrite(
        frame: &mut [u8],
        place: Place,
        session: &Session<Self>,
        direction: Direction,
        partial: bool,
    ) {
        rewrite_v6(frame, place, session, direction, partial);
    }

    #[inline(always)]
    fn rewrite_plain(frame: &mut [u8], session: &Session<Self>, direction: Direction) {
        rewrite_plain_v6(frame, session, direction);
    }

    fn rewrite_error(
        frame: &mut [u8],
        place: Place,
        session: &Session<Self>,
        direction: Direction,
    ) {
        rewrite_error_v6(frame, place, session, direction);
    }

    fn give_hop_back(frame: &mut [u8], place: Place) {
        give_hop_back_v6(frame, place.l3);
    }

    fn key_of_quote(quote: &[u8]) -> Result<Quoted<Self>, QuoteRefusal> {
        key_of_quote_v6(quote)
    }

    fn quote_in(message: &[u8]) -> Range<usize> {
        quote_in_v6(message)
    }

    fn ip_len(front: &[u8]) -> Option<usize> {
        let payload = QuotedIpv6::parse(front).ok()?.payload_len();
        Some(ipv6::HEADER_LEN + usize::from(payload))
    }

    fn forges_mtu(message: &[u8]) -> bool {
        forges_mtu_v6(message)
    }

    fn has_extensions(message: &[u8]) -> bool {
        has_extensions_v6(message)
    }

    fn icmp_checksum_is_valid(message: &[u8], flow: &Flow<Self>) -> bool {
        let (source, destination) = (flow.key.source, flow.key.destination);
        Icmpv6::parse(message).is_ok_and(|icmp| icmp.checksum_is_valid(source, destination))
    }

    fn reply(frame: &mut [u8], place: Place, own: Mac) -> Result<(), DropReason> {
        echo::reply_v6(frame, place, own)
    }

    fn write_error(
        buffer: &mut [u8],
        [source, destination]: [Self; 2],
        complaint: Complaint,
        quote: &[u8],
    ) {
        let (kind, code, rest) = match complaint {
            Complaint::TimeExceeded => (icmpv6::TIME_EXCEEDED, icmpv6::HOP_LIMIT_EXCEEDED, 0),
            Complaint::TooBig(mtu) => (icmpv6::PACKET_TOO_BIG, 0, mtu.into()),
            Complaint::PortUnreachable => (icmpv6::DEST_UNREACHABLE, PORT_UNREACHABLE_V6, 0),
            Complaint::HostUnreachable => {
                (icmpv6::DEST_UNREACHABLE, icmpv6::ADDRESS_UNREACHABLE, 0)
            }
        };
        let header = ipv6::Emit {
            source,
            destination,
            next_header: Protocol::ICMPV6,
            hop_limit: echo::OUR_TTL,
            traffic_class: 0,
            flow_label: 0,
            payload_len: (ICMP_HEADER_LEN + quote.len()) as u16,
        };
        header.emit(buffer);
        let message = &mut buffer[ipv6::HEADER_LEN..];
        message[ICMP_HEADER_LEN..].copy_from_slice(quote);
        icmpv6::Emit { source, destination, kind, code, rest }.emit(message);
    }

    fn write_segment(buffer: &mut [u8], [source, destination]: [Self; 2], segment: &[u8]) {
        let header = ipv6::Emit {
            source,
            destination,
            next_header: Protocol::TCP,
            hop_limit: echo::OUR_TTL,
            traffic_class: 0,
            flow_label: 0,
            payload_len: segment.len() as u16,
        };
        header.emit(buffer);
        let l4 = &mut buffer[ipv6::HEADER_LEN..];
        l4.copy_from_slice(segment);
        let pseudo = pseudo_v6(source, destination, Protocol::TCP, segment.len() as u32);
        Tcp::parse(l4).expect("the buffer holds a whole segment").fill_checksum(pseudo);
    }

    /// RFC 4291 §2.5.2, §2.5.3, §2.7; RFC 4038 §4.2 for mapped IPv4 addresses.
    fn is_martian(self) -> bool {
        self.is_unspecified()
            || self.is_loopback()
            || self.is_multicast()
            || self.to_ipv4_mapped().is_some()
    }

    /// RFC 4291 §2.5.6: "Routers must not forward any packets with Link-Local source or destination
    /// addresses to other links."
    fn stays_on_link(self) -> bool {
        self.is_unicast_link_local()
    }
}

impl Nats {
    /// Live sessions of both families.
    pub(crate) fn sessions(&self) -> usize {
        self.v4.sessions.len() + self.v6.sessions.len()
    }
}

/// RFC 792.
const PORT_UNREACHABLE_V4: u8 = 3;
/// RFC 4443 §3.1.
const PORT_UNREACHABLE_V6: u8 = 4;

/// Bytes in front of the quote of an ICMP error, in both families.
pub(crate) const ICMP_HEADER_LEN: usize = icmpv4::HEADER_LEN;

const _: () = assert!(icmpv4::HEADER_LEN == icmpv6::HEADER_LEN);

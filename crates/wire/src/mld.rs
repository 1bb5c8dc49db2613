//! Multicast listener discovery: the queries that we hear (RFC 2710, RFC 3810 §5.1) and the reports
//! that we send (RFC 3810 §5.2).
//!
//! We listen to every source of a group, so a record never names sources.

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, Unaligned};

use crate::error::{Field, Layer, ParseError};
use crate::icmpv6::{Icmpv6, MLD_QUERY, MLDV2_REPORT};
use crate::ipv6::{self, Ipv6};
use crate::protocol::Protocol;
use crate::view;

/// "Which groups are listened to?", of either version.
#[derive(Debug)]
pub struct Query<B: SplitByteSlice> {
    message: Ref<B, QueryMessage>,
    is_v1: bool,
}

impl<B: SplitByteSlice> Query<B> {
    /// The view of `bytes`, a whole ICMPv6 message.
    ///
    /// # Errors
    /// `Truncated` below 24 bytes, or between the lengths of the versions, which RFC 3810 §8.1 says
    /// to ignore; `BadValue` for another type.
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let had = bytes.len();
        let (message, _sources) = view::split_header::<B, QueryMessage>(bytes, Layer::Mld)?;
        if message.kind != MLD_QUERY {
            let (layer, field, value) = (Layer::Mld, Field::Kind, message.kind.into());
            return Err(ParseError::BadValue { layer, field, value });
        }
        let is_v1 = had == size_of::<QueryMessage>();
        if !is_v1 && had < V2_QUERY_LEN {
            return Err(ParseError::Truncated { layer: Layer::Mld, needed: V2_QUERY_LEN, had });
        }
        Ok(Self { message, is_v1 })
    }

    /// The group that is asked for; `None` asks for all of them.
    pub fn group(&self) -> Option<Ipv6Addr> {
        let group = Ipv6Addr::from(self.message.group);
        (!group.is_unspecified()).then_some(group)
    }

    /// Milliseconds within which an answer is wanted.
    pub fn max_response_millis(&self) -> u32 {
        let code = self.message.max_response.get();
        // RFC 3810 §5.1.3: from 0x8000 on a floating-point number; version 1 has plain ones.
        if self.is_v1 || code & 0x8000 == 0 {
            return code.into();
        }
        let (exponent, mantissa) = (code >> 12 & 0x7, code & 0x0fff);
        u32::from(mantissa | 0x1000) << (exponent + 3)
    }
}

/// The ICMPv6 message of a packet that may carry a query (RFC 3810 §5.1.14, §6.2): from a link-local
/// address, over one hop, with a Router Alert. Whether it is one, [`Query::parse`] says; its checksum
/// is checked by [`Icmpv6::checksum_is_valid`].
pub fn query_message<'p>(packet: &'p Ipv6<&[u8]>) -> Option<&'p [u8]> {
    let from_router = packet.source().is_unicast_link_local() && packet.hop_limit() == HOP_LIMIT;
    if !from_router || packet.next_header() != Protocol::HOP_BY_HOP {
        return None;
    }
    let [next_header, len, ..] = *packet.payload() else { return None };
    let (options, message) = packet.payload().split_at_checked((usize::from(len) + 1) * 8)?;
    (next_header == Protocol::ICMPV6.0 && has_router_alert(&options[2..])).then_some(message)
}

/// Whether these hop-by-hop options hold a Router Alert (RFC 2711 §2.1).
fn has_router_alert(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        if kind == OPTION_PAD1 {
            options = rest;
            continue;
        }
        let Some(&len) = rest.first() else { return false };
        if kind == OPTION_ROUTER_ALERT && len == 2 {
            return true;
        }
        let Some(next) = rest.get(1 + usize::from(len)..) else { return false };
        options = next;
    }
    false
}

/// What a record says about its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// An answer: we listen.
    IsExclude = 2,
    /// We do not listen any more: "include nobody".
    ToInclude = 3,
    /// We listen from now on: "exclude nobody".
    ToExclude = 4,
}

/// One group in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is said.
    pub kind: RecordKind,
    /// The group that it is said of.
    pub group: Ipv6Addr,
}

/// Writes the IPv6 packet of a report from `source` (a link-local address of ours) at the front of
/// `buf`, Router Alert and checksum included. It is [`report_len`] bytes long.
///
/// # Panics
/// If `buf` is shorter than that, or there are more than [`MAX_RECORDS`] records.
pub fn emit_report(buf: &mut [u8], source: Ipv6Addr, records: &[Record]) {
    assert!(records.len() <= MAX_RECORDS, "a report fits the smallest MTU of IPv6");
    let packet = &mut buf[..report_len(records.len())];
    let header = ipv6::Emit {
        source,
        destination: ALL_REPORT_ROUTERS,
        next_header: Protocol::HOP_BY_HOP,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: (packet.len() - ipv6::HEADER_LEN) as u16,
    };
    header.emit(packet);
    let (options, message) = packet[ipv6::HEADER_LEN..].split_at_mut(ROUTER_ALERT.len());
    options.copy_from_slice(&ROUTER_ALERT);
    let report = ReportHeader {
        kind: MLDV2_REPORT,
        reserved: 0,
        checksum: U16::ZERO,
        flags: U16::ZERO,
        records: U16::new(records.len() as u16),
    };
    view::write_header(message, &report);
    let places = message[size_of::<ReportHeader>()..].chunks_exact_mut(size_of::<RecordBytes>());
    for (place, record) in places.zip(records) {
        view::write_header(place, &RecordBytes::new(*record));
    }
    Icmpv6::parse(message)
        .expect("the message was just written")
        .fill_checksum(source, ALL_REPORT_ROUTERS);
}

/// Bytes of the IPv6 packet of a report with this many records.
#[must_use]
pub const fn report_len(records: usize) -> usize {
    let message = size_of::<ReportHeader>() + records * size_of::<RecordBytes>();
    ipv6::HEADER_LEN + ROUTER_ALERT.len() + message
}

/// Where reports go: all MLDv2-capable routers (RFC 3810 §5.2.14).
pub const ALL_REPORT_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The most records of one report: what fits 1,280 bytes.
pub const MAX_RECORDS: usize = (1280 - report_len(0)) / size_of::<RecordBytes>();

/// RFC 3810 §5: "sent with a link-local IPv6 Source Address, an IPv6 Hop Limit of 1, and an IPv6
/// Router Alert option".
const HOP_LIMIT: u8 = 1;

const OPTION_PAD1: u8 = 0;
const OPTION_ROUTER_ALERT: u8 = 5;

/// A hop-by-hop header in front of ICMPv6: Router Alert "contains MLD", two bytes of padding.
const ROUTER_ALERT: [u8; 8] = [Protocol::ICMPV6.0, 0, OPTION_ROUTER_ALERT, 2, 0, 0, 1, 0];

/// Version 2 goes on after the group: flags, interval, number of sources.
const V2_QUERY_LEN: usize = size_of::<QueryMessage>() + 4;

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct QueryMessage {
    kind: u8,
    code: u8,
    checksum: U16,
    max_response: U16,
    reserved: U16,
    group: [u8; 16],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReportHeader {
    kind: u8,
    reserved: u8,
    checksum: U16,
    flags: U16,
    records: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordBytes {
    kind: u8,
    auxiliary_len: u8,
    sources: U16,
    group: [u8; 16],
}

impl RecordBytes {
    fn new(record: Record) -> Self {
        let group = record.group.octets();
        Self { kind: record.kind as u8, auxiliary_len: 0, sources: U16::ZERO, group }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::{
        MAX_RECORDS, Query, Record, RecordKind, emit_report, has_router_alert, query_message,
        report_len,
    };
    use crate::error::{Field, Layer, ParseError};
    use crate::ipv6::Ipv6;

    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x10);
    const OURS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 2);

    /// A query with this response code, and as many bytes in all.
    fn query(code: u16, len: usize) -> Vec<u8> {
        let [high, low] = code.to_be_bytes();
        let mut bytes = vec![130, 0, 0, 0, high, low, 0, 0];
        bytes.extend([0; 16]);
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn a_report_byte_by_byte() {
        let records = [
            Record { kind: RecordKind::ToExclude, group: GROUP },
            Record { kind: RecordKind::ToInclude, group: "ff02::2".parse().unwrap() },
        ];
        let mut packet = [0xee; report_len(2)];
        emit_report(&mut packet, OURS, &records);
        #[rustfmt::skip]
        let expected = [
            0x60, 0, 0, 0, 0, 0x38, 0, 1,
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 2,
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16,
            58, 0, 5, 2, 0, 0, 1, 0,
            143, 0, 0x6f, 0xdd, 0, 0, 0, 2,
            4, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10,
            3, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        ];
        assert_eq!(packet, expected);
    }

    #[test]
    fn the_longest_report_fits_the_smallest_mtu() {
        assert!((1261..=1280).contains(&report_len(MAX_RECORDS)));
        let records = [Record { kind: RecordKind::IsExclude, group: GROUP }; MAX_RECORDS];
        let mut packet = [0; 1280];
        emit_report(&mut packet, OURS, &records);
        assert_eq!(Ipv6::parse(&packet[..]).unwrap().payload().len(), report_len(MAX_RECORDS) - 40);
    }

    /// RFC 3810 §5.1.3; RFC 2710 §3.4 for the shorter one.
    #[test]
    fn a_query_tells_how_soon() {
        for (code, len, millis) in [
            (10_000, 24, 10_000),
            (0xffff, 24, 65_535),
            (10_000, 28, 10_000),
            (0x7fff, 28, 32_767),
            (0x8000, 28, 32_768),
            (0xffff, 28, 8_387_584),
        ] {
            let bytes = query(code, len);
            let query = Query::parse(&bytes[..]).unwrap();
            assert_eq!((query.max_response_millis(), query.group()), (millis, None), "{code:#x}");
        }
        let mut bytes = query(0, 28);
        bytes[8..24].copy_from_slice(&GROUP.octets());
        assert_eq!(Query::parse(&bytes[..]).unwrap().group(), Some(GROUP));
    }

    #[test]
    fn other_messages_and_lengths_are_no_query() {
        for (len, needed) in [(23, 24), (25, 28), (27, 28)] {
            let (layer, had) = (Layer::Mld, len);
            let error = Query::parse(&query(0, len)[..]).unwrap_err();
            assert_eq!(error, ParseError::Truncated { layer, needed, had });
        }
        let mut bytes = query(0, 28);
        bytes[0] = 131;
        let (layer, field, value) = (Layer::Mld, Field::Kind, 131);
        assert_eq!(
            Query::parse(&bytes[..]).unwrap_err(),
            ParseError::BadValue { layer, field, value }
        );
    }

    #[test]
    fn a_query_comes_from_the_link_with_a_router_alert() {
        let mut packet = [0; report_len(1)];
        emit_report(&mut packet, OURS, &[Record { kind: RecordKind::IsExclude, group: GROUP }]);
        let message =
            |packet: &[u8]| query_message(&Ipv6::parse(packet).unwrap()).map(<[u8]>::to_vec);
        assert_eq!(message(&packet).as_deref(), Some(&packet[48..]));
        for (at, value) in [(6, 58), (7, 2), (8, 0x20), (42, 1), (43, 1), (41, 9), (40, 6)] {
            let mut wrong = packet;
            wrong[at] = value;
            assert_eq!(message(&wrong), None, "byte {at}");
        }
        assert!(has_router_alert(&[1, 0, 5, 2, 0, 0]), "behind padding");
        assert!(has_router_alert(&[0, 0, 5, 2, 0, 0]), "behind single bytes of padding");
        assert!(!has_router_alert(&[5]) && !has_router_alert(&[]), "cut off");
        assert!(!has_router_alert(&[1, 4, 0, 0, 0, 5]), "an option that ends where they end");
        assert!(!has_router_alert(&[1, 5, 0, 0, 0, 5, 5, 2]), "an option beyond the end");
    }
}

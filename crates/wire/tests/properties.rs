//! Properties of checksum arithmetic and of views, on arbitrary packets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_wire::checksum::{
    Delta, add, apply, apply_and_hop, apply_icmpv4, apply_partial, apply_udp, checksum, pseudo_v4,
    pseudo_v6, rfc1071, sum, sum_header_v4,
};
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::ipv4::{self, Ipv4};
use mooring_wire::tcp::Tcp;
use mooring_wire::udp::{self, Udp};
use mooring_wire::{Protocol, ipv6};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest,
};
use proptest::prop_oneof;

/// One end before translation and after it.
#[derive(Clone, Copy, Debug)]
struct Edit {
    old: (Ipv4Addr, u16),
    new: (Ipv4Addr, u16),
}

impl Edit {
    fn inverse(self) -> Self {
        Self { old: self.new, new: self.old }
    }

    fn addresses(self) -> Delta {
        Delta::between(&self.old.0.octets(), &self.new.0.octets())
    }

    fn ports(self) -> Delta {
        Delta::of(self.old.1, self.new.1)
    }

    fn both(self) -> Delta {
        self.addresses().plus(self.ports())
    }
}

const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Words where one's complement arithmetic has its corners, beside arbitrary ones.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![3 => any::<u16>(), 1 => Just(0), 1 => Just(0xffff), 1 => Just(1), 1 => Just(0xfffe)]
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    (word(), word()).prop_map(|(high, low)| (u32::from(high) << 16 | u32::from(low)).into())
}

fn edit() -> impl Strategy<Value = Edit> {
    ((address(), word()), (address(), word())).prop_map(|(old, new)| Edit { old, new })
}

/// Payloads around the widths that the fast sum works in, many of them all zero or all ones.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..200),
        1 => vec(Just(0), 0..40),
        1 => vec(Just(0xff), 0..40),
        1 => vec(any::<u8>(), 1400..1600),
    ]
}

fn pseudo(end: Ipv4Addr, protocol: Protocol, segment: &[u8]) -> u16 {
    pseudo_v4(end, REMOTE, protocol, segment.len() as u16)
}

/// A TCP segment from `source_port` with a right checksum.
fn tcp_segment(source: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes[3] = 80;
    bytes[12] = 0x50;
    bytes.extend(payload);
    let pseudo = pseudo(source.0, Protocol::TCP, &bytes);
    let mut segment = Tcp::parse(&mut bytes[..]).unwrap();
    segment.set_source_port(source.1);
    segment.fill_checksum(pseudo);
    bytes
}

/// A UDP datagram from `source` with a right checksum.
fn udp_datagram(source: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; 8], payload].concat();
    let pseudo = pseudo(source.0, Protocol::UDP, &bytes);
    udp::emit(&mut bytes, source.1, 53, pseudo);
    bytes
}

/// An echo message with a right checksum.
fn echo(kind: u8, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; 8], payload].concat();
    icmpv4::Emit { kind, code: 0, identifier, sequence }.emit(&mut bytes);
    bytes
}

fn edit_tcp(bytes: &mut [u8], edit: Edit) {
    let mut segment = Tcp::parse(bytes).unwrap();
    segment.set_source_port(edit.new.1);
    segment.set_checksum(apply(segment.checksum(), edit.both()));
}

fn edit_udp(bytes: &mut [u8], edit: Edit) {
    let mut datagram = Udp::parse(bytes).unwrap();
    datagram.set_source_port(edit.new.1);
    datagram.set_checksum(apply_udp(datagram.checksum(), edit.both()));
}

fn edit_echo(bytes: &mut [u8], edit: Edit) {
    let mut message = Icmpv4::parse(bytes).unwrap();
    message.set_identifier(edit.new.1);
    message.set_checksum(apply_icmpv4(message.checksum(), edit.ports()));
}

fn edit_ipv4(bytes: &mut [u8], edit: Edit) {
    let mut packet = Ipv4::parse(bytes).unwrap();
    packet.set_source(edit.new.0);
    packet.set_checksum(apply(packet.checksum(), edit.addresses()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_sum_of_a_header_is_that_of_its_bytes(words in [word(), word(), word(), word(), word(), word(), word(), word(), word(), word()]) {
        let mut header = [0; ipv4::HEADER_LEN];
        for (bytes, word) in header.chunks_mut(2).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        prop_assert_eq!(sum_header_v4(&header), rfc1071(&header));
    }

    /// But for 0xffff, which no header has that was summed up anew: there is always something in it.
    #[test]
    fn an_edit_and_a_hop_are_applied_as_one_by_one(checksum in word(), delta in word(), ttl in 1..=255u8, protocol in any::<u8>()) {
        let delta = Delta::from_bits(delta);
        let hop = Delta::of(u16::from_be_bytes([ttl, protocol]), u16::from_be_bytes([ttl - 1, protocol]));
        let both = apply_and_hop(checksum, delta);
        prop_assert!(both != 0xffff);
        let one_by_one = apply(apply(checksum, delta), hop);
        prop_assert_eq!(both, if one_by_one == 0xffff { 0 } else { one_by_one });
    }

    #[test]
    fn fast_sum_is_the_oracle(bytes in payload(), skip in 0..9usize) {
        let bytes = bytes.get(skip..).unwrap_or(&[]);
        prop_assert_eq!(sum(bytes), rfc1071(bytes));
        prop_assert_eq!(checksum(bytes), !rfc1071(bytes));
    }

    #[test]
    fn sums_of_parts_add_up(bytes in payload(), at in any::<proptest::sample::Index>()) {
        let (front, back) = bytes.split_at(at.index(bytes.len() + 1) & !1);
        prop_assert_eq!(add(sum(front), sum(back)), sum(&bytes));
    }

    #[test]
    fn pseudo_headers_are_the_oracle(
        (a4, b4) in (address(), address()),
        (a6, b6) in any::<([u8; 16], [u8; 16])>(),
        protocol in any::<u8>(),
        len in any::<u32>(),
    ) {
        let short = len as u16;
        let bytes = [&a4.octets()[..], &b4.octets(), &[0, protocol], &short.to_be_bytes()].concat();
        prop_assert_eq!(pseudo_v4(a4, b4, Protocol(protocol), short), rfc1071(&bytes));
        let bytes = [&a6[..], &b6, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
        let (a6, b6) = (Ipv6Addr::from(a6), Ipv6Addr::from(b6));
        prop_assert_eq!(pseudo_v6(a6, b6, Protocol(protocol), len), rfc1071(&bytes));
    }

    #[test]
    fn deltas_are_a_group(a in word(), b in word(), c in word()) {
        let (a, b, c) = (Delta::from_bits(a), Delta::from_bits(b), Delta::from_bits(c));
        prop_assert_eq!(a.plus(b), b.plus(a));
        prop_assert_eq!(a.plus(b).plus(c), a.plus(b.plus(c)));
        prop_assert_eq!(a.plus(Delta::ZERO), a);
        prop_assert_eq!(a.plus(a.inverse()), Delta::ZERO);
        prop_assert_eq!(Delta::from_bits(a.bits()), a);
    }

    #[test]
    fn between_is_the_sum_of_its_words(old in any::<[u8; 16]>(), new in any::<[u8; 16]>()) {
        let words = old.chunks(2).zip(new.chunks(2)).fold(Delta::ZERO, |total, (old, new)| {
            let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
            total.plus(Delta::of(word(old), word(new)))
        });
        prop_assert_eq!(Delta::between(&old, &new), words);
        prop_assert_eq!(Delta::between(&new, &old), words.inverse());
    }

    #[test]
    fn ipv4_delta_is_a_recompute(edit in edit(), ttl in 1..=u8::MAX, rest in any::<(u8, u16, u8)>()) {
        let (tos, identification, protocol) = rest;
        let mut bytes = [0; ipv4::HEADER_LEN];
        ipv4::Emit {
            source: edit.old.0,
            destination: REMOTE,
            protocol: Protocol(protocol),
            ttl,
            tos,
            identification,
            dont_fragment: false,
            payload_len: 0,
        }
        .emit(&mut bytes);
        let original = bytes;
        edit_ipv4(&mut bytes, edit);
        let mut packet = Ipv4::parse(&mut bytes[..]).unwrap();
        let hop = |ttl| u16::from_be_bytes([ttl, protocol]);
        packet.set_ttl(ttl - 1);
        packet.set_checksum(apply(packet.checksum(), Delta::of(hop(ttl), hop(ttl - 1))));
        let adjusted = packet.checksum();
        packet.fill_checksum();
        prop_assert_eq!(adjusted, packet.checksum());

        let mut bytes = original;
        edit_ipv4(&mut bytes, edit);
        edit_ipv4(&mut bytes, edit.inverse());
        prop_assert_eq!(bytes, original);
    }

    #[test]
    fn tcp_delta_is_a_recompute(edit in edit(), payload in payload()) {
        let original = tcp_segment(edit.old, &payload);
        let mut bytes = original.clone();
        edit_tcp(&mut bytes, edit);
        prop_assert_eq!(&bytes, &tcp_segment(edit.new, &payload));
        edit_tcp(&mut bytes, edit.inverse());
        prop_assert_eq!(bytes, original);
    }

    #[test]
    fn udp_delta_is_a_recompute(edit in edit(), payload in payload()) {
        let original = udp_datagram(edit.old, &payload);
        let mut bytes = original.clone();
        edit_udp(&mut bytes, edit);
        prop_assert_eq!(&bytes, &udp_datagram(edit.new, &payload));
        edit_udp(&mut bytes, edit.inverse());
        prop_assert_eq!(bytes, original);
    }

    /// An ICMPv4 checksum has two forms of zero; both verify, only one is recomputed.
    #[test]
    fn icmp_delta_verifies(edit in edit(), kind in prop_oneof![Just(0u8), Just(8)],
                           sequence in word(), payload in payload()) {
        let mut original = echo(kind, edit.old.1, sequence, &payload);
        let mut message = Icmpv4::parse(&mut original[..]).unwrap();
        message.set_checksum(apply_icmpv4(message.checksum(), Delta::ZERO));
        prop_assert!(message.checksum_is_valid());

        let mut bytes = original.clone();
        edit_echo(&mut bytes, edit);
        prop_assert!(Icmpv4::parse(&bytes[..]).unwrap().checksum_is_valid());
        let recomputed = echo(kind, edit.new.1, sequence, &payload);
        let field = |bytes: &[u8]| match Icmpv4::parse(bytes).unwrap().checksum() {
            0 => 0xffff,
            checksum => checksum,
        };
        prop_assert_eq!(field(&bytes), field(&recomputed));
        edit_echo(&mut bytes, edit.inverse());
        prop_assert_eq!(bytes, original);
    }

    /// Completed after the edit, a partial checksum is that of the edited packet.
    #[test]
    fn partial_delta_is_a_recompute(edit in edit(), payload in payload()) {
        let whole = tcp_segment(edit.new, &payload);
        let mut bytes = tcp_segment(edit.old, &payload);
        let old_pseudo = pseudo(edit.old.0, Protocol::TCP, &bytes);
        let mut segment = Tcp::parse(&mut bytes[..]).unwrap();
        segment.set_checksum(apply_partial(old_pseudo, edit.addresses()));
        segment.set_source_port(edit.new.1);
        let completed = checksum(&bytes);
        prop_assert_eq!(completed, Tcp::parse(&whole[..]).unwrap().checksum());
    }

    /// Layer-4 checksums are not verified: a wrong one stays wrong by the same amount.
    #[test]
    fn a_wrong_checksum_stays_wrong(edit in edit(), payload in payload(), error in 1..0xffffu16) {
        let mut bytes = tcp_segment(edit.old, &payload);
        let mut segment = Tcp::parse(&mut bytes[..]).unwrap();
        segment.set_checksum(add(segment.checksum(), error));
        edit_tcp(&mut bytes, edit);
        let wrong = Tcp::parse(&bytes[..]).unwrap();
        let right = tcp_segment(edit.new, &payload);
        let right = Tcp::parse(&right[..]).unwrap().checksum();
        prop_assert!(!wrong.checksum_is_valid(pseudo(edit.new.0, Protocol::TCP, &bytes)));
        prop_assert_eq!(Delta::of(right, wrong.checksum()), Delta::from_bits(error));
    }

    /// Taken back, an edit leaves no trace in the field, right or wrong. A TCP or IPv4 checksum
    /// is never 0xffff if right.
    #[test]
    fn inverse_restores_the_field(field in word(), bits in word()) {
        let delta = Delta::from_bits(bits);
        let there_and_back = |adjust: fn(u16, Delta) -> u16| {
            adjust(adjust(field, delta), delta.inverse())
        };
        prop_assert_eq!(there_and_back(apply_udp), field);
        if field != 0xffff {
            prop_assert_eq!(there_and_back(apply), field);
        }
        if field != 0 {
            prop_assert_eq!(there_and_back(apply_icmpv4), field);
            prop_assert_eq!(there_and_back(apply_partial), field);
        }
    }

    #[test]
    fn ipv6_header_round_trip(
        (source, destination) in any::<(u128, u128)>(),
        (next_header, hop_limit, traffic_class) in any::<(u8, u8, u8)>(),
        flow_label in 0..0x10_0000u32,
        payload in vec(any::<u8>(), 1..64),
    ) {
        let mut bytes = [&[0; ipv6::HEADER_LEN][..], &payload].concat();
        let emit = ipv6::Emit {
            source: source.into(),
            destination: destination.into(),
            next_header: Protocol(next_header),
            hop_limit,
            traffic_class,
            flow_label,
            payload_len: payload.len() as u16,
        };
        emit.emit(&mut bytes);
        let packet = ipv6::Ipv6::parse(&bytes[..]).unwrap();
        let read = ipv6::Emit {
            source: packet.source(),
            destination: packet.destination(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
            payload_len: packet.payload_len(),
        };
        prop_assert_eq!(read, emit);
        prop_assert_eq!(packet.payload(), payload);
    }
}

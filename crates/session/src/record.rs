//! What a session is: one cache line that every packet touches, and a cold record beside it.

use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;

use crate::wheel::Link;
use crate::{Address, Direction, FlowKey, MappingIndex, NextHopIndex, Stamp, State, Tick};

/// A session: three ends, the ready-made rewrite, where its packets leave, and what they have done.
///
/// A forward packet is keyed by (inside, remote) and leaves as (outside, remote); a reverse packet is
/// keyed by (remote, outside) and leaves as (remote, inside). For IPv4 all of it is one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Session<A> {
    /// Address of the inside host.
    pub inside: A,
    /// The other end: between the two that it is paired with in a key, so that those of either direction lie side
    /// by side.
    pub remote: A,
    /// What stands for the inside host outside.
    pub outside: A,
    /// Port or ICMP identifier of the inside host.
    pub inside_port: u16,
    /// Port of the other end; 0 for ICMP.
    pub remote_port: u16,
    /// Port or ICMP identifier that stands for the inside host outside.
    pub outside_port: u16,
    /// Routing domain; 65,535, which no packet has, once the session has ended.
    pub vrf: u16,
    /// SCTP verification tag; 0 for every other protocol.
    pub tag: u32,
    /// IP protocol number.
    pub protocol: Protocol,
    /// How far the session has come.
    pub state: State,
    /// What the change from inside to outside address adds to a sum over the IP header or the
    /// pseudo-header; the way back adds its inverse.
    pub address_delta: Delta,
    /// What the whole change adds to the sum that the L4 checksum covers.
    pub l4_delta: Delta,
    /// Where forward packets go.
    pub forward_hop: NextHopIndex,
    /// Where reverse packets go.
    pub reverse_hop: NextHopIndex,
    /// Interfaces that forward and reverse packets come in by.
    pub(crate) ingress: [u8; 2],
    /// Index of the rule that admitted the session, in the policy of `generation`.
    pub rule: u16,
    /// What is not as with most sessions: [`OUTBOUND_REFRESH`].
    pub flags: u16,
    /// Generation of that policy.
    pub generation: u32,
    /// When the last packet passed.
    pub last_seen: Stamp,
    /// Packets and bytes modulo 2^32, forward then reverse; the carry is in the cold record.
    pub(crate) packets: [u32; 2],
    pub(crate) bytes: [u32; 2],
}

/// What a session is made of beside the key of its first packet.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<A> {
    /// The address that stands for the inside host.
    pub outside: A,
    /// The port or ICMP identifier that stands for the inside host's.
    pub outside_port: u16,
    /// See [`Session::l4_delta`].
    pub l4_delta: Delta,
    /// Where forward packets go.
    pub forward_hop: NextHopIndex,
    /// Where reverse packets go.
    pub reverse_hop: NextHopIndex,
    /// Interfaces that forward and reverse packets come in by; the one's packets leave by the
    /// other's.
    pub ingress: [u8; 2],
    /// Index of the rule that admits the session.
    pub rule: u16,
    /// See [`Session::flags`].
    pub flags: u16,
    /// Generation of the policy that the rule stands in.
    pub generation: u32,
    /// Which way the first packet goes.
    pub began: Direction,
}

impl<A: Address> Session<A> {
    /// A session in its initial state; `forward` is the flow of the packets that go forward.
    #[must_use]
    pub fn new(forward: &FlowKey<A>, admitted: Admitted<A>) -> Self {
        let first = forward;
        Self {
            inside: first.source,
            outside: admitted.outside,
            remote: first.destination,
            inside_port: first.source_port,
            outside_port: admitted.outside_port,
            remote_port: first.destination_port,
            vrf: first.vrf,
            tag: first.tag,
            protocol: first.protocol,
            state: State::initial(first.protocol, admitted.began),
            address_delta: first.source.delta_to(admitted.outside),
            l4_delta: admitted.l4_delta,
            forward_hop: admitted.forward_hop,
            reverse_hop: admitted.reverse_hop,
            ingress: admitted.ingress,
            rule: admitted.rule,
            flags: admitted.flags,
            generation: admitted.generation,
            last_seen: Stamp::default(),
            packets: [0; 2],
            bytes: [0; 2],
        }
    }

    /// The key that packets of `direction` arrive with.
    #[inline]
    #[must_use]
    pub fn key(&self, direction: Direction) -> FlowKey<A> {
        let (source, source_port, destination, destination_port) = match direction {
            Direction::Forward => (self.inside, self.inside_port, self.remote, self.remote_port),
            Direction::Reverse => (self.remote, self.remote_port, self.outside, self.outside_port),
        };
        FlowKey {
            source,
            destination,
            source_port,
            destination_port,
            vrf: self.vrf,
            protocol: self.protocol,
            tag: self.tag,
        }
    }

    /// Whether packets of `direction` arrive with `key`: as comparing with [`Self::key`], with what lies side by side
    /// compared at once.
    #[inline(always)]
    pub(crate) fn has_key(&self, direction: Direction, key: &FlowKey<A>) -> bool {
        let ends = match direction {
            Direction::Forward => {
                A::are(&[self.inside, self.remote], &[key.source, key.destination])
                    && pair(self.inside_port, self.remote_port)
                        == pair(key.source_port, key.destination_port)
            }
            Direction::Reverse => {
                A::are(&[self.remote, self.outside], &[key.source, key.destination])
                    && pair(self.remote_port, self.outside_port)
                        == pair(key.source_port, key.destination_port)
            }
        };
        ends && self.protocol == key.protocol && self.vrf == key.vrf && self.tag == key.tag
    }

    /// The interface that packets of `direction` must come in by.
    #[inline]
    #[must_use]
    pub const fn ingress(&self, direction: Direction) -> u8 {
        self.ingress[direction as usize]
    }

    /// The interface that packets of `direction` leave by: the one that their answers come in by.
    #[inline]
    #[must_use]
    pub const fn egress(&self, direction: Direction) -> u8 {
        self.ingress(direction.opposite())
    }

    /// Whether packets of `direction` go on into the other half of a hairpin, instead of leaving: it
    /// is found by the flow that they have then.
    #[inline]
    #[must_use]
    pub const fn is_hairpin(&self, direction: Direction) -> bool {
        self.egress(direction) == HAIRPIN
    }

    /// Where packets of `direction` go.
    #[inline]
    #[must_use]
    pub const fn next_hop(&self, direction: Direction) -> NextHopIndex {
        match direction {
            Direction::Forward => self.forward_hop,
            Direction::Reverse => self.reverse_hop,
        }
    }
}

/// What a session keeps beside the line that packets touch: 28 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Cold {
    /// Its place in the timing wheel, or in the list of free records.
    pub(crate) link: Link,
    /// When the session began, in units of [`CREATED_MILLIS`]: right for two years of uptime.
    created: u32,
    /// The mapping that it uses, if its rule makes mappings; and what is known of it beside.
    mapping_and_flags: u32,
    /// What has carried out of the 32-bit counters, forward then reverse.
    pub(crate) bytes_carry: [u32; 2],
    pub(crate) packets_carry: [u16; 2],
}

impl Cold {
    /// Of a live session.
    pub(crate) fn new(held: Held, now: Tick) -> Self {
        let flag = |flag, on: bool| if on { flag } else { 0 };
        let flags = flag(LIVE, true)
            | flag(DRAINS, held.drains)
            | flag(REVERSE, held.began == Direction::Reverse);
        Self {
            link: Link::NONE,
            created: (now.as_millis() / CREATED_MILLIS) as u32,
            mapping_and_flags: MappingIndex::bits(held.mapping) | flags,
            bytes_carry: [0; 2],
            packets_carry: [0; 2],
        }
    }

    pub(crate) const fn created(&self) -> Tick {
        Tick::from_millis(self.created as u64 * CREATED_MILLIS)
    }

    pub(crate) const fn is_live(&self) -> bool {
        self.mapping_and_flags & LIVE != 0
    }

    pub(crate) const fn held(&self) -> Held {
        let reverse = self.mapping_and_flags & REVERSE != 0;
        Held {
            mapping: MappingIndex::from_bits(self.mapping_and_flags & !(LIVE | DRAINS | REVERSE)),
            began: if reverse { Direction::Reverse } else { Direction::Forward },
            drains: self.mapping_and_flags & DRAINS != 0,
        }
    }

    pub(crate) const fn free(&mut self, next: Option<u32>) {
        self.mapping_and_flags &= !LIVE;
        self.link = Link::free(next);
    }
}

/// What a session has beside the record that packets touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The mapping that it uses, if its rule makes mappings.
    pub mapping: Option<MappingIndex>,
    /// Which way its first packet went.
    pub began: Direction,
    /// It outlives its rule, up to its timeout.
    pub drains: bool,
}

impl Held {
    /// Of a session that begins forward, without a mapping, and ends with its rule.
    pub const NOTHING: Self = Self { mapping: None, began: Direction::Forward, drains: false };
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets; a super-packet counts as one.
    pub packets: u64,
    /// Bytes, Ethernet headers included.
    pub bytes: u64,
}

/// Two ports as one number.
#[inline]
const fn pair(source: u16, destination: u16) -> u32 {
    source as u32 | (destination as u32) << 16
}

/// The routing domain of no packet: where a session has ended, so that its record answers to no key.
pub(crate) const NOWHERE: u16 = u16::MAX;

/// The number that stands for an interface where packets do not leave, but go on into the other half
/// of a hairpin.
pub const HAIRPIN: u8 = 0xff;

/// In place of a rule: that of the session is gone, and it lives on until its timeout.
pub const NO_RULE: u16 = u16::MAX;

/// In [`Session::flags`]: packets from outside do not keep the session (RFC 4787 REQ-6).
pub const OUTBOUND_REFRESH: u16 = 1;

/// Milliseconds of a unit of `Cold::created`.
const CREATED_MILLIS: u64 = 16;

/// Bits beside the number of a mapping, which has at most 29.
const LIVE: u32 = 1 << 31;
const DRAINS: u32 = 1 << 30;
const REVERSE: u32 = 1 << 29;

const _: () = assert!(size_of::<Cold>() == 28);
const _: () = assert!(size_of::<Session<std::net::Ipv4Addr>>() == 64);
const _: () = assert!(size_of::<Session<std::net::Ipv6Addr>>() == 128);

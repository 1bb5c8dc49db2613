//! Fragments, their datagrams, and what becomes of them.

use mooring_wire::Protocol;

use super::DatagramIndex;
use crate::{Address, FlowKey, KeyedHash};

/// How much a table remembers at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Datagrams of which fragments have come and others not yet.
    pub datagrams: usize,
    /// Those of one source.
    pub datagrams_per_source: u32,
    /// Fragments of all of them that wait for their first one.
    pub waiting: usize,
    /// Those of one source.
    pub waiting_per_source: u32,
    /// Bits of an address that make a source: who has a prefix to choose addresses from is one sender.
    pub source_prefix: u8,
    /// Datagrams that were cut here or have passed, whose identifications are remembered, the last ones.
    pub left: usize,
}

/// What fragments of one datagram have in common (RFC 791 §3.2, RFC 8200 §4.5), and where they come
/// in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// 16 bits for IPv4, 32 for IPv6.
    pub identification: u32,
    /// IP protocol number; for IPv6 that of the fragment header.
    pub protocol: Protocol,
    /// The interface that the fragments come in by.
    pub ingress: u8,
}

/// The part of the datagram's payload that a fragment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte; a multiple of 8.
    pub start: u32,
    /// Bytes.
    pub len: u32,
    /// No fragment follows.
    pub last: bool,
}

/// What the other fragments of a datagram do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<A> {
    /// They go the way of this flow, that of the first fragment, with this identification.
    Follow {
        /// The flow of the first fragment, as it arrived.
        flow: FlowKey<A>,
        /// Identification that the fragments leave with.
        identification: u32,
    },
    /// They are dropped, as the first one was.
    Refused,
}

/// What a fragment is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived<A> {
    /// It is the first of its datagram: whoever knows flows decides, and says so by
    /// [`FragmentTable::decide`](super::FragmentTable::decide).
    First(DatagramIndex),
    /// The first one came before it.
    Decided(Fate<A>),
    /// The first one has not come: it may wait, by [`FragmentTable::hold`](super::FragmentTable::hold).
    Early(DatagramIndex),
}

/// Why a fragment is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentRefusal {
    /// No fragment is like this: an empty or odd length, an end beyond 65,535 bytes.
    Malformed,
    /// Other fragments carry the same bytes, or disagree about the length.
    Overlap,
    /// The same fragment has come before.
    Duplicate,
    /// It would overwrite the transport header, or continue one that the first fragment has not whole.
    Tiny,
    /// There is no room for one more datagram, or none of this sender.
    Full,
}

impl<A: Address> Datagram<A> {
    pub(super) fn hash(&self, hash: &KeyedHash) -> u64 {
        hash.flow(&FlowKey {
            source: self.source,
            destination: self.destination,
            source_port: (self.identification >> 16) as u16,
            destination_port: self.identification as u16,
            vrf: u16::from(self.ingress),
            protocol: self.protocol,
            tag: 0,
        })
    }
}

impl Piece {
    /// RFC 791 §3.2, RFC 8200 §4.5: all but the last fragment carry a multiple of 8 bytes, and the
    /// datagram has no more than 65,535.
    pub(super) const fn is_possible(self) -> bool {
        self.len > 0
            && self.start.is_multiple_of(UNIT)
            && (self.last || self.len.is_multiple_of(UNIT))
            && self.start + self.len <= MAX_LEN
    }

    /// RFC 3128: "IF FO=1 and PROTOCOL=TCP then DROP PACKET", of every fragment that begins within the
    /// TCP header: either another one has these bytes, which this would overwrite, or the first one is
    /// too short (RFC 1858 §3 and §4). In IPv6 the protocol of a later fragment is not known; there
    /// the overlap and the short first one are noticed.
    pub(super) fn is_within_header_of(self, protocol: Protocol) -> bool {
        protocol == Protocol::TCP && self.start > 0 && self.start < TCP_HEADER_LEN
    }
}

/// Fragments are cut at multiples of so many bytes.
pub(super) const UNIT: u32 = 8;

/// Bytes of a TCP header without options.
const TCP_HEADER_LEN: u32 = 20;

/// The longest payload of a datagram, in bytes.
pub(super) const MAX_LEN: u32 = 65_535;

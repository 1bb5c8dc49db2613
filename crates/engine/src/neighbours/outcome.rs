//! What a caller is told about frames, polls and entries.

use std::net::IpAddr;

use mooring_packet::OwnedPacket;
use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;

use super::State;

/// What a frame that spoke ARP or ND was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It asked for an address, a group or a router of ours: the answer is in the outbox, or will be
    /// soon.
    Answered,
    /// It told something new about a neighbour.
    Learned,
    /// Nothing follows from it.
    Ignored(Ignored),
    /// Somebody else uses this address of ours, or is about to. We keep it; see
    /// [`Neighbours::defend`](super::Neighbours::defend).
    Conflict(IpAddr),
}

/// Why nothing follows from an ARP or ND frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is not a message of its protocol, or breaks one of its rules.
    Malformed,
    /// Its ICMPv6 checksum is wrong.
    BadChecksum,
    /// Its sender cannot be a neighbour: our own MAC, a group's, or an IP address of no machine.
    BadSender,
    /// It concerns neither an address of ours nor a neighbour that we know, or says nothing new.
    NotForUs,
    /// It asked for an address of ours, but no buffer was free to answer.
    NoBuffer,
}

/// One entry as `show neighbors` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// The interface that the neighbour is on.
    pub interface: InterfaceId,
    /// Its IP address.
    pub address: IpAddr,
    /// Its MAC address, where it is known.
    pub mac: Option<Mac>,
    /// Where the entry stands in its life.
    pub state: State,
    /// Packets that wait for it.
    pub held: u16,
    /// Sessions (and others) that use it.
    pub users: u32,
    /// When the state began, or the neighbour last answered.
    pub since: Tick,
}

/// A packet whose neighbour does not answer. It left its session translated; only its Ethernet header
/// is still the one that it arrived with.
#[derive(Debug)]
pub struct Unreachable {
    /// The interface by which it would have left.
    pub interface: InterfaceId,
    /// The neighbour.
    pub address: IpAddr,
    /// To be given to [`Outbox::discard`](crate::Outbox::discard).
    pub packet: OwnedPacket,
}

/// What one of several workers on the same links does. Every worker resolves and learns for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It also answers, announces, defends, reports and advertises.
    #[default]
    Speaker,
    /// It says nothing about our addresses.
    Listener,
}

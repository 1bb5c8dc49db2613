//! What one worker counts. It is the only writer, and it answers `show` itself between two batches,
//! so these are plain numbers.

use mooring_nat::EventKind;
use mooring_packet::{Received, Transmitted};
use mooring_policy::InterfaceId;

use crate::{DropReason, Verdict, Work};

/// The counters of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// By interface, in the order of the configuration.
    pub interfaces: Vec<InterfaceCounters>,
    /// Packets dropped, by [`DropReason`].
    pub drops: [u64; DropReason::ALL.len()],
    /// Packets that were for us: ARP, neighbor discovery.
    pub local: u64,
    /// Packets that belong to another worker.
    pub handed_over: u64,
    /// Packets that were given to a service of ours.
    pub served: u64,
    /// Packets that had to wait for their neighbour.
    pub held: u64,
    /// Packets cut into fragments.
    pub cut: u64,
    /// Packets translated.
    pub translated: u64,
    /// Sessions begun.
    pub sessions_created: u64,
    /// Sessions ended by their timeout.
    pub sessions_expired: u64,
    /// Sessions ended before it: a new policy does not want them, a full table needed their room, or
    /// nobody wanted the packet they were begun for; or those of `transitory_ended`.
    pub sessions_ended: u64,
    /// Those of them that were no longer open and had to end for another one (`transitory_per_source`, a
    /// pool's `transitory`).
    pub transitory_ended: u64,
    /// ICMP errors and echo replies of our own.
    pub originated: u64,
    /// Frames in which somebody else used an address of ours.
    pub conflicts: u64,
    /// What the worker does with its time.
    pub work: Work,
    /// Events by [`EventKind`], those that nobody was told of included.
    pub events: [u64; EventKind::ALL.len()],
    /// Events that found no room.
    pub events_lost: u64,
}

/// The counters of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Packets read.
    pub rx_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub rx_bytes: u64,
    /// Packets that the kernel lost before we read them.
    pub rx_lost: u64,
    /// Packets that did not fit a frame of the port, or carried a VLAN tag.
    pub rx_unreadable: u64,
    /// Packets that the device took.
    pub tx_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub tx_bytes: u64,
    /// Packets that the device refused.
    pub tx_refused: u64,
    /// Packets among those taken that left joined to others of their flow.
    pub tx_coalesced: u64,
    /// The super-packets that they left in.
    pub tx_super_packets: u64,
}

impl Counters {
    /// All zero, for this many interfaces.
    #[must_use]
    pub fn new(interfaces: usize) -> Self {
        Self {
            interfaces: vec![InterfaceCounters::default(); interfaces],
            drops: [0; DropReason::ALL.len()],
            local: 0,
            handed_over: 0,
            served: 0,
            held: 0,
            cut: 0,
            translated: 0,
            sessions_created: 0,
            sessions_expired: 0,
            sessions_ended: 0,
            transitory_ended: 0,
            originated: 0,
            conflicts: 0,
            work: Work::default(),
            events: [0; EventKind::ALL.len()],
            events_lost: 0,
        }
    }

    /// Counts the verdict of a packet.
    #[inline]
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            // Nor does the short way ask.
            Verdict::Tx(_) => {}
            Verdict::Cut => self.cut += 1,
            Verdict::Local | Verdict::ToAll => self.local += 1,
            Verdict::HandOver(_) | Verdict::HandOverHalf(_) => self.handed_over += 1,
            Verdict::Service(_) => self.served += 1,
            Verdict::Hold => self.held += 1,
            Verdict::Drop(reason) => self.drops[reason as usize] += 1,
        }
    }

    /// Counts what a receive call brought.
    pub fn received(&mut self, interface: InterfaceId, received: Received) {
        let counters = &mut self.interfaces[usize::from(interface.0)];
        counters.rx_packets += received.packets;
        counters.rx_bytes += received.bytes;
        counters.rx_unreadable += received.truncated;
    }

    /// Notes how many packets a port has lost in all.
    pub fn lost(&mut self, interface: InterfaceId, total: u64) {
        self.interfaces[usize::from(interface.0)].rx_lost = total;
    }

    /// Counts what became of a transmit call.
    pub fn transmitted(&mut self, interface: InterfaceId, transmitted: Transmitted) {
        let counters = &mut self.interfaces[usize::from(interface.0)];
        counters.tx_packets += transmitted.packets;
        counters.tx_bytes += transmitted.bytes;
        counters.tx_refused += transmitted.refused;
        counters.tx_coalesced += transmitted.coalesced;
        counters.tx_super_packets += transmitted.super_packets;
    }

    /// Packets dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}

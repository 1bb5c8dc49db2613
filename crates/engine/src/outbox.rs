//! Packets that leave beside the batch: what the engine originates (ARP, ICMP errors) and what has
//! waited for its neighbour. Bounded; the worker drains it after every batch.

use mooring_packet::owned::SMALL_BUFFER;
use mooring_packet::{BufferPool, OwnedPacket, Packet};
use mooring_policy::InterfaceId;

use crate::WorkerId;

/// Packets ready to leave, each with its interface, and the pool that their buffers come from.
#[derive(Debug)]
pub struct Outbox {
    ready: Vec<(InterfaceId, OwnedPacket)>,
    handed: Vec<(HandOver, OwnedPacket)>,
    /// Small buffers that packets which wait may not use: a quarter.
    reserve: usize,
    /// Small and large buffers that packets which may wait for seconds leave to others: half.
    half: (usize, usize),
    pool: BufferPool,
}

/// Whom a packet of the outbox is handed over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The owner.
    pub to: WorkerId,
    /// Where the packet arrived.
    pub ingress: InterfaceId,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a packet has come when another worker gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is as it arrived: [`Verdict::HandOver`](crate::Verdict::HandOver).
    Arrived,
    /// It is translated for the first half of a hairpin:
    /// [`Verdict::HandOverHalf`](crate::Verdict::HandOverHalf).
    Half,
    /// The front of such a packet, whose second half was refused: it comes back to
    /// [`Engine::take_halves_back`](crate::Engine::take_halves_back).
    Refused,
}

impl Outbox {
    /// An outbox over `pool`. It never holds more packets than the pool has buffers, so it never
    /// grows after this.
    #[must_use]
    pub fn new(pool: BufferPool) -> Self {
        let (small, large) = pool.free();
        let half = (small.div_ceil(2), large.div_ceil(2));
        Self {
            ready: Vec::with_capacity(small + large),
            handed: Vec::with_capacity(small + large),
            reserve: small / 4,
            half,
            pool,
        }
    }

    /// Queues a packet of `len` bytes on `egress`, written by `fill`. False (and nothing queued)
    /// when no buffer is free.
    pub fn originate(
        &mut self,
        egress: InterfaceId,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(mut packet) = self.pool.take(len) else { return false };
        fill(packet.bytes_mut());
        self.ready.push((egress, packet));
        true
    }

    /// A buffer for a packet of `len` bytes that leaves in our stead, whatever was in it before. `None`
    /// as for [`Self::copy`].
    pub fn take(&mut self, len: usize) -> Option<OwnedPacket> {
        if self.pool.free().0 <= self.reserve { None } else { self.pool.take(len) }
    }

    /// Whether [`Self::take`] would give `packets` buffers for packets of up to `len` bytes.
    #[must_use]
    pub fn has_room(&self, packets: usize, len: usize) -> bool {
        let (small, large) = self.pool.free();
        // The last piece of a packet may be small where the others are not.
        small >= self.reserve + packets && (len <= SMALL_BUFFER || large >= packets)
    }

    /// A buffer for what we have to say ourselves, to be given to [`Self::release`] or
    /// [`Self::discard`].
    pub fn compose(&mut self, len: usize) -> Option<OwnedPacket> {
        self.pool.take(len)
    }

    /// Copies a packet that has to wait. `None` when no buffer is free, or only those that are kept
    /// for what we have to say: questions about neighbours must not wait behind the packets that wait
    /// for their answers.
    pub fn copy(&mut self, packet: &Packet<'_>) -> Option<OwnedPacket> {
        if self.pool.free().0 <= self.reserve {
            return None;
        }
        self.pool.copy(packet)
    }

    /// As [`Self::copy`], of a packet that may wait for seconds, for something that anybody can let it
    /// wait for: half of all buffers are kept for others.
    pub fn copy_for_long(&mut self, packet: &Packet<'_>) -> Option<OwnedPacket> {
        let (small, large) = self.pool.free();
        (small > self.half.0 && large >= self.half.1).then(|| self.pool.copy(packet))?
    }

    /// Queues a packet that has waited long enough.
    pub fn release(&mut self, egress: InterfaceId, packet: OwnedPacket) {
        self.ready.push((egress, packet));
    }

    /// Queues a packet that is another worker's: a fragment that has waited long enough, or a word
    /// about the half of a hairpin.
    pub(crate) fn hand_over(&mut self, to: HandOver, packet: OwnedPacket) {
        self.handed.push((to, packet));
    }

    /// The packets that other workers are to get, in order.
    pub fn handed(&mut self) -> impl Iterator<Item = (HandOver, &mut OwnedPacket)> {
        self.handed.iter_mut().map(|(to, packet)| (*to, packet))
    }

    /// Gives up a packet that waited in vain.
    pub fn discard(&mut self, packet: OwnedPacket) {
        self.pool.give_back(packet);
    }

    /// True when nothing is ready to leave.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.handed.is_empty()
    }

    /// The packets ready to leave on `egress`, in order.
    pub fn ready_for(&mut self, egress: InterfaceId) -> impl Iterator<Item = &mut OwnedPacket> {
        self.ready.iter_mut().filter(move |(to, _)| *to == egress).map(|(_, packet)| packet)
    }

    /// Forgets the ready packets (they have been transmitted) and takes their buffers back.
    pub fn clear(&mut self) {
        for (_, packet) in self.ready.drain(..) {
            self.pool.give_back(packet);
        }
        for (_, packet) in self.handed.drain(..) {
            self.pool.give_back(packet);
        }
    }

    /// Free buffers, small and large.
    #[must_use]
    pub fn free(&self) -> (usize, usize) {
        self.pool.free()
    }
}

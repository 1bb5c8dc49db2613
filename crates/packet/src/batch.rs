//! The packets of one receive call, walked together so that memory latency overlaps.

use arrayvec::ArrayVec;

use crate::Packet;

/// The most packets that one batch holds.
///
/// Prefetching only pays over a large batch (two random cache lines a packet cost about 25 clocks
/// each when 256 of them overlap), and the arrays of one walk still fit the first-level cache.
pub const BATCH_CAPACITY: usize = 256;

/// Packets received together from one port, in order of arrival.
#[derive(Default)]
pub struct Batch<'b> {
    packets: ArrayVec<Packet<'b>, BATCH_CAPACITY>,
}

impl<'b> Batch<'b> {
    /// An empty batch. Allocates nothing.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self { packets: ArrayVec::new_const() }
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// Gives the packet back when the batch is full.
    #[inline]
    pub fn push(&mut self, packet: Packet<'b>) -> Result<(), Packet<'b>> {
        self.packets.try_push(packet).map_err(|full| full.element())
    }

    /// How many packets more this batch takes.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.packets.remaining_capacity()
    }

    /// The packets, in order of arrival.
    #[inline]
    #[must_use]
    pub fn packets(&self) -> &[Packet<'b>] {
        &self.packets
    }

    /// The packets, to be edited in place.
    #[inline]
    pub fn packets_mut(&mut self) -> &mut [Packet<'b>] {
        &mut self.packets
    }

    /// How many packets there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// True without packets.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

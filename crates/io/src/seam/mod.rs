//! The seam to ports that cannot carry everything: super-packets are cut and checksums completed in
//! software on the way to a port that cannot do it itself.
//!
//! Invariant: what reaches the port is within its [`Abilities`], in the order in which it came, and
//! means to its receiver what the uncut packet would have meant. Whatever contradicts its own metadata
//! is refused. Works in memory made at start; packets that the port carries as they are pass untouched.
//!
//! Segments are those of the kernel (`tcp_gso_segment`, `__udp_gso_segment`). Knows no MTU: the engine has
//! judged a super-packet by the length of its segments.

mod checksum;
mod layout;
mod segments;
#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;
use mooring_packet::owned::LARGE_BUFFER;
use mooring_packet::{Abilities, Offload, Packet, Transmit, Transmitted};

use self::segments::Segments;

pub(crate) use self::layout::Layout;

/// A transmitting half behind the seam.
pub struct Seam<T> {
    port: T,
    abilities: Abilities,
    /// Where packets are cut and completed.
    scratch: Box<[u8]>,
}

impl<T: Transmit> Seam<T> {
    /// In front of `port`, which carries what `abilities` say. Allocates 132 KB.
    #[must_use]
    pub fn new(port: T, abilities: Abilities) -> Self {
        Self { port, abilities, scratch: vec![0; SCRATCH].into_boxed_slice() }
    }

    /// Sends a packet that the port does not carry as it is.
    #[cold]
    fn send_conforming(&mut self, packet: &Packet<'_>) -> Transmitted {
        let sent = if packet.offload.is_gso() {
            self.send_cut(packet)
        } else {
            self.send_completed(packet)
        };
        sent.unwrap_or(Transmitted { refused: 1, ..Transmitted::default() })
    }

    /// Sends the segments of a super-packet. `None` when it is not what its metadata says.
    fn send_cut(&mut self, packet: &Packet<'_>) -> Option<Transmitted> {
        if packet.len() > self.scratch.len() {
            return None;
        }
        let mut segments = Segments::of(packet)?;
        let mut sent = Transmitted::default();
        while segments.remain() {
            let mut room = &mut self.scratch[..];
            let mut group = ArrayVec::<Packet<'_>, GROUP>::new();
            while !group.is_full()
                && let Some(len) = segments.next_len().filter(|len| *len <= room.len())
            {
                let (bytes, rest) = room.split_at_mut(len);
                segments.write_next(bytes);
                group.push(Packet::new(bytes, 0, len, Offload::NONE));
                room = rest;
            }
            sent += self.port.transmit(group.iter());
        }
        Some(sent)
    }

    /// Sends a packet with its checksum complete. `None` when there is no room for a checksum where
    /// its metadata says.
    fn send_completed(&mut self, packet: &Packet<'_>) -> Option<Transmitted> {
        let bytes = self.scratch.get_mut(..packet.len())?;
        bytes.copy_from_slice(packet.bytes());
        checksum::complete(bytes, packet.offload.partial()?)?;
        let len = bytes.len();
        Some(self.port.transmit(std::iter::once(&Packet::new(bytes, 0, len, Offload::NONE))))
    }
}

impl<T: Transmit> Transmit for Seam<T> {
    /// Segments are counted one by one, also those that the device refuses.
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut packets = packets.peekable();
        let abilities = self.abilities;
        let as_it_is = |packet: &&Packet<'_>| {
            abilities.carry(packet.offload) && !checksum::is_crc(packet.offload)
        };
        let mut sent = Transmitted::default();
        loop {
            // The port is asked without any packet, too: it may have kept some back.
            sent += self.port.transmit(std::iter::from_fn(|| packets.next_if(as_it_is)));
            let Some(packet) = packets.next() else { return sent };
            sent += self.send_conforming(packet);
        }
    }
}

/// Most segments that are handed to the port together.
const GROUP: usize = 64;

/// Bytes: the segments of a packet of 64 KB with their headers, when they have the usual length.
const SCRATCH: usize = 2 * LARGE_BUFFER;

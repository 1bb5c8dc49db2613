//! The two halves of a port. They are separate values, so that a worker can transmit on an interface
//! while it still walks a batch received from it.
//!
//! The worker resolves the backend once, by generics; nothing here is called through a table of
//! function pointers.

use std::io;
use std::ops::AddAssign;

use crate::offload::GsoKind;
use crate::{Batch, Offload, Packet};

/// The receiving half of a port.
pub trait Receive {
    /// Appends what is waiting to `batch`, without blocking, and says how much that was.
    ///
    /// # Errors
    /// The operating system's error when the port is broken (its device vanished); "nothing is
    /// waiting" is not an error.
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received>;

    /// Packets that the kernel lost before we read them, since the start.
    fn lost(&mut self) -> u64;
}

/// The transmitting half of a port.
pub trait Transmit {
    /// Sends the packets in order. Never blocks: what the device does not take at once is counted as
    /// refused and is gone, as on any wire, or is kept by the port and sent by the next call, which may
    /// bring no packet.
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted;
}

/// What one receive call brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets appended to the batch.
    pub packets: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// Packets that fit in no buffer of the port, or did not come whole, and are dropped.
    pub truncated: u64,
}

/// What became of the packets of one transmit call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transmitted {
    /// Packets that the device took.
    pub packets: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// Packets that the device refused (queue full, link down, too long).
    pub refused: u64,
    /// Packets among those taken that left in a super-packet which the port made of several.
    pub coalesced: u64,
    /// How many super-packets that were.
    pub super_packets: u64,
}

impl AddAssign for Transmitted {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.coalesced += other.coalesced;
        self.super_packets += other.super_packets;
    }
}

/// What a backend can carry beside ordinary packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Packets may arrive and leave with a checksum that the device completes.
    pub partial_checksum: bool,
    /// TCP super-packets may arrive and leave whole.
    pub tcp_segmentation: bool,
    /// UDP super-packets (USO) may arrive and leave whole.
    pub udp_segmentation: bool,
}

impl Abilities {
    /// Whether a packet with this metadata may leave as it is.
    #[inline]
    #[must_use]
    pub const fn carry(self, offload: Offload) -> bool {
        let checksum = self.partial_checksum || offload.partial().is_none();
        checksum
            && match offload.gso_kind() {
                Some(GsoKind::TcpV4 | GsoKind::TcpV6) => self.tcp_segmentation,
                Some(GsoKind::UdpL4) => self.udp_segmentation,
                None => !offload.is_gso(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::Abilities;
    use crate::Offload;
    use crate::offload::GsoKind;

    #[test]
    fn what_is_left_to_do_needs_somebody_who_does_it() {
        let partial = Offload::partial_checksum(34, 16);
        let tcp = partial.with_gso(GsoKind::TcpV6, 1440, 74);
        let udp = partial.with_gso(GsoKind::UdpL4, 1200, 42);
        let none = Abilities::default();
        let checksum = Abilities { partial_checksum: true, ..none };
        let both = Abilities { tcp_segmentation: true, ..checksum };
        let carried = |able: Abilities| [Offload::NONE, partial, tcp, udp].map(|o| able.carry(o));
        assert_eq!(carried(none), [true, false, false, false]);
        assert_eq!(carried(checksum), [true, true, false, false]);
        assert_eq!(carried(both), [true, true, true, false]);
        assert_eq!(carried(Abilities { udp_segmentation: true, ..both }), [true; 4]);
    }
}

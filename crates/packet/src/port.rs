//! The two halves of a port. They are separate values, so that a worker can transmit on an interface
//! while it still walks a batch received from it.
//!
//! The worker resolves the backend once, by generics; nothing here is called through a table of
//! function pointers.

use std::io;

use crate::{Batch, Packet};

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
    /// refused and is gone, as on any wire.
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
    /// Packets that were too long for a frame of the port and are dropped.
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

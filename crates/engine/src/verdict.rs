//! Hop 5: what becomes of a packet. A return value, so that the compiler sees to it that every
//! packet has exactly one.

use arrayvec::ArrayVec;
use mooring_packet::BATCH_CAPACITY;
use mooring_policy::{InterfaceId, ServiceId};

use crate::DropReason;

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves, as it now is, by this interface.
    Tx(InterfaceId),
    /// It was for us and has been read.
    Local,
    /// It is for a service of ours, which gets it from its IP header on.
    Service(ServiceId),
    /// It waits for its neighbour, as a copy; it leaves by the outbox or is dropped later.
    Hold,
    /// It was too long for the next link; its pieces leave by the outbox, or wait.
    Cut,
    /// It is gone.
    Drop(DropReason),
}

/// One verdict for each packet of a batch, in its order.
pub type Verdicts = ArrayVec<Verdict, BATCH_CAPACITY>;

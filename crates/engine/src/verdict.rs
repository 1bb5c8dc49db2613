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
    /// It belongs to another worker, which is to walk it as it is: [`Engine::process_handed`].
    ///
    /// [`Engine::process_handed`]: crate::Engine::process_handed
    HandOver(WorkerId),
    /// It is translated for the first half of a hairpin; the second half is the other worker's.
    HandOverHalf(WorkerId),
    /// It concerns every worker and has been read by this one: the others get copies.
    ToAll,
    /// It waits for its neighbour, as a copy; it leaves by the outbox or is dropped later.
    Hold,
    /// It was too long for the next link; its pieces leave by the outbox, or wait.
    Cut,
    /// It is gone.
    Drop(DropReason),
}

/// Which worker, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u8);

/// One verdict for each packet of a batch, in its order.
pub type Verdicts = ArrayVec<Verdict, BATCH_CAPACITY>;

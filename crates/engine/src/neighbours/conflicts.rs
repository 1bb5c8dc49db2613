//! Others who use an address of ours: whom we saw, and since when.
//!
//! Bounded: where there are too many, the one not seen for longest is forgotten. A conflict ends by
//! itself, a time after its last sign.

use std::net::IpAddr;
use std::time::Duration;

use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;

use super::{Neighbours, Outcome};

/// Somebody else who uses an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where it was seen.
    pub interface: InterfaceId,
    /// Our address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
    /// When it was seen first.
    pub since: Tick,
    /// When it was seen last.
    pub seen: Tick,
}

/// The conflicts of the last minutes.
#[derive(Debug)]
pub(super) struct Conflicts {
    known: Vec<Conflict>,
}

impl Neighbours {
    /// The addresses of ours that somebody else uses, with who does.
    pub fn conflicts(&self, now: Tick) -> impl Iterator<Item = &Conflict> {
        self.conflicts.known.iter().filter(move |conflict| conflict.is_current(now))
    }

    /// Notes a sign that `mac` uses our `address`.
    pub(super) fn contested(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        mac: Mac,
        now: Tick,
    ) -> Outcome {
        self.conflicts.note(Conflict { interface, address, mac, since: now, seen: now });
        Outcome::Conflict(address)
    }
}

impl Conflicts {
    pub(super) fn new() -> Self {
        Self { known: Vec::with_capacity(CONFLICTS) }
    }

    /// Forgets the conflicts about an address that is no longer ours.
    pub(super) fn forget(&mut self, interface: InterfaceId, address: IpAddr) {
        self.known.retain(|known| (known.interface, known.address) != (interface, address));
    }

    fn note(&mut self, sign: Conflict) {
        self.known.retain(|known| known.is_current(sign.seen));
        if let Some(known) = self.known.iter_mut().find(|known| known.is_same(&sign)) {
            known.seen = sign.seen;
            return;
        }
        if self.known.len() == CONFLICTS {
            let oldest = (0..CONFLICTS).min_by_key(|&at| self.known[at].seen);
            oldest.map(|at| self.known.swap_remove(at));
        }
        self.known.push(sign);
    }
}

impl Conflict {
    fn is_same(&self, other: &Self) -> bool {
        let what = |conflict: &Self| (conflict.interface, conflict.address, conflict.mac);
        what(self) == what(other)
    }

    fn is_current(&self, now: Tick) -> bool {
        now < self.seen + CONFLICT_MEMORY
    }
}

/// How long a conflict is remembered after its last sign. A host that goes on using an address asks
/// for its own neighbours with it, at the latest when its entries have gone stale (15 to 45 s with
/// Linux, 30 s and three probes with RFC 4861), so silence for two such rounds means that it stopped.
pub const CONFLICT_MEMORY: Duration = Duration::from_secs(120);

/// Conflicts that are remembered at a time: a second appliance with the same pool makes as many as
/// the pool has addresses that are announced.
pub const CONFLICTS: usize = 512;

//! Others who use an address of ours: whom we saw, and since when.
//!
//! Bounded: where there are too many, the one not seen for longest is forgotten. A conflict ends by
//! itself, a time after its last sign.
//!
//! While we take an address up, a sign of another may be the last of one who is letting go of it: an address
//! that moves is announced by its new holder up to 100 ms before the old one knows. So it is nothing that
//! is told yet; with the last announcement, a second after the first, all are asked once more, and who
//! still has the address says so.

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
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    conflict: Conflict,
    /// There was a sign after we had taken the address up.
    is_certain: bool,
}

impl Neighbours {
    /// The addresses of ours that somebody else uses, with who does.
    pub fn conflicts(&self, now: Tick) -> impl Iterator<Item = &Conflict> {
        let certain = self.conflicts.known.iter().filter(|known| known.is_certain);
        certain.map(|known| &known.conflict).filter(move |conflict| conflict.is_current(now))
    }

    /// The same and those of whom it is not certain yet: whoever can ask whose an address is does not wait
    /// for that.
    pub fn signs(&self, now: Tick) -> impl Iterator<Item = &Conflict> {
        let all = self.conflicts.known.iter().map(|known| &known.conflict);
        all.filter(move |conflict| conflict.is_current(now))
    }

    /// Notes a sign that `mac` uses our `address`.
    pub(super) fn contested(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        mac: Mac,
        now: Tick,
    ) -> Outcome {
        let is_certain = !self.announcer.is_under_way(interface, address);
        let conflict = Conflict { interface, address, mac, since: now, seen: now };
        self.conflicts.note(Known { conflict, is_certain });
        Outcome::Conflict(address)
    }
}

impl Conflicts {
    pub(super) fn new() -> Self {
        Self { known: Vec::with_capacity(CONFLICTS) }
    }

    /// Forgets the conflicts about an address that is no longer ours.
    pub(super) fn forget(&mut self, interface: InterfaceId, address: IpAddr) {
        self.known.retain(|known| !known.conflict.is_about(interface, address));
    }

    /// Whether somebody has used `address` of whom it is not certain that he still does.
    pub(super) fn has_doubt(&self, interface: InterfaceId, address: IpAddr) -> bool {
        let doubted =
            |known: &Known| !known.is_certain && known.conflict.is_about(interface, address);
        self.known.iter().any(doubted)
    }

    fn note(&mut self, sign: Known) {
        let now = sign.conflict.seen;
        self.known.retain(|known| known.conflict.is_current(now));
        let same = |known: &&mut Known| known.conflict.is_same(&sign.conflict);
        if let Some(known) = self.known.iter_mut().find(same) {
            known.conflict.seen = now;
            known.is_certain |= sign.is_certain;
            return;
        }
        if self.known.len() == CONFLICTS {
            let oldest = (0..CONFLICTS).min_by_key(|&at| self.known[at].conflict.seen);
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

    fn is_about(&self, interface: InterfaceId, address: IpAddr) -> bool {
        (self.interface, self.address) == (interface, address)
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

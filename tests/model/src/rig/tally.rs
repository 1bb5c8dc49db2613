//! What all engines have counted, as tests look at it.

use mooring_engine::DropReason;
use mooring_nat::EventKind;

/// What all engines have counted.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) drops: [u64; DropReason::ALL.len()],
    pub(crate) events: [u64; EventKind::ALL.len()],
    pub(crate) translated: u64,
    pub(crate) handed_over: u64,
    pub(crate) originated: u64,
    pub(crate) expired: u64,
    pub(crate) ended: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            drops: [0; DropReason::ALL.len()],
            events: [0; EventKind::ALL.len()],
            translated: 0,
            handed_over: 0,
            originated: 0,
            expired: 0,
            ended: 0,
        }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        let all = self.drops.iter_mut().zip(other.drops);
        let all = all.chain(self.events.iter_mut().zip(other.events));
        all.for_each(|(sum, more)| *sum += more);
        self.translated += other.translated;
        self.handed_over += other.handed_over;
        self.originated += other.originated;
        self.expired += other.expired;
        self.ended += other.ended;
    }
}

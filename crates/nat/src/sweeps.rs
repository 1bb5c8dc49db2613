//! How far a search for a shared port may go. Where remotes share ports, whether one is free is asked
//! of the table of sessions, port by port; nearly always one of a few random ones is. When none is, all
//! ports of the address are looked at (RFC 6888 REQ-13 in kind: what there is, is used), as long as
//! that does not happen too often: packets that find nothing must not take the worker's time.

use mooring_session::Tick;

/// What is left of what searches may look at.
#[derive(Debug)]
pub(crate) struct Sweeps {
    left: usize,
    at: Tick,
    /// What a packet may look at however little is left: all its searches together.
    least: usize,
    /// It may look at all of a block in which it will find a port.
    assured: bool,
}

impl Sweeps {
    /// All of it.
    pub(crate) const fn new() -> Self {
        Self { left: MOST, at: Tick::ZERO, least: LEAST, assured: false }
    }

    /// A packet begins to search, on one address or block after the other.
    pub(crate) fn begin(&mut self) {
        (self.least, self.assured) = (LEAST, false);
    }

    /// The search that comes will find one of so many ports, and so may look at all of them: once a
    /// packet, should rules have what nobody uses.
    pub(crate) fn assure(&mut self, ports: usize) {
        if !std::mem::replace(&mut self.assured, true) {
            self.least = self.least.max(ports);
        }
    }

    /// Ports that one search may look at.
    pub(crate) fn allowed(&mut self, now: Tick) -> usize {
        let more = now.since(self.at).saturating_mul(PER_MILLI as u64);
        self.left = self.left.saturating_add(more.min(MOST as u64) as usize).min(MOST);
        self.at = now;
        self.left.max(self.least)
    }

    /// A search has looked at so many.
    pub(crate) fn spend(&mut self, ports: usize) {
        self.left = self.left.saturating_sub(ports);
        self.least = self.least.saturating_sub(ports);
    }
}

/// All ports that there are.
const MOST: usize = 1 << 16;

/// At some 30 ns each it is about a hundredth of a worker's time.
const PER_MILLI: usize = 256;

/// What every packet may look at.
const LEAST: usize = 256;

#[cfg(test)]
mod tests {
    use mooring_session::Tick;

    use super::{LEAST, MOST, PER_MILLI, Sweeps};

    #[test]
    fn a_search_is_long_if_there_was_none_for_a_while() {
        let mut sweeps = Sweeps::new();
        let at = Tick::from_millis;
        assert_eq!(sweeps.allowed(at(0)), MOST);
        sweeps.spend(MOST);
        sweeps.begin();
        assert_eq!(sweeps.allowed(at(0)), LEAST);
        sweeps.spend(LEAST);
        assert_eq!(sweeps.allowed(at(10)), 10 * PER_MILLI);
        assert_eq!(sweeps.allowed(at(9)), 10 * PER_MILLI);
        assert_eq!(sweeps.allowed(at(1_000_000)), MOST);
    }

    #[test]
    fn a_packet_that_will_find_a_port_may_look_at_all_of_one_block() {
        let mut sweeps = Sweeps::new();
        let now = Tick::from_millis(0);
        sweeps.allowed(now);
        sweeps.spend(MOST);
        sweeps.begin();
        sweeps.assure(2048);
        assert_eq!(sweeps.allowed(now), 2048);
        sweeps.spend(2048);
        sweeps.assure(2048);
        assert_eq!(sweeps.allowed(now), 0, "rules had them all");
        sweeps.begin();
        assert_eq!(sweeps.allowed(now), LEAST, "the next packet");
    }

    #[test]
    fn all_searches_of_a_packet_share_what_it_may_look_at() {
        let mut sweeps = Sweeps::new();
        let at = Tick::from_millis;
        sweeps.allowed(at(0));
        sweeps.spend(MOST);
        for _ in 0..3 {
            sweeps.begin();
            assert_eq!(sweeps.allowed(at(0)), LEAST);
            sweeps.spend(LEAST - 10);
            assert_eq!(sweeps.allowed(at(0)), 10, "the next address");
            sweeps.spend(10);
            assert_eq!(sweeps.allowed(at(0)), 0, "and the one after that");
        }
    }
}

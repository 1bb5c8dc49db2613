//! How many packets are due: a rate kept over the whole run, not from batch to batch.
//!
//! Packet n is due n / rate after the start, whatever became of those before it: so no rounding and no
//! late wake-up adds up. Who falls behind by more than [`BACKLOG`] forgets what is older, and counts it:
//! a flood that makes up for a long pause would measure the pause.
//!
//! Times are nanoseconds and an argument: nothing here reads a clock.

use std::time::Duration;

/// Keeps a rate from its start on.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Packets a second; none is as many as there is room for.
    rate: Option<u64>,
    start: u64,
    /// Taken or forgotten.
    past: u64,
    forgotten: u64,
}

impl Pacer {
    /// Starts at `start`; the first packet is due at once.
    pub(crate) fn new(rate: Option<u64>, start: u64) -> Self {
        Self { rate, start, past: 0, forgotten: 0 }
    }

    /// Packets that are due at `now`, at most `most`.
    pub(crate) fn due(&mut self, now: u64, most: u64) -> u64 {
        let Some(rate) = self.rate else { return most };
        let elapsed = u128::from(now.saturating_sub(self.start));
        let total = (elapsed * u128::from(rate) / NANOSECONDS) as u64 + 1;
        let due = total.saturating_sub(self.past);
        let backlog = ((u128::from(rate) * BACKLOG.as_nanos() / NANOSECONDS) as u64).max(most);
        let forgotten = due.saturating_sub(backlog);
        self.past += forgotten;
        self.forgotten += forgotten;
        (due - forgotten).min(most)
    }

    /// So many were taken.
    pub(crate) fn took(&mut self, packets: u64) {
        self.past += packets;
    }

    /// How long it is until the next packet is due.
    pub(crate) fn pause(&self, now: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let due = (u128::from(self.past) * NANOSECONDS).div_ceil(u128::from(rate)) as u64;
        Duration::from_nanos((self.start + due).saturating_sub(now))
    }

    /// Packets that were due and never taken.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// What is older than this is not made up for.
const BACKLOG: Duration = Duration::from_millis(10);

const NANOSECONDS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, proptest};

    use super::Pacer;

    const SECOND: u64 = 1_000_000_000;

    /// Takes what is due at each of the times, to the end; says how many in all.
    fn take(pacer: &mut Pacer, times: impl Iterator<Item = u64>) -> u64 {
        let mut taken = 0;
        for now in times {
            loop {
                let due = pacer.due(now, 32);
                if due == 0 {
                    break;
                }
                pacer.took(due);
                taken += due;
            }
        }
        taken
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_rate_does_not_drift(rate in 1_u64..2_000_000, step in 1_000_u64..9_000_000) {
            let mut pacer = Pacer::new(Some(rate), 77);
            let times = (0..SECOND).step_by(step as usize).chain([SECOND - 1]);
            // One at the start of each of `rate` equal parts of the second.
            assert_eq!(take(&mut pacer, times.map(|time| 77 + time)), rate);
            assert_eq!(pacer.forgotten(), 0);
        }
    }

    #[test]
    fn the_pause_ends_when_the_next_packet_is_due() {
        let mut pacer = Pacer::new(Some(3), 5);
        let (mut now, mut times) = (5, Vec::new());
        for _ in 0..4 {
            assert_eq!(pacer.due(now, 32), 1);
            pacer.took(1);
            times.push(now - 5);
            let pause = pacer.pause(now).as_nanos() as u64;
            assert_eq!(pacer.due(now + pause - 1, 32), 0);
            now += pause;
        }
        assert_eq!(times, [0, 333_333_334, 666_666_667, SECOND]);
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let mut pacer = Pacer::new(Some(100_000), 0);
        assert_eq!(take(&mut pacer, [0, SECOND].into_iter()), 1 + 1_000);
        assert_eq!(pacer.forgotten(), 99_000);
        // From there on the rate is kept as before.
        assert_eq!(take(&mut pacer, [2 * SECOND - 1].into_iter()), 1_000);
        assert_eq!(pacer.forgotten(), 99_000 + 98_999);
    }

    #[test]
    fn without_a_rate_there_is_always_as_much_due_as_there_is_room_for() {
        let mut pacer = Pacer::new(None, 0);
        assert_eq!((pacer.due(0, 32), pacer.due(0, 7)), (32, 7));
        assert!(pacer.pause(0).is_zero());
    }
}

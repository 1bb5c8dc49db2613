//! The highest rate without loss (RFC 2544 §26.1): a binary search whose figure was confirmed.
//!
//! RFC 9004 names what this is like, the binary search with loss verification of ETSI TST 009: a trial that
//! loses too much is repeated, because a moment's noise is no limit; and the rate that was found must pass
//! again, as often as was asked, because a lucky trial is none either. Where it does not, the search goes on
//! below it. A trial in which the generator itself did not keep the rate does not pass: nobody was offered it.
//!
//! This module knows no device: a trial is a function.

use anyhow::Result;
use serde::Serialize;

use crate::cli::FASTEST;
use crate::invalid::Invalid;

/// What is searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Packets a second; the search does not go below.
    pub(crate) lowest: u64,
    /// Packets a second; tried first.
    pub(crate) highest: u64,
    /// Packets a second: how exactly the rate is wanted.
    pub(crate) precision: u64,
    /// The part of the packets of a trial that may be lost.
    pub(crate) loss: f64,
    /// The part of the rate that the generator must have sent.
    pub(crate) offered: f64,
    /// Times that a trial with too much loss is repeated.
    pub(crate) repeats: u32,
    /// Trials that the rate must pass once it is found.
    pub(crate) confirmations: u32,
}

impl Bounds {
    /// Those that make sense.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn checked(self) -> Result<Self, Invalid> {
        let says = |text: &str| text.to_owned();
        let rates = 0 < self.lowest && self.lowest <= self.highest && self.highest <= FASTEST;
        Invalid::unless(rates, || {
            format!("--lowest and --highest are a second, from 1 to {FASTEST}, in this order")
        })?;
        Invalid::unless(self.precision > 0, || says("--precision is at least 1"))?;
        Invalid::unless((0.0..1.0).contains(&self.loss), || {
            says("--loss is a part: from 0 to less than 1")
        })?;
        Invalid::unless((0.0..=1.0).contains(&self.offered), || {
            says("--offered is a part: from 0 to 1")
        })?;
        Ok(self)
    }

    fn is_kept(&self, rate: u64, sent_pps: f64) -> bool {
        sent_pps >= rate as f64 * self.offered
    }
}

/// What one trial measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Trial {
    /// Packets a second that were asked for.
    pub(crate) rate_pps: u64,
    /// Packets a second that were sent.
    pub(crate) sent_pps: f64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// Whether the rate was kept and no more was lost than is allowed.
    pub(crate) passed: bool,
}

/// What the search found.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    /// The highest rate that passed and was confirmed; absent when none was.
    pub(crate) rate_pps: Option<u64>,
    /// True when no loss says that the device takes no more: the highest rate of all passed, or the generator
    /// did not reach the next one.
    pub(crate) is_lower_bound: bool,
    /// Every trial in its order.
    pub(crate) trials: Vec<Trial>,
}

/// Searches; `trial` sends at a rate and says how many packets a second it sent, how many in all, and how many
/// of them were lost.
///
/// # Errors
/// The first of `trial`.
pub(crate) fn search(
    bounds: &Bounds,
    trial: impl FnMut(u64) -> Result<(f64, u64, u64)>,
) -> Result<Found> {
    let mut search = Search { bounds, trial, trials: Vec::new() };
    // Rates that have passed, each higher than the one before; the last is the best.
    let mut good: Vec<u64> = Vec::new();
    // The lowest that has not; beyond the highest of all to begin with.
    let mut bad = bounds.highest + 1;
    let mut next = bounds.highest;
    let found = loop {
        if search.passes(next, bounds.repeats)? {
            good.push(next);
        } else {
            bad = next;
        }
        // A rate near enough to one that fails is the answer if it holds; else it fails itself.
        let best = loop {
            let best = good.last().copied();
            let near = best.is_some_and(|best| bad - best <= bounds.precision);
            let Some(best) = best.filter(|_| near) else { break None };
            if search.is_confirmed(best)? {
                break Some(best);
            }
            bad = best;
            good.pop();
        };
        if best.is_some() || bad <= bounds.lowest {
            break best;
        }
        let low = good.last().copied().unwrap_or(bounds.lowest);
        // With nothing good yet, the lowest itself is the last hope.
        next =
            if good.is_empty() && bad - low <= bounds.precision { low } else { low.midpoint(bad) };
    };
    let mut failed = search.trials.iter().filter(|trial| trial.rate_pps == bad && !trial.passed);
    let is_lower_bound = failed.all(|trial| !bounds.is_kept(trial.rate_pps, trial.sent_pps));
    Ok(Found { rate_pps: found, is_lower_bound, trials: search.trials })
}

struct Search<'b, T> {
    bounds: &'b Bounds,
    trial: T,
    trials: Vec<Trial>,
}

impl<T: FnMut(u64) -> Result<(f64, u64, u64)>> Search<'_, T> {
    /// Whether one of `1 + repeats` trials passes.
    fn passes(&mut self, rate: u64, repeats: u32) -> Result<bool> {
        for _ in 0..=repeats {
            let (sent_pps, sent, lost) = (self.trial)(rate)?;
            let kept = self.bounds.is_kept(rate, sent_pps);
            let passed = kept && sent > 0 && lost as f64 <= sent as f64 * self.bounds.loss;
            self.trials.push(Trial { rate_pps: rate, sent_pps, sent, lost, passed });
            if passed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_confirmed(&mut self, rate: u64) -> Result<bool> {
        for _ in 0..self.bounds.confirmations {
            if !self.passes(rate, 0)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use proptest::prelude::{ProptestConfig, proptest};

    use super::{Bounds, Found, search};

    const BOUNDS: Bounds = Bounds {
        lowest: 1_000,
        highest: 2_000_000,
        precision: 1_000,
        loss: 0.001,
        offered: 0.97,
        repeats: 1,
        confirmations: 2,
    };

    /// A device that takes `capacity` packets a second and loses the rest, for a second.
    fn device(capacity: u64) -> impl FnMut(u64) -> Result<(f64, u64, u64)> {
        move |rate| Ok((rate as f64, rate, rate.saturating_sub(capacity)))
    }

    /// The highest rate that a device of this capacity passes.
    fn truth(capacity: u64) -> u64 {
        (capacity as f64 / (1.0 - BOUNDS.loss)) as u64
    }

    fn passing(found: &Found, rate: u64) -> usize {
        found.trials.iter().filter(|trial| trial.rate_pps == rate && trial.passed).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn the_rate_of_a_device_is_found_to_the_precision(capacity in 2_000_u64..1_990_000) {
            let found = search(&BOUNDS, device(capacity)).unwrap();
            let rate = found.rate_pps.unwrap();
            assert!((truth(capacity) - BOUNDS.precision..=truth(capacity)).contains(&rate));
            assert_eq!(passing(&found, rate), 3);
            assert!(!found.is_lower_bound && found.trials.len() < 50);
        }

        #[test]
        fn noise_that_a_repeated_trial_does_not_have_changes_nothing(
            capacity in 2_000_u64..1_990_000,
            phase in 0_u64..5,
        ) {
            let (mut steady, mut count) = (device(capacity), phase);
            let bounds = Bounds { confirmations: 0, ..BOUNDS };
            let found = search(&bounds, |rate| {
                count += 1;
                let (sent_pps, sent, lost) = steady(rate)?;
                // Every fifth trial something else takes the processor.
                Ok((sent_pps, sent, if count.is_multiple_of(5) { sent / 2 } else { lost }))
            });
            let rate = found.unwrap().rate_pps.unwrap();
            assert!((truth(capacity) - BOUNDS.precision..=truth(capacity)).contains(&rate));
        }

        #[test]
        fn a_rate_that_only_passed_by_luck_is_not_reported(lucky in 600_000_u64..1_990_000) {
            let (mut steady, mut used) = (device(500_000), false);
            let found = search(&BOUNDS, |rate| {
                let (sent_pps, sent, lost) = steady(rate)?;
                let luck = !used && rate > 500_501 && rate <= lucky;
                used |= luck;
                Ok((sent_pps, sent, if luck { 0 } else { lost }))
            });
            let rate = found.unwrap().rate_pps.unwrap();
            assert!((truth(500_000) - BOUNDS.precision..=truth(500_000)).contains(&rate));
        }
    }

    #[test]
    fn a_device_that_loses_nothing_is_measured_at_the_highest_rate() {
        let found = search(&BOUNDS, device(u64::MAX)).unwrap();
        assert_eq!((found.rate_pps, found.trials.len()), (Some(2_000_000), 3));
        assert!(found.is_lower_bound);
    }

    #[test]
    fn a_device_that_always_loses_has_no_rate() {
        let found = search(&BOUNDS, |rate| Ok((rate as f64, rate, rate / 2))).unwrap();
        assert_eq!(found.rate_pps, None);
        assert!(found.trials.last().is_some_and(|trial| trial.rate_pps == BOUNDS.lowest));
        // Nor has one that nothing is sent to.
        assert_eq!(search(&BOUNDS, |_| Ok((0.0, 0, 0))).unwrap().rate_pps, None);
    }

    #[test]
    fn a_rate_that_the_generator_does_not_reach_is_not_the_devices() {
        let slow = |rate: u64| {
            let sent = rate.min(700_000);
            Ok((sent as f64, sent, 0))
        };
        let found = search(&BOUNDS, slow).unwrap();
        let most = (700_000.0 / BOUNDS.offered) as u64;
        assert!((most - BOUNDS.precision..=most).contains(&found.rate_pps.unwrap()));
        assert!(found.is_lower_bound);
    }

    #[test]
    fn loss_at_the_next_rate_in_one_trial_that_kept_it_is_the_devices_limit() {
        let mut count = 0;
        let found = search(&BOUNDS, |rate| {
            count += 1;
            // Beyond what the device takes the generator keeps every other rate.
            let sent = if rate > 500_000 && count % 2 == 0 { rate / 2 } else { rate };
            Ok((sent as f64, sent, sent.saturating_sub(500_000)))
        });
        assert!(!found.unwrap().is_lower_bound);
    }
}

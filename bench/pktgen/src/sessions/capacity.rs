//! How many sessions there can be at a time (RFC 9693 §4.9): more and more of them, until not all are answered
//! any more.

use anyhow::Result;
use serde::Serialize;

use super::{Sessions, Sides};

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Capacity {
    /// Sessions that were all answered, at a time.
    pub(crate) capacity: u64,
    /// True when no more were tried.
    pub(crate) is_lower_bound: bool,
    /// True when so many, begun in an empty NAT, were all answered.
    pub(crate) is_confirmed: bool,
    pub(crate) steps: Vec<Step>,
}

/// What became of so many sessions.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Step {
    /// Sessions that were begun, those of the steps before included unless it began empty.
    pub(crate) sessions: u64,
    /// Seen on the outside.
    pub(crate) arrived: u64,
    /// Answered, all of them asked.
    pub(crate) valid: u64,
    /// Answers that came to somebody else.
    pub(crate) wrong: u64,
    /// True when it began with an empty NAT.
    pub(crate) from_empty: bool,
}

/// How to look for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Sessions of the first step; each further one has twice as many.
    pub(crate) first: u32,
    pub(crate) most: u32,
    /// Sessions a second that begin.
    pub(crate) rate: u64,
    /// Answers a second.
    pub(crate) validation_rate: u64,
    /// The part of the capacity that it may be too small by, when it must be searched for.
    pub(crate) precision: f64,
    pub(crate) can_reset: bool,
}

/// Searches. Without a way to reset the NAT the answer is how many sessions were answered when there were too
/// many; with one that many must be answered from an empty NAT, or it is searched for below.
///
/// # Errors
/// When a device is gone, or there are no more ends for sessions.
pub(crate) fn capacity(
    sides: &mut Sides,
    search: &Search,
    progress: impl Fn(u32),
) -> Result<Capacity> {
    let mut steps = Vec::new();
    let mut sessions = sides.fresh(search.first.min(search.most))?;
    let (mut good, mut begun) = (0, 0);
    let (answered, failed) = loop {
        let count = sessions.len() as u32;
        progress(count);
        let new: Vec<u32> = (begun..count).collect();
        let step = measure(sides, search, &mut sessions, &new, false)?;
        steps.push(step);
        if step.valid < step.sessions {
            break (step.valid as u32, count);
        }
        (good, begun) = (count, count);
        if count >= search.most {
            return Ok(Capacity {
                capacity: u64::from(good),
                is_lower_bound: true,
                is_confirmed: true,
                steps,
            });
        }
        sides.extend(&mut sessions, count.saturating_mul(2).min(search.most))?;
    };
    drop(sessions);
    let mut from_empty = |count: u32| {
        progress(count);
        let mut sessions = sides.fresh(count)?;
        let all = sessions.numbers();
        let step = measure(sides, search, &mut sessions, &all, true)?;
        steps.push(step);
        anyhow::Ok(step.valid == step.sessions)
    };
    let (capacity, is_confirmed) = if search.can_reset && (good > 0 || answered > 0) {
        let most = most(good, answered, failed);
        (bisect(good, most, search.precision, &mut from_empty)?, true)
    } else {
        (answered, false)
    };
    Ok(Capacity { capacity: u64::from(capacity), is_lower_bound: false, is_confirmed, steps })
}

/// The most that is worth a trial, after `good` have passed and of `failed` so many were `answered`. Fewer than
/// had passed before: the NAT forgot more than it had to, and only what failed is known.
fn most(good: u32, answered: u32, failed: u32) -> u32 {
    if answered > good { answered } else { failed - 1 }
}

/// The highest count that passes: `most` itself if it does, else one that is too small by no more than
/// `precision` of it. `good` has passed.
fn bisect(
    mut good: u32,
    most: u32,
    precision: f64,
    mut passes: impl FnMut(u32) -> Result<bool>,
) -> Result<u32> {
    if passes(most)? {
        return Ok(most);
    }
    let mut bad = most;
    while f64::from(bad - good) > (f64::from(bad) * precision).max(1.0) {
        let middle = good.midpoint(bad);
        if passes(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

fn measure(
    sides: &mut Sides,
    search: &Search,
    sessions: &mut Sessions,
    new: &[u32],
    from_empty: bool,
) -> Result<Step> {
    sides.fill(sessions, new, search.rate, REPEATS)?;
    let validated =
        sides.validate(sessions, &sessions.numbers(), search.validation_rate, ATTEMPTS)?;
    Ok(Step {
        sessions: sessions.len() as u64,
        arrived: sessions.arrived(),
        valid: validated.count(),
        wrong: validated.wrong,
        from_empty,
    })
}

/// A lost packet is no full table.
const REPEATS: u32 = 2;
const ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::{bisect, most};

    #[test]
    fn who_forgets_more_than_it_had_to_is_searched_up_to_what_failed() {
        assert_eq!(most(4_000, 7_900, 8_000), 7_900);
        assert_eq!(most(4_000, 3_000, 8_000), 7_999);
        let found = bisect(4_000, most(4_000, 3_000, 8_000), 0.01, |count| Ok(count <= 5_000));
        let found = found.unwrap();
        assert!((4_920..=5_000).contains(&found), "{found}");
    }

    #[test]
    fn a_capacity_below_what_seemed_to_be_there_is_found() {
        for (truth, good, most) in [(7_000, 4_000, 7_900), (4_000, 4_000, 7_900), (7_900, 0, 7_900)]
        {
            let mut tried = 0;
            let found = bisect(good, most, 0.01, |count| {
                tried += 1;
                Ok(count <= truth)
            });
            let found = found.unwrap();
            assert!(found <= truth && f64::from(truth - found) <= 80.0, "{found} of {truth}");
            assert!(tried <= 12 && (truth < most || tried == 1));
        }
        assert_eq!(bisect(0, 1, 0.01, |_| Ok(false)).unwrap(), 0);
    }
}

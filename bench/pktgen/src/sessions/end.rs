//! How sessions end: by a command (connection tear-down rate, RFC 9693 §4.8), or by themselves.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{Sides, shell};
use crate::clock;

/// What a command that ends all sessions took.
#[derive(Debug, Serialize)]
pub(crate) struct Teardown {
    /// Sessions that were answered before.
    pub(crate) sessions: u64,
    /// Of those, sessions that still are.
    pub(crate) left: u64,
    /// How long the command took.
    pub(crate) seconds: f64,
    /// Sessions that ended, a second.
    pub(crate) ended_per_second: f64,
}

/// Begins `count` sessions, ends them by `command`, and looks whether they have ended.
///
/// # Errors
/// When a device is gone, there are too few ends for sessions, or the command fails.
pub(crate) fn teardown(
    sides: &mut Sides,
    (count, rate, validation_rate): (u32, u64, u64),
    command: &str,
) -> Result<Teardown> {
    let mut all = sides.fresh(count)?;
    let numbers = all.numbers();
    sides.fill(&mut all, &numbers, rate, 2)?;
    let before = sides.validate(&all, &numbers, validation_rate, 3)?.count();
    let start = clock::now();
    shell(command)?;
    let seconds = Duration::from_nanos(clock::now() - start).as_secs_f64();
    let left = sides.validate(&all, &numbers, validation_rate, 1)?.count();
    let ended_per_second = before.saturating_sub(left) as f64 / seconds.max(1e-9);
    Ok(Teardown { sessions: before, left, seconds, ended_per_second })
}

/// How sessions end by themselves.
#[derive(Debug, Serialize)]
pub(crate) struct Expiry {
    /// Sessions that were seen on the outside.
    pub(crate) sessions: u64,
    /// How long it took to begin them.
    pub(crate) begun_in_seconds: f64,
    /// Each session is asked once, by one of these.
    pub(crate) probes: Vec<Probe>,
    /// The oldest session that was still answered; null if none was.
    pub(crate) oldest_alive_seconds: Option<f64>,
    /// The youngest that was not; null if all were.
    pub(crate) youngest_ended_seconds: Option<f64>,
    /// Sessions a second that ended, between the last probe in which all were answered and the first in which
    /// none was; null where there are not both. No better than the time between two probes.
    pub(crate) ended_per_second: Option<f64>,
}

/// Some of the sessions, spread evenly over all, asked at one time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Probe {
    /// After the last one had begun.
    pub(crate) seconds: f64,
    pub(crate) asked: u64,
    pub(crate) alive: u64,
}

/// Begins `count` sessions and asks `probes` groups of them, one after the other within `watch`. No session is
/// asked twice: an answer may keep it alive.
///
/// # Errors
/// When a device is gone, or there are too few ends for sessions.
pub(crate) fn expiry(
    sides: &mut Sides,
    (count, rate, validation_rate): (u32, u64, u64),
    (watch, probes): (Duration, u32),
    progress: impl Fn(u64, u64),
) -> Result<Expiry> {
    let mut all = sides.fresh(count)?;
    let numbers = all.numbers();
    let first = clock::now();
    sides.fill(&mut all, &numbers, rate, 2)?;
    let begun = numbers.iter().filter_map(|number| all.begun(*number));
    let last = begun.max().unwrap_or(first);
    let (mut done, mut ages) = (Vec::new(), Vec::new());
    for nth in 0..probes {
        let due = last + watch.as_nanos() as u64 / u64::from(probes) * u64::from(nth);
        thread::sleep(Duration::from_nanos(due.saturating_sub(clock::now())));
        let group = (nth..count).step_by(probes as usize).filter(|n| all.begun(*n).is_some());
        let group: Vec<u32> = group.collect();
        let start = clock::now();
        let validated = sides.validate(&all, &group, validation_rate, 1)?;
        for ((n, number), alive) in (0_u64..).zip(&group).zip(&validated.valid) {
            let asked = start + n * 1_000_000_000 / validation_rate;
            let begun = all.begun(*number).unwrap_or(asked);
            ages.push((seconds(begun, asked), *alive));
        }
        let probe = Probe {
            seconds: seconds(last, start),
            asked: group.len() as u64,
            alive: validated.count(),
        };
        progress(u64::from(nth) + 1, probe.alive);
        done.push(probe);
    }
    let of = |alive: bool| ages.iter().filter(move |age| age.1 == alive).map(|age| age.0);
    Ok(Expiry {
        sessions: all.arrived(),
        begun_in_seconds: seconds(first, last),
        oldest_alive_seconds: of(true).reduce(f64::max),
        youngest_ended_seconds: of(false).reduce(f64::min),
        ended_per_second: pace(&done, all.arrived()),
        probes: done,
    })
}

/// See [`Expiry::ended_per_second`].
fn pace(probes: &[Probe], sessions: u64) -> Option<f64> {
    let whole = probes.iter().rposition(|probe| probe.alive == probe.asked)?;
    let gone = whole + 1 + probes[whole + 1..].iter().position(|probe| probe.alive == 0)?;
    Some(sessions as f64 / (probes[gone].seconds - probes[whole].seconds))
}

fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::{Probe, pace};

    #[test]
    fn the_pace_is_from_all_alive_to_none() {
        let probes = |alive: &[u64]| {
            let probe =
                |(n, alive): (u32, &u64)| Probe { seconds: n.into(), asked: 10, alive: *alive };
            (0..).zip(alive).map(probe).collect::<Vec<_>>()
        };
        assert_eq!(pace(&probes(&[10, 10, 4, 1, 0, 0]), 600), Some(200.0));
        assert_eq!(pace(&probes(&[10, 0]), 600), Some(600.0));
        // Some are always left, or some are gone from the beginning.
        assert_eq!(pace(&probes(&[10, 10, 4]), 600), None);
        assert_eq!(pace(&probes(&[9, 4, 0]), 600), None);
    }
}

//! The highest rate at which sessions can begin (RFC 9693 §4.5).

use anyhow::Result;
use serde::Serialize;

use super::Sides;
use crate::search::{Bounds, Found, search};

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct RateFound {
    #[serde(flatten)]
    pub(crate) found: Found,
    /// Of each trial, in the same order.
    pub(crate) sessions: Vec<Count>,
}

/// What became of the sessions of a trial.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Count {
    /// Seen on the outside.
    pub(crate) arrived: u64,
    /// Answered.
    pub(crate) valid: u64,
    /// Answers that came to somebody else.
    pub(crate) wrong: u64,
}

/// Searches the rate: in each trial `count` sessions begin, and all of them must be answered, but for the part
/// that the bounds allow to be lost.
///
/// # Errors
/// When a device is gone, or there are no more ends for sessions.
pub(crate) fn rate(
    sides: &mut Sides,
    bounds: &Bounds,
    (count, validation_rate): (u32, u64),
    progress: impl Fn(u64),
) -> Result<RateFound> {
    let mut sessions = Vec::new();
    let found = search(bounds, |rate| {
        progress(rate);
        let mut fresh = sides.fresh(count)?;
        let numbers = fresh.numbers();
        let phase = sides.establish(&mut fresh, &numbers, rate)?;
        let validated = sides.validate(&fresh, &numbers, validation_rate, ATTEMPTS)?;
        let valid = validated.count();
        sessions.push(Count { arrived: fresh.arrived(), valid, wrong: validated.wrong });
        Ok((phase.sent_pps, phase.sent, phase.sent.saturating_sub(valid)))
    })?;
    Ok(RateFound { found, sessions })
}

/// Answers may be lost, too, which says nothing of the session.
const ATTEMPTS: u32 = 2;

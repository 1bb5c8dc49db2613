//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime};

use mooring_session::Tick;

/// Time since the appliance started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The same moment, as people call it.
    date: SystemTime,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self { start: Instant::now(), date: SystemTime::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick::from_millis(self.micros() / 1_000)
    }

    /// Microseconds since the start; a worker asks once per batch.
    #[must_use]
    pub fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What people call a moment since the start.
    #[must_use]
    pub fn date(&self, at: Tick) -> SystemTime {
        self.date + Duration::from_millis(at.as_millis())
    }
}

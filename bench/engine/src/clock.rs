//! What a count of the processor's time-stamp counter lasts.

use std::fmt;
use std::time::{Duration, Instant};

use mooring_io::tsc;

/// Counts of the time-stamp counter in a nanosecond.
#[derive(Clone, Copy)]
pub(crate) struct Rate(f64);

impl Rate {
    /// Compares the counter with the system's clock for a while.
    #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
    pub(crate) fn measure() -> Self {
        let (start, first) = (Instant::now(), tsc::read());
        std::thread::sleep(WHILE);
        let (counts, time) = (tsc::read() - first, start.elapsed());
        Self(counts as f64 / time.as_nanos() as f64)
    }

    /// Nanoseconds that so many counts last.
    pub(crate) fn nanos(self, counts: f64) -> f64 {
        counts / self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} GHz", self.0)
    }
}

const WHILE: Duration = Duration::from_millis(100);

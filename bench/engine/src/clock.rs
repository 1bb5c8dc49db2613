//! The bench's clock, and what a clock of the processor lasts.

use std::fmt;
use std::time::Instant;

/// Measures one batch.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Clock rate of the processor.
pub(crate) struct Ghz(f64);

impl Ghz {
    /// As /proc/cpuinfo says; 1 GHz where it does not.
    pub(crate) fn read() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = info.lines().find(|line| line.starts_with("cpu MHz"));
        let mhz = line.and_then(|line| line.split(':').nth(1)?.trim().parse::<f64>().ok());
        Self(mhz.unwrap_or(1000.0) / 1000.0)
    }

    pub(crate) fn clocks(&self, nanos: f64) -> f64 {
        nanos * self.0
    }
}

impl fmt::Display for Ghz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} GHz", self.0)
    }
}

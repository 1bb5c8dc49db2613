//! The only clock of the labs: time limits for waiting, and stopwatches for reports.
//!
//! A limit ends a wait that would never end; it is many times what the step needs and never a
//! statement about speed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Time since it was started.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the labs' only clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Time since 1970, which captures are stamped with.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the labs' only clock")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Asks `probe` every few milliseconds until it has an answer.
///
/// # Errors
/// When `limit` has passed without one; the message names `what`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let waiting = Stopwatch::start();
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if waiting.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// What a step that takes milliseconds is given before it counts as failed.
pub const LIMIT: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(5);

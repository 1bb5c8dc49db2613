//! The only clock of the generator.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment; the same for all threads.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The kernel's monotonic clock starts at zero and never goes back.
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Waits, awake where the scheduler would sleep too long.
pub(crate) fn wait(pause: Duration) {
    match pause.checked_sub(WAKE_UP) {
        Some(asleep) if !asleep.is_zero() => std::thread::sleep(asleep),
        _ => std::hint::spin_loop(),
    }
}

/// How late a sleeping thread may wake up.
const WAKE_UP: Duration = Duration::from_micros(120);

//! The time-stamp counter of the processor: what benchmarks count in, for a clock of the system costs more to read
//! than a packet to translate.

/// The counter as it stands now. It counts at a constant rate on every processor of the last fifteen years; what
/// stands before it in the program may end after it, by a few dozen counts.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "one instruction, which no safe function of the language has")]
#[inline]
#[must_use]
pub fn read() -> u64 {
    // SAFETY: the instruction is in every processor of this architecture, touches no memory, and Linux lets
    // user space execute it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// There is no such counter here: nanoseconds.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn read() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_counter_goes_on() {
        let first = super::read();
        assert!((0..1_000).any(|_| super::read() > first));
    }
}

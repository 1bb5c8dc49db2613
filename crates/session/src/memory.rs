//! The crate's one unsafe door: telling the processor what will be read soon.
#![allow(unsafe_code, reason = "prefetching takes a raw pointer; this module is the only place")]

/// Starts loading the cache line of `item`.
#[inline]
pub fn prefetch<T>(item: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and never changes what the program can observe, whatever the
    // address; this one comes from a live reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}

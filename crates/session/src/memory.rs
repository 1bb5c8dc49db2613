//! The crate's one unsafe door: what the language has no word for. Telling the processor what will be
//! read soon, and comparing sixteen bytes at once.
#![allow(unsafe_code, reason = "instructions of the processor; this module is the only place")]

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

/// A bit for each of `tags` that is `tag`, the lowest for the first.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn equal_tags(tags: &[u8; 12], tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let [a, b, c, d, e, f, g, h, rest @ ..] = *tags;
    let low = i64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let high = i64::from(u32::from_le_bytes(rest));
    // SAFETY: every x86-64 processor has SSE2, and these read and write nothing but their arguments.
    let equal = unsafe {
        let equal = _mm_cmpeq_epi8(_mm_set_epi64x(high, low), _mm_set1_epi8(tag as i8));
        _mm_movemask_epi8(equal)
    };
    equal as u32 & 0xfff
}

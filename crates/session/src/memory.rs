//! The crate's one unsafe door: what the language has no word for. Telling the processor what will be
//! read soon, comparing sixteen bytes at once, and tables in huge pages.
#![allow(
    unsafe_code,
    reason = "instructions of the processor and memory; this module is the only place"
)]

use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator, Global};
use allocator_api2::vec::Vec as VecIn;
use rustix::mm::{Advice, madvise};

/// A vector that lies in huge pages where the system has them: a table is read at random, and with
/// pages of 4 KB nearly every packet waits for a walk of the page tables (see
/// docs/decisions/0009-huge-pages.md).
///
/// Linux gives them where `/sys/kernel/mm/transparent_hugepage/enabled` is not `never`; elsewhere the
/// pages are ordinary ones.
pub type Room<T> = VecIn<T, HugePages>;

/// What allocates for a [`Room`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// An empty vector with room for `capacity` items.
#[must_use]
pub fn room_for<T>(capacity: usize) -> Room<T> {
    Room::with_capacity_in(capacity, HugePages)
}

/// Makes the pages of all the room of `room` be there, so that no packet waits for one.
///
/// # Errors
/// The operating system's: EINVAL before Linux 5.14, which does not know how, and EFAULT or ENOMEM when
/// there is not so much memory.
pub fn prefault<T>(room: &mut Room<T>) -> io::Result<()> {
    let spare = room.spare_capacity_mut();
    advise(spare.as_mut_ptr().cast(), size_of_val(spare), Advice::LinuxPopulateWrite)
}

impl HugePages {
    /// Whole huge pages, for what is not much smaller than one.
    fn layout(asked: Layout) -> Layout {
        if asked.size() < LEAST {
            return asked;
        }
        // What cannot be so long is refused by the allocator.
        asked.align_to(HUGE_PAGE).map_or(asked, |layout| layout.pad_to_align())
    }
}

// SAFETY: memory comes from the global allocator and goes back to it, both times with the layout that
// `HugePages::layout` makes of the one that is asked for; it asks for no less in size or alignment.
unsafe impl Allocator for HugePages {
    fn allocate(&self, asked: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let layout = Self::layout(asked);
        let memory = Global.allocate(layout)?;
        if layout.align() >= HUGE_PAGE {
            // It is advice: a system that does not know it goes on without.
            let _ = advise(memory.cast().as_ptr(), layout.size(), Advice::LinuxHugepage);
        }
        Ok(memory)
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, asked: Layout) {
        // SAFETY: the caller promises that it was allocated here for `asked`, so with this layout.
        unsafe { Global.deallocate(memory, Self::layout(asked)) };
    }
}

/// For the whole pages within `bytes` bytes of ours from `start` on. Private, and so it can be safe: who
/// calls it in this module owns them.
fn advise(start: *mut u8, bytes: usize, advice: Advice) -> io::Result<()> {
    let page = rustix::param::page_size();
    let before = start.align_offset(page).min(bytes);
    let pages = (bytes - before) / page * page;
    if pages == 0 {
        return Ok(());
    }
    // SAFETY: these pages lie within what the caller owns, and neither of the two kinds of advice that
    // are given changes what they hold.
    unsafe { madvise(start.add(before).cast(), pages, advice)? };
    Ok(())
}

/// The smallest huge page of most processors.
const HUGE_PAGE: usize = 2 << 20;

/// Below this more of a huge page would be wasted than used.
const LEAST: usize = HUGE_PAGE / 4;

/// Starts loading the cache lines of `item`.
#[inline]
pub fn prefetch<T>(item: &T) {
    for line in 0..size_of::<T>().div_ceil(LINE) {
        prefetch_from(std::ptr::from_ref(item).cast::<u8>().wrapping_add(line * LINE));
    }
}

/// Starts loading the cache line that `start` lies in. It may point anywhere.
#[inline]
pub fn prefetch_from(start: *const u8) {
    // SAFETY: a prefetch never faults and never changes what the program can observe, whatever the address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(start.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = start;
}

/// Bytes of a cache line.
const LINE: usize = 64;

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

#[cfg(test)]
mod tests {
    use super::{HUGE_PAGE, prefault, room_for};

    /// Pages of this process that are there, in KiB: of all its memory.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells it");
        let line = status.lines().find(|line| line.starts_with("Rss:")).expect("there is one");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    #[test]
    fn room_is_there_when_it_was_asked_for() {
        let before = resident();
        let mut room = room_for::<u64>(8 << 20);
        assert!(resident() < before + 8_192, "room alone takes no memory");
        prefault(&mut room).expect("there is so much");
        assert!(resident() >= before + 64 * 1024);
        assert_eq!((room.len(), room.capacity()), (0, 8 << 20));
    }

    #[test]
    fn a_table_begins_where_a_huge_page_does() {
        let mut room = room_for::<u64>(300_000);
        room.extend(0..300_000);
        assert_eq!(room.as_ptr().addr() % HUGE_PAGE, 0);
        assert!(room.iter().copied().eq(0..300_000));
    }

    #[test]
    fn less_than_a_page_needs_nothing() {
        prefault(&mut room_for::<u64>(3)).expect("there is nothing to do");
        prefault(&mut room_for::<()>(3)).expect("nor here");
    }
}

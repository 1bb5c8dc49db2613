//! The memory that frames lie in, of all AF_XDP sockets of one worker (UMEM): a frame that came in through
//! one of them leaves through another from where it lies.
//!
//! Invariant: a [`Frame`] exists once at most, and whoever has it is the only one who writes there; while the
//! kernel writes there nobody has it. [`Umem::give`] turns one into the address that a ring takes,
//! [`Umem::take_back`] turns an address that a ring gives into a frame again, if it was given. So no frame has
//! two owners, whatever the kernel says. Beside that the kernel may read a frame that it is to send, which is
//! counted by [`Umem::is_sending`]: it is not given away meanwhile.
#![allow(unsafe_code, reason = "the one file of the frames' memory")]

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU8, Ordering};

use super::CHUNK;

/// Memory of a fixed number of frames, each [`CHUNK`] bytes.
#[derive(Debug)]
pub(super) struct Umem {
    memory: NonNull<u8>,
    bytes: usize,
    /// Of each frame, whether it is given to the kernel.
    given: Box<[AtomicU8]>,
    /// Of each frame, how often the kernel has still to send what lies in it.
    sending: Box<[AtomicU8]>,
}

/// The right to use one frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame(u32);

impl Umem {
    /// Memory for `count` frames, with the frames.
    ///
    /// # Errors
    /// The operating system's, when it has not so much memory.
    pub(super) fn new(count: u32) -> io::Result<(Self, Vec<Frame>)> {
        let bytes = (count as usize * CHUNK).max(1).next_multiple_of(PAGE);
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
        );
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(io::Error::last_os_error)?;
        let zeros = || (0..count).map(|_| AtomicU8::new(0)).collect();
        let umem = Self { memory, bytes, given: zeros(), sending: zeros() };
        Ok((umem, (0..count).map(Frame).collect()))
    }

    /// Where it begins and how long it is, for the kernel.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.memory.as_ptr().expose_provenance() as u64, self.bytes as u64)
    }

    /// Gives the frame to the kernel; its address in this memory.
    #[expect(clippy::needless_pass_by_value, reason = "who gives a frame has it no longer")]
    pub(super) fn give(&self, frame: Frame) -> u64 {
        let Frame(at) = frame;
        self.given[at as usize].store(1, Ordering::Relaxed);
        u64::from(at) * CHUNK as u64
    }

    /// The frame that this address lies in, back from the kernel. `None` when it was not given.
    pub(super) fn take_back(&self, address: u64) -> Option<Frame> {
        let at = self.index(address)?;
        let given = self.given[at as usize].swap(0, Ordering::Relaxed);
        (given != 0).then_some(Frame(at))
    }

    /// The memory of a frame.
    pub(super) fn bytes<'f>(&'f self, frame: &'f mut Frame) -> &'f mut [u8] {
        // SAFETY: the frame's number is below their count, so its bytes lie in the mapping, which lives as
        // long as `self`; it exists once and is borrowed mutably, so nobody else has a reference to them.
        unsafe {
            let first = self.memory.add(frame.0 as usize * CHUNK);
            slice::from_raw_parts_mut(first.as_ptr(), CHUNK)
        }
    }

    /// The address of bytes that lie in this memory, in one frame of it.
    pub(super) fn address_of(&self, bytes: &[u8]) -> Option<u64> {
        let address = bytes.as_ptr().addr().checked_sub(self.memory.as_ptr().addr())? as u64;
        let last = address + (bytes.len() as u64).saturating_sub(1);
        (self.index(address)? == self.index(last)?).then_some(address)
    }

    /// The kernel is to send what lies at this address.
    pub(super) fn begin_sending(&self, address: u64) {
        self.count_sending(address, 1);
    }

    /// It has.
    pub(super) fn end_sending(&self, address: u64) {
        self.count_sending(address, -1);
    }

    /// Whether the kernel has still to send something of this frame.
    pub(super) fn is_sending(&self, frame: &Frame) -> bool {
        self.sending[frame.0 as usize].load(Ordering::Relaxed) != 0
    }

    /// One thread counts: that of the worker.
    fn count_sending(&self, address: u64, change: i8) {
        let Some(at) = self.index(address) else { return };
        let count = &self.sending[at as usize];
        let changed = count.load(Ordering::Relaxed).saturating_add_signed(change);
        count.store(changed, Ordering::Relaxed);
    }

    fn index(&self, address: u64) -> Option<u32> {
        let at = address / CHUNK as u64;
        (at < self.given.len() as u64).then_some(at as u32)
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length; nobody borrows from it. The kernel holds
        // its pages by itself as long as a socket uses them.
        let _ = unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: the mapping is this value's alone and belongs to no thread; its bytes are reached through frames
// only, which exist once, and the rest is atomic.
unsafe impl Send for Umem {}
// SAFETY: as above.
unsafe impl Sync for Umem {}

/// What the kernel pins memory by.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::{CHUNK, Umem};

    #[test]
    fn a_frame_comes_back_once() {
        let (umem, mut frames) = Umem::new(3).expect("there is memory");
        let last = frames.pop().expect("three");
        assert_eq!(umem.take_back(2 * CHUNK as u64), None, "it was not given");
        assert_eq!(umem.give(last), 2 * CHUNK as u64);
        let back = umem.take_back(2 * CHUNK as u64 + 256).expect("it was given");
        assert_eq!(umem.take_back(2 * CHUNK as u64), None);
        assert_eq!(umem.give(back), 2 * CHUNK as u64);
        assert_eq!(umem.take_back(3 * CHUNK as u64), None, "there are three");
        assert_eq!(umem.take_back(u64::MAX), None);
    }

    #[test]
    fn bytes_know_their_address_until_they_are_sent() {
        let (umem, mut frames) = Umem::new(2).expect("there is memory");
        let bytes = &umem.bytes(&mut frames[1])[256..300];
        let address = umem.address_of(bytes).expect("they lie in it");
        assert_eq!(address, CHUNK as u64 + 256);
        assert_eq!(umem.address_of(&[0; 60]), None, "somebody else's memory");
        umem.begin_sending(address);
        umem.begin_sending(address);
        umem.end_sending(address);
        assert!(umem.is_sending(&frames[1]) && !umem.is_sending(&frames[0]));
        umem.end_sending(address);
        assert!(!umem.is_sending(&frames[1]));
    }
}

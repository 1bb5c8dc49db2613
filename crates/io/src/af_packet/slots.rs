//! The memory of a ring that the kernel and we share: slots of one length, each of which begins with a word that
//! says whose it is (TPACKET_V2).
//!
//! Invariant: no reference ever covers a status word but an atomic one. What a slot holds beside it belongs to
//! whom the word names; each ring says in its own file how it keeps to that.
#![allow(unsafe_code, reason = "the one file that maps the memory of rings")]

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use super::socket::PacketSocket;

/// Slots of `SLOT_BYTES` in `BLOCKS` blocks, which are contiguous in the kernel's memory, too.
#[derive(Debug)]
pub(super) struct Slots<const SLOT_BYTES: usize, const BLOCKS: usize> {
    memory: NonNull<u8>,
}

impl<const SLOT_BYTES: usize, const BLOCKS: usize> Slots<SLOT_BYTES, BLOCKS> {
    const IN_BLOCK: usize = BLOCK_BYTES / SLOT_BYTES;

    /// How many there are.
    pub(super) const COUNT: usize = BLOCKS * Self::IN_BLOCK;

    const BYTES: usize = BLOCKS * BLOCK_BYTES;

    /// The kernel asks for it, and the status word at the front of a slot has to be aligned.
    const ALIGNED: () = assert!(SLOT_BYTES.is_multiple_of(libc::TPACKET_ALIGNMENT));

    /// What is asked of the kernel.
    pub(super) const REQUEST: libc::tpacket_req = libc::tpacket_req {
        tp_block_size: BLOCK_BYTES as u32,
        tp_block_nr: BLOCKS as u32,
        tp_frame_size: SLOT_BYTES as u32,
        tp_frame_nr: Self::COUNT as u32,
    };

    /// Maps the ring of `socket`, which was made by [`Self::REQUEST`] and is its only one.
    ///
    /// # Errors
    /// The operating system's, when it has not so much memory.
    pub(super) fn of(socket: &PacketSocket) -> io::Result<Self> {
        const { Self::ALIGNED };
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let memory = unsafe { libc::mmap(ptr::null_mut(), Self::BYTES, protection, flags, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { memory })
    }

    /// Where the slot begins; the first one follows the last.
    pub(super) fn slot(&self, at: usize) -> NonNull<u8> {
        let at = at % Self::COUNT;
        let (block, place) = (at / Self::IN_BLOCK, at % Self::IN_BLOCK);
        // SAFETY: the number is below COUNT, so its bytes lie in the mapping.
        unsafe { self.memory.add(block * BLOCK_BYTES + place * SLOT_BYTES) }
    }

    /// Whose it is: `TP_STATUS_*`.
    pub(super) fn status(&self, at: usize) -> &AtomicU32 {
        // SAFETY: a slot begins with its status word, aligned as the slot is, mapped as long as `self`
        // lives; whoever touches it, here and in the kernel, does so atomically.
        unsafe { AtomicU32::from_ptr(self.slot(at).as_ptr().cast()) }
    }

    /// The slot after this one: they are used in a circle.
    pub(super) const fn after(slot: usize) -> usize {
        (slot + 1) % Self::COUNT
    }
}

impl<const SLOT_BYTES: usize, const BLOCKS: usize> Drop for Slots<SLOT_BYTES, BLOCKS> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length; nobody borrows from it.
        let _ = unsafe { libc::munmap(self.memory.as_ptr().cast(), Self::BYTES) };
    }
}

// SAFETY: the mapping is this value's alone and belongs to no thread.
unsafe impl<const SLOT_BYTES: usize, const BLOCKS: usize> Send for Slots<SLOT_BYTES, BLOCKS> {}

/// Bytes of a block.
const BLOCK_BYTES: usize = 256 << 10;

const _: () = assert!(offset_of!(libc::tpacket2_hdr, tp_status) == 0);

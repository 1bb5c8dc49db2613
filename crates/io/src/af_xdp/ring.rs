//! The rings of an AF_XDP socket: memory shared with the kernel, one side writes entries and the other reads
//! them.
//!
//! Invariant: an entry between the two counters belongs to the reader, every other one to the writer. Each
//! side stores its own counter (release) after it is done with entries, and looks at them only after it has
//! loaded the other's (acquire). Counters run on and wrap; entries are read and written by value, and no
//! reference ever covers them.
#![allow(unsafe_code, reason = "the one file of the rings' memory")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A ring that we write: frames to fill, packets to send.
#[derive(Debug)]
pub(super) struct Producer<T>(Ring<T>);

/// A ring that we read: packets received, frames sent.
#[derive(Debug)]
pub(super) struct Consumer<T>(Ring<T>);

/// A packet in a ring (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Descriptor {
    /// Where it lies in the memory of the frames.
    pub(super) address: u64,
    /// Its bytes.
    pub(super) len: u32,
    pub(super) options: u32,
}

impl Descriptor {
    /// Whether the next one is of the same packet.
    #[inline]
    pub(super) fn goes_on(self) -> bool {
        self.options & libc::XDP_PKT_CONTD != 0
    }
}

/// Where a ring lies in its mapping, as the kernel tells (`struct xdp_ring_offset`).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Offsets {
    producer: u64,
    consumer: u64,
    entries: u64,
    flags: u64,
}

impl<T: FromBytes + IntoBytes + Copy> Producer<T> {
    /// Maps the ring of `size` entries that `socket` has at `page_offset`.
    pub(super) fn map(socket: BorrowedFd<'_>, place: Place) -> io::Result<Self> {
        Ring::map(socket, place).map(Self)
    }

    /// How many entries fit.
    pub(super) fn room(&self) -> u32 {
        self.0.size - self.waiting()
    }

    /// How many entries the kernel has not taken yet, those included that it does not know of.
    pub(super) fn waiting(&self) -> u32 {
        self.0.own.wrapping_sub(self.0.consumer().load(Ordering::Acquire))
    }

    /// Writes an entry, which the kernel sees after [`Self::submit`]. False when there is no room.
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.room() == 0 {
            return false;
        }
        // SAFETY: the entry lies in the mapping, and, as there is room, it is ours to write.
        unsafe { self.0.entry(self.0.own).write_volatile(entry) };
        self.0.own = self.0.own.wrapping_add(1);
        true
    }

    /// Hands what was written to the kernel.
    pub(super) fn submit(&mut self) {
        self.0.producer().store(self.0.own, Ordering::Release);
    }
}

impl<T: FromBytes + IntoBytes + Copy> Consumer<T> {
    /// Maps the ring of `size` entries that `socket` has at `page_offset`.
    pub(super) fn map(socket: BorrowedFd<'_>, place: Place) -> io::Result<Self> {
        Ring::map(socket, place).map(Self)
    }

    /// Reads the next entry, if there is one.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.0.producer().load(Ordering::Acquire) == self.0.own {
            return None;
        }
        // SAFETY: the entry lies in the mapping, and the kernel has written it and left it to us; any bytes
        // are a value.
        let entry = unsafe { self.0.entry(self.0.own).read_volatile() };
        self.0.own = self.0.own.wrapping_add(1);
        Some(entry)
    }

    /// Gives back what was read.
    pub(super) fn release(&mut self) {
        self.0.consumer().store(self.0.own, Ordering::Release);
    }
}

/// Where a ring is to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// What the kernel calls it (`XDP_PGOFF_*`).
    pub(super) page_offset: libc::off_t,
    /// Inside of that.
    pub(super) offsets: Offsets,
    /// Entries, a power of two.
    pub(super) size: u32,
}

#[derive(Debug)]
struct Ring<T> {
    memory: NonNull<u8>,
    bytes: usize,
    offsets: Offsets,
    size: u32,
    /// Our own counter, as far as we are; the kernel may know less.
    own: u32,
    entries: NonNull<T>,
}

impl<T: FromBytes + IntoBytes + Copy> Ring<T> {
    fn map(socket: BorrowedFd<'_>, place: Place) -> io::Result<Self> {
        let Place { page_offset, offsets, size } = place;
        let bytes = offsets.entries as usize + size as usize * size_of::<T>();
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        let fd = socket.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, page_offset) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory: NonNull<u8> =
            NonNull::new(memory.cast()).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel says where the entries begin in the mapping, which is made to hold them all.
        let entries = unsafe { memory.add(offsets.entries as usize) }.cast();
        Ok(Self { memory, bytes, offsets, size, own: 0, entries })
    }

    fn entry(&self, counter: u32) -> *mut T {
        let at = counter & (self.size - 1);
        // SAFETY: `at` is below the number of entries, all of which lie in the mapping.
        unsafe { self.entries.add(at as usize) }.as_ptr()
    }

    fn producer(&self) -> &AtomicU32 {
        self.counter(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.counter(self.offsets.consumer)
    }

    fn counter(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel says where its counters lie in the mapping, on cache lines of their own; whoever
        // touches one, here and in the kernel, does so atomically. The mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.memory.add(offset as usize).as_ptr().cast()) }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length; nobody borrows from it.
        let _ = unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: the mapping is this value's alone and belongs to no thread.
unsafe impl<T: Send> Send for Ring<T> {}

/// Both ends of a ring of `size` entries, in memory that has no socket.
#[cfg(test)]
pub(super) fn pair<T: FromBytes + IntoBytes + Copy>(size: u32) -> (Producer<T>, Consumer<T>) {
    use std::os::fd::AsFd;

    let memory = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC);
    let memory = std::fs::File::from(memory.expect("there is memory"));
    let offsets = Offsets { producer: 0, consumer: 64, entries: 128, flags: 192 };
    memory.set_len(offsets.entries + u64::from(size) * size_of::<T>() as u64).expect("it grows");
    let place = Place { page_offset: 0, offsets, size };
    let producer = Producer::map(memory.as_fd(), place).expect("it can be mapped");
    (producer, Consumer::map(memory.as_fd(), place).expect("it can be mapped"))
}

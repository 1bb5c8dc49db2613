//! Packets that own their bytes: what waits for a neighbour, and what we originate.
//!
//! All buffers are made at start. A pool that is empty refuses; it never allocates.

use crate::{Offload, Packet};

/// A frame in a buffer of a [`BufferPool`].
#[derive(Debug)]
pub struct OwnedPacket {
    buffer: Box<[u8]>,
    len: usize,
    /// As for [`Packet::offload`].
    pub offload: Offload,
}

impl OwnedPacket {
    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The frame, to be edited in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }

    /// The frame as a [`Packet`], without headroom, for transmitting.
    pub fn as_packet(&mut self) -> Packet<'_> {
        Packet::new(&mut self.buffer, 0, self.len, self.offload)
    }
}

/// A bounded store of buffers in two sizes: most packets that wait are small, a few are 64 KB
/// super-packets.
#[derive(Debug)]
pub struct BufferPool {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

impl BufferPool {
    /// A pool of `small` buffers of [`SMALL_BUFFER`] bytes and `large` ones of [`LARGE_BUFFER`].
    #[must_use]
    pub fn new(small: usize, large: usize) -> Self {
        let buffers = |count, size| (0..count).map(|_| vec![0; size].into_boxed_slice()).collect();
        Self { small: buffers(small, SMALL_BUFFER), large: buffers(large, LARGE_BUFFER) }
    }

    /// A packet of `len` bytes whose content is whatever the buffer held before. `None` when no
    /// buffer of that size is free.
    pub fn take(&mut self, len: usize) -> Option<OwnedPacket> {
        let store = match len {
            0..=SMALL_BUFFER => &mut self.small,
            _ if len <= LARGE_BUFFER => &mut self.large,
            _ => return None,
        };
        store.pop().map(|buffer| OwnedPacket { buffer, len, offload: Offload::NONE })
    }

    /// A copy of `packet`. `None` when no buffer of its size is free.
    pub fn copy(&mut self, packet: &Packet<'_>) -> Option<OwnedPacket> {
        let mut owned = self.take(packet.len())?;
        owned.bytes_mut().copy_from_slice(packet.bytes());
        owned.offload = packet.offload;
        Some(owned)
    }

    /// Takes a packet's buffer back.
    pub fn give_back(&mut self, packet: OwnedPacket) {
        match packet.buffer.len() {
            SMALL_BUFFER => self.small.push(packet.buffer),
            _ => self.large.push(packet.buffer),
        }
    }

    /// Free buffers, small and large; what a test compares to prove that none was lost.
    #[must_use]
    pub fn free(&self) -> (usize, usize) {
        (self.small.len(), self.large.len())
    }
}

/// Bytes of a small buffer: a full Ethernet frame of 1,500 bytes and more.
pub const SMALL_BUFFER: usize = 2048;

/// Bytes of a large buffer: a 64 KB super-packet with its headers.
pub const LARGE_BUFFER: usize = 66_112;

#[cfg(test)]
mod tests {
    use super::{BufferPool, LARGE_BUFFER, SMALL_BUFFER};
    use crate::{Offload, Packet};

    #[test]
    fn copies_and_takes_back() {
        let mut pool = BufferPool::new(1, 1);
        let mut frame = [7; 60];
        let packet = Packet::new(&mut frame, 0, 60, Offload::partial_checksum(34, 6));
        let copy = pool.copy(&packet).expect("one buffer is free");
        assert_eq!((copy.bytes(), copy.offload), (packet.bytes(), packet.offload));
        assert!(pool.take(60).is_none(), "small packets do not eat the large buffers");
        pool.give_back(copy);
        assert_eq!(pool.free(), (1, 1));
    }

    #[test]
    fn sizes_have_their_own_buffers_and_a_limit() {
        let mut pool = BufferPool::new(1, 1);
        let large = pool.take(SMALL_BUFFER + 1).expect("one large buffer is free");
        assert!(pool.take(LARGE_BUFFER).is_none());
        pool.give_back(large);
        assert!(pool.take(LARGE_BUFFER).is_some());
        assert!(pool.take(LARGE_BUFFER + 1).is_none());
    }
}

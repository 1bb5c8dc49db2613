//! One packet: a window in a buffer, with room in front of it.

use crate::Offload;

/// Bytes that a port leaves free in front of every frame it receives: enough for a longer IP header
/// (NAT64 adds 20) and a VLAN tag (4).
pub const HEADROOM: usize = 40;

/// A frame in a borrowed buffer, with its offload metadata.
#[derive(Debug)]
pub struct Packet<'b> {
    buffer: &'b mut [u8],
    start: u32,
    len: u32,
    /// What the port said about the packet beside its bytes.
    pub offload: Offload,
}

impl<'b> Packet<'b> {
    /// The `len` bytes of `buffer` from `start` on.
    ///
    /// # Panics
    /// When the window does not lie in the buffer: a port made it, so that is a bug of the port.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'b mut [u8], start: usize, len: usize, offload: Offload) -> Self {
        assert!(
            start <= buffer.len()
                && len <= buffer.len() - start
                && u32::try_from(buffer.len()).is_ok(),
            "a port gives windows that lie in their buffer"
        );
        Self { buffer, start: start as u32, len: len as u32, offload }
    }

    /// The frame, from its Ethernet header on.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start as usize..][..self.len as usize]
    }

    /// The frame, to be edited in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start as usize..][..self.len as usize]
    }

    /// Where the frame starts: to begin loading it.
    #[inline]
    #[must_use]
    pub const fn start(&self) -> *const u8 {
        self.buffer.as_ptr().wrapping_add(self.start as usize)
    }

    /// Length of the frame in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True for a frame without a byte.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Free bytes in front of the frame.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// What lies in front of the frame: as the port left it, or as whoever moved the frame did.
    #[inline]
    #[must_use]
    pub fn front(&self) -> &[u8] {
        &self.buffer[..self.start as usize]
    }

    /// Cuts the frame to its first `len` bytes; does nothing when it is not longer.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len as usize {
            self.len = len as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Packet;
    use crate::Offload;

    #[test]
    fn is_a_window_in_its_buffer() {
        let mut buffer = [0, 1, 2, 3, 4, 5];
        let mut packet = Packet::new(&mut buffer, 2, 3, Offload::NONE);
        assert_eq!((packet.bytes(), packet.headroom()), (&[2, 3, 4][..], 2));
        assert_eq!(packet.front(), [0, 1]);
        packet.bytes_mut()[0] = 9;
        packet.truncate(4);
        assert_eq!(packet.len(), 3);
        packet.truncate(1);
        assert_eq!(packet.bytes(), [9]);
        assert_eq!(buffer, [0, 1, 9, 3, 4, 5]);
    }

    #[test]
    #[should_panic(expected = "lie in their buffer")]
    fn a_window_outside_its_buffer_is_refused() {
        let _ = Packet::new(&mut [0; 4], 2, 3, Offload::NONE);
    }
}

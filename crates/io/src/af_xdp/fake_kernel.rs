//! The other end of the rings, as the kernel treats it (`net/xdp/xsk.c`): frames that are filled, packets that
//! are taken apart and put together.

use std::sync::Arc;

use super::FRONT;
use super::ring::{Consumer, Descriptor, Producer, pair};
use super::umem::Umem;

/// What receives, as the kernel sees it.
pub(super) struct Receiving {
    umem: Arc<Umem>,
    fill: Consumer<u64>,
    received: Producer<Descriptor>,
    /// Taken from the ring and not filled yet.
    frames: Vec<u64>,
}

/// What sends, as the kernel sees it.
pub(super) struct Sending {
    umem: Arc<Umem>,
    send: Consumer<Descriptor>,
    sent: Producer<u64>,
    /// Of the packet under way, with where they lie.
    pieces: Vec<(Descriptor, Vec<u8>)>,
}

/// A packet as the kernel would send it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    pub(super) pieces: usize,
    /// Of the first piece, but for that it goes on.
    pub(super) options: u32,
}

impl Receiving {
    /// With rings of `size` entries; the other ends of them.
    pub(super) fn new(
        umem: &Arc<Umem>,
        size: u32,
    ) -> (Self, (Producer<u64>, Consumer<Descriptor>)) {
        let ((fill, fill_end), (received, received_end)) = (pair(2 * size), pair(size));
        let umem = Arc::clone(umem);
        (Self { umem, fill: fill_end, received, frames: Vec::new() }, (fill, received_end))
    }

    /// Whether there are so many frames and entries. What does not find them is lost as a whole.
    pub(super) fn has_room(&mut self, count: usize) -> bool {
        self.frames.extend(std::iter::from_fn(|| self.fill.take()));
        self.fill.release();
        self.frames.len() >= count && self.received.room() as usize >= count
    }

    /// A packet comes, in pieces of at most `most` bytes, if there is room. Nobody sees it before
    /// [`Self::show`].
    pub(super) fn packet(&mut self, bytes: &[u8], most: usize) -> bool {
        let count = bytes.len().div_ceil(most);
        let has_room = self.has_room(count);
        for (at, piece) in (1..).zip(bytes.chunks(most)).take(if has_room { count } else { 0 }) {
            self.piece(piece, at < count);
        }
        has_room
    }

    /// A piece of a packet comes.
    pub(super) fn piece(&mut self, bytes: &[u8], goes_on: bool) {
        assert!(self.has_room(1), "there is none for the piece");
        let base = self.frames.pop().expect("there is one");
        let mut frame = self.umem.take_back(base).expect("it was given");
        self.umem.bytes(&mut frame)[FRONT..][..bytes.len()].copy_from_slice(bytes);
        self.descriptor(self.umem.give(frame) | (FRONT as u64) << 48, bytes.len(), goes_on);
    }

    /// Any descriptor.
    pub(super) fn descriptor(&mut self, address: u64, len: usize, goes_on: bool) {
        let options = if goes_on { libc::XDP_PKT_CONTD } else { 0 };
        assert!(self.received.push(Descriptor { address, len: len as u32, options }));
    }

    pub(super) fn show(&mut self) {
        self.received.submit();
    }

    /// How many frames wait to be filled.
    pub(super) fn frames(&mut self) -> usize {
        self.has_room(0);
        self.frames.len()
    }
}

impl Sending {
    /// With rings of `size` entries; the other ends of them.
    pub(super) fn new(
        umem: &Arc<Umem>,
        size: u32,
    ) -> (Self, (Producer<Descriptor>, Consumer<u64>)) {
        let ((send, send_end), (sent, sent_end)) = (pair(size), pair(size));
        let sending = Self { umem: Arc::clone(umem), send: send_end, sent, pieces: Vec::new() };
        (sending, (send, sent_end))
    }

    /// Takes at most `most` descriptors, as a call does whose budget ends there; what left. Their frames are
    /// given back at once.
    pub(super) fn send(&mut self, most: usize) -> Vec<Sent> {
        let mut packets = Vec::new();
        for _ in 0..most {
            let Some(descriptor) = self.send.take() else { break };
            let mut frame = self.umem.take_back(descriptor.address).expect("it was given");
            let start = descriptor.address as usize % super::CHUNK;
            assert!(start >= super::METADATA && descriptor.len > 0, "the kernel would not take it");
            let bytes = self.umem.bytes(&mut frame)[start..][..descriptor.len as usize].to_vec();
            let _ = self.umem.give(frame);
            self.pieces.push((descriptor, bytes));
            if descriptor.goes_on() {
                assert!(
                    self.pieces.len() < super::pieces::MOST_PIECES,
                    "it would be taken for two"
                );
                continue;
            }
            for (descriptor, _) in &self.pieces {
                assert!(self.sent.push(descriptor.address));
            }
            let options = self.pieces[0].0.options & !libc::XDP_PKT_CONTD;
            let pieces = self.pieces.len();
            let bytes = self.pieces.drain(..).flat_map(|(_, bytes)| bytes).collect();
            packets.push(Sent { bytes, pieces, options });
        }
        self.send.release();
        self.sent.submit();
        packets
    }
}

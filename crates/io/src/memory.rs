//! Ports made of memory, for tests and simulations: what goes into a [`Sender`] comes out of its
//! [`Receiver`], in order, with its offload metadata. Bounded; what does not fit is counted.
//!
//! A test that drives a worker makes two [`pipe`]s and keeps one end of each; two workers are
//! joined by a [`cable`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};

use mooring_packet::owned::LARGE_BUFFER;
use mooring_packet::{Batch, HEADROOM, Offload, Packet, Receive, Received, Transmit, Transmitted};

/// A one-way wire that holds at most `capacity` frames.
#[must_use]
pub fn pipe(capacity: usize) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::sync_channel(capacity);
    let lost = Arc::new(AtomicU64::new(0));
    (
        Sender { frames: sender, lost: Arc::clone(&lost) },
        Receiver { frames: receiver, lost, buffers: Vec::new() },
    )
}

/// Two ports joined by a wire that holds at most `capacity` frames in each direction.
#[must_use]
pub fn cable(capacity: usize) -> [(Receiver, Sender); 2] {
    let (to_right, from_left) = pipe(capacity);
    let (to_left, from_right) = pipe(capacity);
    [(from_right, to_right), (from_left, to_left)]
}

/// A frame on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// As for [`Packet::offload`].
    pub offload: Offload,
}

/// The end of a wire that frames go into.
#[derive(Debug)]
pub struct Sender {
    frames: SyncSender<Frame>,
    lost: Arc<AtomicU64>,
}

impl Sender {
    /// Puts a frame on the wire. False, and counted as lost, when the wire is full or its other end
    /// is gone.
    pub fn push(&self, frame: Frame) -> bool {
        let taken = self.frames.try_send(frame).is_ok();
        if !taken {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl Transmit for Sender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        for packet in packets {
            if self.push(Frame { bytes: packet.bytes().to_vec(), offload: packet.offload }) {
                done.packets += 1;
                done.bytes += packet.len() as u64;
            } else {
                done.refused += 1;
            }
        }
        done
    }
}

/// The end of a wire that frames come out of.
#[derive(Debug)]
pub struct Receiver {
    frames: mpsc::Receiver<Frame>,
    lost: Arc<AtomicU64>,
    /// The frames lent to the last batch, each with its headroom.
    buffers: Vec<Vec<u8>>,
}

impl Receiver {
    /// The next frame, if one is waiting.
    #[must_use]
    pub fn take(&self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }
}

impl Receive for Receiver {
    /// A sender that is gone is "nothing is waiting", as an unplugged cable.
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut offloads = Vec::new();
        self.buffers.clear();
        while self.buffers.len() < batch.room()
            && let Ok(frame) = self.frames.try_recv()
        {
            if frame.bytes.len() > MAX_FRAME {
                received.truncated += 1;
                continue;
            }
            let mut buffer = vec![0; HEADROOM];
            buffer.extend_from_slice(&frame.bytes);
            self.buffers.push(buffer);
            offloads.push(frame.offload);
        }
        for (buffer, offload) in self.buffers.iter_mut().zip(offloads) {
            let len = buffer.len() - HEADROOM;
            batch
                .push(Packet::new(buffer, HEADROOM, len, offload))
                .expect("no more frames were taken than the batch has room for");
            received.packets += 1;
            received.bytes += len as u64;
        }
        Ok(received)
    }

    fn lost(&mut self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Bytes of the longest frame that a port hands over; the same as AF_PACKET's.
const MAX_FRAME: usize = LARGE_BUFFER - HEADROOM;

#[cfg(test)]
mod tests {
    use mooring_packet::{Batch, HEADROOM, Offload, Receive, Transmit};

    use super::{Frame, MAX_FRAME, cable, pipe};

    fn frame(bytes: &[u8]) -> Frame {
        Frame { bytes: bytes.to_vec(), offload: Offload::partial_checksum(34, 6) }
    }

    #[test]
    fn a_frame_crosses_with_its_metadata_and_headroom() {
        let (test, mut port) = pipe(4);
        assert!(test.push(frame(&[1, 2, 3])));
        let mut batch = Batch::new();
        let received = port.receive(&mut batch).expect("memory has no errors");
        assert_eq!((received.packets, received.bytes, received.truncated), (1, 3, 0));
        let packet = &batch.packets()[0];
        assert_eq!((packet.bytes(), packet.headroom()), (&[1, 2, 3][..], HEADROOM));
        assert_eq!(packet.offload, Offload::partial_checksum(34, 6));
    }

    #[test]
    fn a_full_wire_refuses_and_the_receiver_knows() {
        let (mut sender, mut receiver) = pipe(1);
        let mut bytes = [7; 60];
        let packet = mooring_packet::Packet::new(&mut bytes, 0, 60, Offload::NONE);
        let done = sender.transmit([&packet, &packet, &packet].into_iter());
        assert_eq!((done.packets, done.bytes, done.refused), (1, 60, 2));
        assert_eq!(receiver.lost(), 2);
        assert_eq!(receiver.take().map(|frame| frame.bytes), Some(vec![7; 60]));
        assert_eq!(receiver.take(), None);
    }

    #[test]
    fn a_frame_longer_than_a_buffer_is_truncated() {
        let (test, mut port) = pipe(2);
        assert!(test.push(frame(&vec![0; MAX_FRAME + 1])));
        assert!(test.push(frame(&vec![0; MAX_FRAME])));
        let received = port.receive(&mut Batch::new()).expect("memory has no errors");
        assert_eq!((received.packets, received.truncated), (1, 1));
    }

    #[test]
    fn both_ends_of_a_cable_talk() {
        let [(left_in, left_out), (right_in, right_out)] = cable(1);
        assert!(left_out.push(frame(&[1])) && right_out.push(frame(&[2])));
        assert_eq!(right_in.take(), Some(frame(&[1])));
        assert_eq!(left_in.take(), Some(frame(&[2])));
    }

    #[test]
    fn what_does_not_fit_in_the_batch_waits() {
        let (test, mut port) = pipe(mooring_packet::BATCH_CAPACITY + 1);
        for _ in 0..=mooring_packet::BATCH_CAPACITY {
            assert!(test.push(frame(&[1])));
        }
        let first = port.receive(&mut Batch::new()).expect("memory has no errors");
        assert_eq!(first.packets, mooring_packet::BATCH_CAPACITY as u64);
        assert_eq!(port.receive(&mut Batch::new()).expect("memory has no errors").packets, 1);
    }
}

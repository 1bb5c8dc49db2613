//! The two halves of a queue: one system call a frame, the kernel's metadata in front of it if there is any.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use arrayvec::ArrayVec;
use mooring_packet::owned::LARGE_BUFFER;
use mooring_packet::{Batch, HEADROOM, Offload, Packet, Receive, Received, Transmit, Transmitted};
use zerocopy::{FromBytes, IntoBytes};

use super::device::HEADER_LEN;
use crate::coalesce::{Coalescer, WINDOW};
use crate::link::TransmitDrops;

/// Receives what the kernel sends out of the device.
pub struct Receiver {
    queue: Arc<File>,
    /// The kernel counts for the whole device: only the first queue tells of it.
    drops: Option<TransmitDrops>,
    /// The metadata of a frame lies in the headroom, right in front of it.
    slots: Box<[u8]>,
    /// Bytes of it.
    front: usize,
}

/// Sends into the device: the kernel receives it.
pub struct Sender {
    way: Way,
    coalescer: Option<Coalescer>,
}

/// The way into the kernel.
struct Way {
    queue: Arc<File>,
    /// Whether it takes metadata in front of every frame.
    metadata: bool,
}

impl Sender {
    /// Joins packets of one flow that leave together into super-packets from now on, or no longer. Without metadata
    /// there are no super-packets, and nothing is joined.
    pub fn set_coalescing(&mut self, coalescing: bool) {
        self.coalescer = (coalescing && self.way.metadata).then(Coalescer::new);
    }
}

/// Of a queue whose frames have `metadata` in front, or none.
pub(super) fn halves(
    queue: File,
    drops: Option<TransmitDrops>,
    metadata: bool,
) -> (Receiver, Sender) {
    let queue = Arc::new(queue);
    let slots = vec![0; SLOTS * SLOT].into_boxed_slice();
    let front = if metadata { HEADER_LEN } else { 0 };
    let receiver = Receiver { queue: Arc::clone(&queue), drops, slots, front };
    (receiver, Sender { way: Way { queue, metadata }, coalescer: None })
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let room = batch.room();
        for slot in self.slots.chunks_exact_mut(SLOT).take(room) {
            let length = match (&*self.queue).read(&mut slot[HEADROOM - self.front..]) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Set down: nothing comes until it is set up again.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) => return Err(error),
            };
            let offload = match &slot[HEADROOM - self.front..HEADROOM] {
                [] => Ok(Offload::NONE),
                header => Offload::read_from_bytes(header),
            };
            let (Ok(offload), Some(frame)) = (offload, length.checked_sub(self.front)) else {
                received.truncated += 1;
                continue;
            };
            received.packets += 1;
            received.bytes += frame as u64;
            if batch.push(Packet::new(slot, HEADROOM, frame, offload)).is_err() {
                break;
            }
        }
        Ok(received)
    }

    /// What the kernel could not queue for any reader of the device; told by the first, 0 by others.
    fn lost(&mut self) -> u64 {
        self.drops.as_mut().map_or(0, TransmitDrops::read)
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.queue.as_raw_fd()
    }
}

impl Transmit for Sender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let Some(coalescer) = &mut self.coalescer else {
            return self.way.write_each(packets);
        };
        let mut done = Transmitted::default();
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let window: ArrayVec<_, WINDOW> = packets.by_ref().take(WINDOW).collect();
            for message in coalescer.arrange(&window) {
                if self.way.write(message.offload(), message.parts()) {
                    message.sent(&mut done);
                } else if message.len() > 1 {
                    // The device may take its packets one by one.
                    done += self.way.write_each(message.packets());
                } else {
                    done.refused += 1;
                }
            }
        }
        done
    }
}

impl Way {
    /// Writes each packet as it is.
    fn write_each<'p, 'b: 'p>(&self, packets: impl Iterator<Item = &'p Packet<'b>>) -> Transmitted {
        let mut done = Transmitted::default();
        for packet in packets {
            if self.write(&packet.offload, std::iter::once(packet.bytes())) {
                done.packets += 1;
                done.bytes += packet.len() as u64;
            } else {
                done.refused += 1;
            }
        }
        done
    }

    /// Writes one frame, given in parts. A device takes a whole frame or none: it is set down, or gone, or the frame
    /// is not what its metadata says.
    fn write<'p>(&self, offload: &'p Offload, parts: impl Iterator<Item = &'p [u8]>) -> bool {
        let metadata = self.metadata.then(|| offload.as_bytes());
        let parts = metadata.into_iter().chain(parts);
        let frame: ArrayVec<_, { 2 + WINDOW }> = parts.map(IoSlice::new).collect();
        let Ok(written) = (&*self.queue).write_vectored(&frame) else { return false };
        debug_assert_eq!(written, frame.iter().map(|part| part.len()).sum::<usize>());
        true
    }
}

/// Frames read at a time: enough that a batch pays, few enough that their memory stays warm.
const SLOTS: usize = 64;

/// Bytes of a slot: an odd multiple of a cache line, so that slots do not share cache sets.
const SLOT: usize = LARGE_BUFFER;

const _: () = assert!(HEADER_LEN == size_of::<Offload>());
const _: () =
    assert!(SLOT >= HEADROOM + 65_535 + 14 && SLOT.is_multiple_of(64) && (SLOT / 64) % 2 == 1);

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::thread;

    use etherparse::PacketBuilder;
    use mooring_packet::{Offload, Packet, Transmit, Transmitted};
    use rustix::net::sockopt::set_socket_send_buffer_size;

    use super::halves;

    /// What becomes of five packets of one flow on their way into a device that has room for so many bytes, and
    /// how long the frames are that it got.
    fn joined(room: usize) -> (Transmitted, Vec<usize>) {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
        let end = ours.try_clone().expect("a second handle");
        set_socket_send_buffer_size(&ours, room).expect("the kernel takes or raises it");
        let (_, mut sender) = halves(File::from(OwnedFd::from(ours)), None, true);
        sender.set_coalescing(true);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 10_000];
            let read = std::iter::repeat_with(|| theirs.recv(&mut bytes).unwrap_or(0));
            read.take_while(|len| *len > 0).collect()
        });
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = builder.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 60).udp(4_000, 53);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[7; 1_200]).expect("a vector takes it");
        // It must not be fragmented, so that all may have one identification.
        assert_eq!(bytes[20] & 0x40, 0x40);
        let mut frames = vec![bytes; 5];
        let packets: Vec<Packet<'_>> = frames
            .iter_mut()
            .map(|frame| {
                let len = frame.len();
                Packet::new(frame, 0, len, Offload::verified())
            })
            .collect();
        let done = sender.transmit(packets.iter());
        // Nobody has sent so short a frame: the reader ends.
        end.send(&[]).expect("there is a reader");
        (done, reader.join().expect("the reader does not panic"))
    }

    #[test]
    fn a_device_that_refuses_a_super_packet_gets_its_packets() {
        let (done, frames) = joined(100_000);
        assert_eq!((done.packets, done.coalesced, done.super_packets), (5, 5, 1));
        assert_eq!(frames, [10 + 42 + 5 * 1_200]);
        // The least that the kernel gives is some 4.6 KB.
        let (done, frames) = joined(0);
        assert_eq!((done.packets, done.coalesced, done.refused), (5, 0, 0));
        assert_eq!(done.bytes, 5 * 1_242);
        assert_eq!(frames, [10 + 1_242; 5]);
    }
}

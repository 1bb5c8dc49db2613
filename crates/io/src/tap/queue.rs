//! The two halves of a queue: one system call a frame, the kernel's metadata in front of it.

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
}

/// Sends into the device: the kernel receives it.
pub struct Sender {
    queue: Arc<File>,
    coalescer: Option<Coalescer>,
}

impl Sender {
    /// Joins packets of one flow that leave together into super-packets from now on, or no longer.
    pub fn set_coalescing(&mut self, coalescing: bool) {
        self.coalescer = coalescing.then(Coalescer::new);
    }
}

pub(super) fn halves(queue: File, drops: Option<TransmitDrops>) -> (Receiver, Sender) {
    let queue = Arc::new(queue);
    let slots = vec![0; SLOTS * SLOT].into_boxed_slice();
    (Receiver { queue: Arc::clone(&queue), drops, slots }, Sender { queue, coalescer: None })
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let room = batch.room();
        for slot in self.slots.chunks_exact_mut(SLOT).take(room) {
            let length = match (&*self.queue).read(&mut slot[HEADROOM - HEADER_LEN..]) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Set down: nothing comes until it is set up again.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) => return Err(error),
            };
            let header = &slot[HEADROOM - HEADER_LEN..HEADROOM];
            let (Ok(offload), Some(frame)) =
                (Offload::read_from_bytes(header), length.checked_sub(HEADER_LEN))
            else {
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
        let mut done = Transmitted::default();
        let Some(coalescer) = &mut self.coalescer else {
            for packet in packets {
                let taken = write(&self.queue, &packet.offload, [packet.bytes()].into_iter());
                done.packets += u64::from(taken);
                done.bytes += if taken { packet.len() as u64 } else { 0 };
                done.refused += u64::from(!taken);
            }
            return done;
        };
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let window: ArrayVec<_, WINDOW> = packets.by_ref().take(WINDOW).collect();
            for message in coalescer.arrange(&window) {
                if write(&self.queue, message.offload(), message.parts()) {
                    message.sent(&mut done);
                } else {
                    done.refused += message.len() as u64;
                }
            }
        }
        done
    }
}

/// Writes one frame, given in parts. A device takes a whole frame or none: one that is set down, or gone, or
/// thinks the frame is not what its metadata says.
fn write<'p>(
    mut queue: &File,
    offload: &'p Offload,
    parts: impl Iterator<Item = &'p [u8]>,
) -> bool {
    let parts = std::iter::once(offload.as_bytes()).chain(parts);
    let frame: ArrayVec<_, { 2 + WINDOW }> = parts.map(IoSlice::new).collect();
    let written = queue.write_vectored(&frame);
    debug_assert!(
        written.as_ref().is_ok_and(|written| {
            *written == frame.iter().map(|part| part.len()).sum::<usize>()
        }) || written.is_err()
    );
    written.is_ok()
}

/// Frames read at a time: enough that a batch pays, few enough that their memory stays warm.
const SLOTS: usize = 64;

/// Bytes of a slot: an odd multiple of a cache line, so that slots do not share cache sets.
const SLOT: usize = LARGE_BUFFER;

const _: () = assert!(HEADER_LEN == size_of::<Offload>());
const _: () =
    assert!(SLOT >= HEADROOM + 65_535 + 14 && SLOT.is_multiple_of(64) && (SLOT / 64) % 2 == 1);

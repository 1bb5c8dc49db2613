//! The receiving half: what the steering program takes from the kernel lies in frames of our own, whatever it
//! leaves to the kernel comes by a packet socket. A packet that is longer than a frame is put together
//! ([`super::pieces`]), and its frames go back at once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use mooring_packet::{BATCH_CAPACITY, Batch, HEADROOM, Offload, Packet, Receive, Received};
use rustix::event::epoll;
use zerocopy::IntoBytes;

use super::pieces::{self, LONG_PACKETS, LongPackets, Progress};
use super::ring::{Consumer, Descriptor, Producer};
use super::socket::XdpSocket;
use super::umem::{Frame, Umem};
use super::{METADATA, SendMetadata, Steering, unfinished};
use crate::af_packet;

/// Receives the frames of a device.
pub struct Receiver {
    /// Before the sockets: without it nothing is brought to them.
    _steering: Arc<Steering>,
    queues: Vec<Queue>,
    beside: af_packet::Receiver,
    /// Tells whether any of the sockets has something.
    ready: OwnedFd,
    /// Whose turn it is to come first, so that neither starves the other.
    beside_first: bool,
}

/// A queue of the device: its socket and the frames that go round there.
pub(super) struct Queue {
    socket: Arc<XdpSocket>,
    umem: Arc<Umem>,
    fill: Producer<u64>,
    received: Consumer<Descriptor>,
    /// What the last batch borrows, in order of arrival.
    lent: Vec<Lent>,
    long: LongPackets,
    /// What the kernel has still to send, in order, or has no room for.
    sending: VecDeque<Frame>,
}

/// A packet of a batch.
enum Lent {
    /// In a frame, and where it lies there.
    Frame(Frame, Descriptor),
    /// In the next buffer for long packets; its bytes.
    Long(usize),
}

impl Queue {
    /// The kernel may fill `frames` from now on.
    pub(super) fn new(
        socket: &Arc<XdpSocket>,
        umem: &Arc<Umem>,
        (fill, received): (Producer<u64>, Consumer<Descriptor>),
        frames: Vec<Frame>,
    ) -> Self {
        let (socket, umem) = (Arc::clone(socket), Arc::clone(umem));
        let (lent, sending) =
            (Vec::with_capacity(BATCH_CAPACITY), VecDeque::with_capacity(frames.len()));
        let long = LongPackets::new(if socket.is_multi_buffer() { LONG_PACKETS } else { 0 });
        let mut queue = Self { socket, umem, fill, received, lent, long, sending };
        queue.sending.extend(frames);
        queue.give_back();
        queue
    }

    /// Gives back what the last batch has borrowed, unless it is to be sent from where it lies.
    fn give_back(&mut self) {
        while let Some(frame) = self.sending.pop_front() {
            if let Err(frame) = self.refill(frame) {
                self.sending.push_front(frame);
                break;
            }
        }
        while let Some(lent) = self.lent.pop() {
            if let Lent::Frame(frame, _) = lent
                && let Err(frame) = self.refill(frame)
            {
                self.sending.push_back(frame);
            }
        }
        self.long.take_back();
        self.fill.submit();
    }

    /// The kernel may fill a frame again, if it has not to send it before.
    fn refill(&mut self, frame: Frame) -> Result<(), Frame> {
        // The ring has twice the room: the kernel shows what it has received before it shows that it has taken
        // the frames for that (`xsk_flush`).
        if self.umem.is_sending(&frame) || self.fill.room() == 0 {
            return Err(frame);
        }
        self.fill.push(self.umem.give(frame));
        Ok(())
    }

    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>, received: &mut Received) {
        let room = batch.room();
        while self.lent.len() < room
            && let Some(descriptor) = self.received.take()
        {
            // The kernel says the address that it was given, and in the upper bits how far behind it began.
            let frame = self.umem.take_back(descriptor.address & BASE);
            if descriptor.goes_on() || self.long.is_under_way() {
                if self.take_piece(frame, descriptor, received) {
                    continue;
                }
                break;
            }
            match frame {
                Some(frame) => self.lent.push(Lent::Frame(frame, descriptor)),
                None => received.truncated += 1,
            }
        }
        self.received.release();
        let mut long = self.long.whole();
        for lent in &mut self.lent {
            let packet = match lent {
                Lent::Frame(frame, descriptor) => packet(self.umem.bytes(frame), *descriptor),
                Lent::Long(len) => long.next().map(|buffer| long_packet(buffer, *len)),
            };
            let Some(packet) = packet else {
                received.truncated += 1;
                continue;
            };
            received.packets += 1;
            received.bytes += packet.len() as u64;
            batch.push(packet).expect("no more packets were taken than the batch has room for");
        }
    }

    /// Takes a piece of a long packet out of its frame, which may be filled again. False when there is no
    /// buffer for another long packet in this batch.
    #[cold]
    fn take_piece(
        &mut self,
        frame: Option<Frame>,
        descriptor: Descriptor,
        received: &mut Received,
    ) -> bool {
        let progress = match frame {
            Some(mut frame) => {
                let piece = piece(self.umem.bytes(&mut frame), descriptor);
                let progress = self.long.add(piece, descriptor.goes_on());
                if let Err(frame) = self.refill(frame) {
                    self.sending.push_back(frame);
                }
                self.fill.submit();
                progress
            }
            None => self.long.add(None, descriptor.goes_on()),
        };
        match progress {
            Progress::GoesOn => return true,
            Progress::Whole(len) => self.lent.push(Lent::Long(len)),
            Progress::Lost => received.truncated += 1,
        }
        self.long.has_room()
    }
}

/// The packet in a frame. What is left of its checksum is written in front of it, where the kernel looks when
/// the packet leaves from here.
fn packet(memory: &mut [u8], descriptor: Descriptor) -> Option<Packet<'_>> {
    let (start, len) = ((descriptor.address >> BASE_BITS) as usize, descriptor.len as usize);
    let bytes = memory.get(start..start.checked_add(len)?)?;
    if start < HEADROOM + METADATA {
        return None;
    }
    let offload = unfinished::offload(bytes);
    if offload != Offload::NONE {
        let metadata = SendMetadata::of(offload);
        memory[start - METADATA..start].copy_from_slice(metadata.as_bytes());
    }
    Some(Packet::new(memory, start, len, offload))
}

/// The piece of a packet that lies in a frame.
fn piece(memory: &[u8], descriptor: Descriptor) -> Option<&[u8]> {
    let (start, len) = ((descriptor.address >> BASE_BITS) as usize, descriptor.len as usize);
    memory.get(start..start.checked_add(len)?)
}

/// The packet of `len` bytes that was put together in a buffer.
fn long_packet(buffer: &mut [u8], len: usize) -> Packet<'_> {
    let offload = unfinished::offload(&buffer[pieces::START..][..len]);
    Packet::new(buffer, pieces::START, len, offload)
}

impl Receiver {
    pub(super) fn new(
        steering: Arc<Steering>,
        queues: Vec<Queue>,
        beside: af_packet::Receiver,
    ) -> io::Result<Self> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let fds = queues.iter().map(|queue| queue.socket.as_fd()).chain([beside.as_fd()]);
        for (at, fd) in (0..).zip(fds) {
            let data = epoll::EventData::new_u64(at);
            epoll::add(&ready, fd, data, epoll::EventFlags::IN)?;
        }
        Ok(Self { _steering: steering, queues, beside, ready, beside_first: false })
    }

    /// As for a packet socket.
    ///
    /// # Errors
    /// The operating system's.
    pub fn buffer_bytes(&self) -> io::Result<usize> {
        self.beside.buffer_bytes()
    }
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let Self { queues, beside, beside_first, .. } = self;
        *beside_first = !*beside_first;
        let mut beside = Some(beside);
        if *beside_first && let Some(beside) = beside.take() {
            add(&mut received, beside.receive(batch)?);
        }
        for queue in queues {
            queue.give_back();
            queue.receive(batch, &mut received);
        }
        if let Some(beside) = beside {
            add(&mut received, beside.receive(batch)?);
        }
        Ok(received)
    }

    fn lost(&mut self) -> u64 {
        let sockets = self.queues.iter().filter_map(|queue| queue.socket.statistics().ok());
        let lost: u64 = sockets.map(|counted| counted.dropped + counted.ring_full).sum();
        lost + self.beside.lost()
    }
}

fn add(total: &mut Received, more: Received) {
    total.packets += more.packets;
    total.bytes += more.bytes;
    total.truncated += more.truncated;
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.ready.as_raw_fd()
    }
}

/// `XSK_UNALIGNED_BUF_OFFSET_SHIFT` and `..._ADDR_MASK` (linux/if_xdp.h).
const BASE_BITS: u32 = 48;
const BASE: u64 = (1 << BASE_BITS) - 1;

#[cfg(test)]
mod tests;

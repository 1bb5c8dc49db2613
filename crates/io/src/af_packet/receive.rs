//! The receiving half: ordinary frames in place in the [`Ring`], without a system call; frames that are
//! longer than a slot (super-packets) are fetched whole, by one recvmmsg a call.
//!
//! The kernel queues such a frame before it shows the slot with its beginning, both in one order. So
//! slots give the order of all frames, and a slot that says "copied" stands for the next of the queue.
//!
//! Where the kernel has refused the ring it queues all frames, and all are fetched.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use mooring_packet::owned::LARGE_BUFFER;
use mooring_packet::{Batch, HEADROOM, Offload, Packet, Receive, Received};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::bare;
use super::refused::Refused;
use super::ring::{NO_RING, Ring, Slot, tag};
use super::socket::{Messages, Metadata, PacketSocket};
use crate::link::Link;

/// Receives all Ethernet frames that arrive at a device.
///
/// A device that goes down is "nothing is waiting" until it is up again; one that is deleted breaks
/// the port (ENODEV), at the latest after `EMPTY_CALLS` calls that bring nothing.
pub struct Receiver {
    /// Before the socket, whose memory it maps.
    ring: Option<Ring>,
    /// There is none, and there will be none: the kernel queues every frame.
    queued: bool,
    socket: PacketSocket,
    /// Keeps other instances off the device as long as it is open.
    _claim: Arc<UnixListener>,
    messages: Messages,
    metadata: Box<[Metadata]>,
    /// For frames that do not fit in a slot, or for all: [`COPIES`] times [`STRIDE`] bytes.
    copies: Box<[CacheLine]>,
    /// Bytes of the device's longest IP packet when it was opened.
    mtu: usize,
    lost: u64,
    /// Calls in a row that brought nothing.
    empty: u32,
}

impl Receiver {
    /// A receiver that is bound to the device but refuses every frame until [`Self::begin`]. What the kernel has
    /// refused and it does without, it writes down.
    pub(super) fn open(
        link: &Link,
        claim: Arc<UnixListener>,
        refused: &mut Refused,
    ) -> io::Result<Self> {
        let socket = PacketSocket::open(refused)?;
        socket.ignore_outgoing()?;
        // More than net.core.rmem_max needs CAP_NET_ADMIN; without it take what is allowed.
        set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER))?;
        let ring = match socket.prepare_ring().and_then(|()| Ring::new(&socket)) {
            Ok(ring) => Some(ring),
            Err(error) => {
                refused.ring.get_or_insert(error);
                socket.tell_all()?;
                None
            }
        };
        socket.drop_all()?;
        socket.bind(link.index, libc::ETH_P_ALL as u16)?;
        Ok(Self {
            queued: ring.is_none(),
            ring,
            socket,
            _claim: claim,
            messages: Messages::new(COPIES),
            metadata: vec![Metadata::default(); COPIES].into(),
            copies: vec![CacheLine::UNTOUCHED; COPIES * STRIDE / CACHE_LINE].into(),
            mtu: link.mtu as usize,
            lost: 0,
            empty: 0,
        })
    }

    /// Shares the device's frames with the other members of `group`, or of a new group; returns it.
    pub(super) fn fan_out(&self, group: Option<u16>) -> io::Result<u16> {
        self.socket.fan_out(group)
    }

    /// What shares the frames out among the members of the group.
    pub(super) fn fan_out_handle(&self) -> io::Result<PacketSocket> {
        self.socket.try_clone()
    }

    /// Takes frames from now on.
    pub(super) fn begin(&self) -> io::Result<()> {
        self.socket.accept_all()
    }

    /// Bytes that the kernel may hold for this socket in frames that are in no slot, its bookkeeping
    /// included: about 70,000 a super-packet. Small (about 400 KB) without CAP_NET_ADMIN unless
    /// `net.core.rmem_max` was raised.
    ///
    /// # Errors
    /// The operating system's.
    pub fn buffer_bytes(&self) -> io::Result<usize> {
        // The kernel doubles what is asked for and says the double.
        Ok(socket_recv_buffer_size(&self.socket)?)
    }

    /// Looks after the port when it has brought nothing for a while: is the device still there, and
    /// does the ring still turn?
    ///
    /// Linux (to 6.18 at least) never frees the slot of a super-packet that a `virtio_net_hdr` cannot
    /// say (of SCTP): from then on every frame is lost. Frames lost while the ring was empty all the
    /// time show that; a new ring heals it.
    fn look_after(&mut self) -> io::Result<()> {
        if !self.socket.has_device() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let lost = self.socket.take_drops().unwrap_or(0);
        self.lost += lost;
        if lost > 0 && self.empty > EMPTY_CALLS && !self.queued {
            self.renew_ring()?;
        }
        Ok(())
    }

    /// Makes the ring anew; what waits in it is lost.
    fn renew_ring(&mut self) -> io::Result<()> {
        self.ring = None;
        self.socket.set_ring(&NO_RING)?;
        self.ring = Some(Ring::new(&self.socket)?);
        self.empty = 0;
        Ok(())
    }

    /// A call that brings nothing.
    fn bring_nothing(&mut self) -> io::Result<Received> {
        self.empty = self.empty.saturating_add(1);
        if self.empty.is_multiple_of(EMPTY_CALLS) {
            self.look_after()?;
        }
        Ok(Received::default())
    }

    /// Fetches the whole of `count` frames that did not fit in their slots.
    fn fetch_copies(&mut self, count: usize) -> io::Result<()> {
        let mut error = None;
        for _ in 0..ATTEMPTS {
            match self.fetch(count) {
                Ok(fetched) if fetched == count => return Ok(()),
                Ok(_) => break,
                // An interruption, or a change of the device, which is said once.
                Err(said) => error = Some(said),
            }
        }
        Err(error.unwrap_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof)))
    }

    /// Fetches at most `count` frames of the queue; says how many.
    fn fetch(&mut self, count: usize) -> io::Result<usize> {
        let frames = self.copies.as_mut_bytes().chunks_exact_mut(STRIDE);
        let frames = frames.map(|frame| &mut frame[FRAME_START..]);
        self.socket.receive(&mut self.messages, frames, &mut self.metadata[..count])
    }

    /// Receives what is queued, where all is.
    fn receive_queued<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let fetched = match self.fetch(batch.room().min(COPIES)) {
            Ok(fetched) => fetched,
            // Nothing waits, or a change of the device, which is said once.
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted, _)
                | (_, Some(libc::ENETDOWN)) => 0,
                _ => return Err(error),
            },
        };
        if fetched == 0 {
            return self.bring_nothing();
        }
        self.empty = 0;
        let whole = self.socket.has_metadata();
        let frames = self.copies.as_mut_bytes().chunks_exact_mut(STRIDE);
        for (memory, metadata) in frames.zip(&self.metadata[..fetched]) {
            // Of which nothing is told is not known to be whole.
            let told = metadata.told.checked().filter(|_| !metadata.truncated);
            let found = told.map(|told| Found {
                memory,
                start: FRAME_START,
                len: metadata.len,
                offload: whole.then_some(metadata.offload),
                status: told.status,
                tag: tag(told.status, told.tag_type, told.tag),
            });
            take(found.and_then(|found| found.packet(self.mtu)), batch, &mut received);
        }
        Ok(received)
    }
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        if self.queued {
            return self.receive_queued(batch);
        }
        let mut received = Received::default();
        let Some(ring) = &mut self.ring else {
            // The last attempt to make one has failed.
            return self.renew_ring().map(|()| received);
        };
        ring.give_back();
        let ready = ring.ready(batch.room(), COPIES);
        if ready.frames == 0 {
            return self.bring_nothing();
        }
        self.empty = 0;
        if ready.copies > 0 && self.fetch_copies(ready.copies).is_err() {
            // Slots and queue no longer agree: begin with both empty.
            received.truncated = ready.frames as u64;
            return self.renew_ring().map(|()| received);
        }
        let mut copies =
            self.copies.as_mut_bytes().chunks_exact_mut(STRIDE).zip(&self.metadata[..ready.copies]);
        let ring = self.ring.as_mut().expect("it was there above");
        for slot in ring.lend(ready.frames) {
            let copy = if slot.copied { copies.next() } else { None };
            let packet = Found::of(slot, copy).and_then(|found| found.packet(self.mtu));
            take(packet, batch, &mut received);
        }
        Ok(received)
    }

    fn lost(&mut self) -> u64 {
        // The kernel forgets what it has told; when it tells nothing, nothing is added.
        self.lost += self.socket.take_drops().unwrap_or(0);
        self.lost
    }
}

/// Appends a packet to the batch, and counts it; `None` is a frame that could not be read.
fn take<'b>(packet: Option<Packet<'b>>, batch: &mut Batch<'b>, received: &mut Received) {
    let Some(packet) = packet else {
        received.truncated += 1;
        return;
    };
    received.packets += 1;
    received.bytes += packet.len() as u64;
    batch.push(packet).expect("no more frames are taken than the batch has room for");
}

/// A whole frame, and what the kernel says of it.
struct Found<'b> {
    memory: &'b mut [u8],
    start: usize,
    len: usize,
    /// Checksum and super-packet metadata, if the kernel has put any in front.
    offload: Option<Offload>,
    /// `TP_STATUS_*`
    status: u32,
    /// The VLAN tag that was taken off, as on the wire.
    tag: Option<[u8; 4]>,
}

impl<'b> Found<'b> {
    /// The frame of a slot, or its whole copy; `None` when neither holds all of it.
    fn of(slot: Slot<'b>, copy: Option<(&'b mut [u8], &Metadata)>) -> Option<Self> {
        let Slot { memory, start, captured, len, offload, status, tag, .. } = slot;
        match copy {
            Some((memory, copy)) if !copy.truncated && copy.len == len => {
                let offload = offload.map(|_| copy.offload);
                Some(Self { memory, start: FRAME_START, len, offload, status, tag })
            }
            None if captured == len => Some(Self { memory, start, len, offload, status, tag }),
            _ => None,
        }
    }

    /// The packet of it; `None` when it cannot be told what is left to do for it.
    fn packet(self, mtu: usize) -> Option<Packet<'b>> {
        let Self { memory, mut start, mut len, .. } = self;
        let mut offload = match self.offload {
            Some(offload) => offload,
            None => bare::offload(&memory[start..start + len], self.status, mtu)?,
        };
        if let Some(tag) = self.tag {
            // Back to where it was on the wire, behind the two Ethernet addresses.
            if len < ADDRESSES {
                return None;
            }
            start -= tag.len();
            len += tag.len();
            memory.copy_within(start + tag.len()..start + tag.len() + ADDRESSES, start);
            memory[start + ADDRESSES..][..tag.len()].copy_from_slice(&tag);
            offload = offload.shifted(tag.len() as i16);
        }
        Some(Packet::new(memory, start, len, offload))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

/// Memory that begins where a cache line does.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct CacheLine([u8; CACHE_LINE]);

impl CacheLine {
    /// Not zero, so that the pages are really there before the first packet needs them.
    const UNTOUCHED: Self = Self([0xa5; CACHE_LINE]);
}

const CACHE_LINE: usize = 64;

/// Most frames of one call that do not fit in a slot, or that come without any. More save nothing: a copy of 64 KB
/// takes longer than a system call.
const COPIES: usize = 64;

/// Calls without a frame after which the port is looked after: a few system calls.
const EMPTY_CALLS: u32 = 64;

/// Times that a fetch is tried.
const ATTEMPTS: u32 = 4;

/// The two Ethernet addresses.
const ADDRESSES: usize = 12;

/// Bytes from frame to frame: a 64 KB super-packet with room in front, and an odd number of cache
/// lines, so that the headers of the frames do not compete for the same sets of the cache.
const STRIDE: usize = LARGE_BUFFER;

/// Where a frame begins in its memory: at a cache line, so that the headers of an IPv4 packet, up to
/// its TCP checksum, are one line.
const FRAME_START: usize = 64;

/// Bytes asked of the kernel, which doubles them for its bookkeeping: 240 super-packets (12 ms at
/// 10 Gb/s), or some 20,000 small packets without a ring. Frames in slots do not count.
const BUFFER: usize = 8 << 20;

const _: () = {
    assert!(FRAME_START >= HEADROOM + 4);
    assert!(STRIDE >= FRAME_START + 14 + 65_535, "an Ethernet header and the longest IP packet");
    assert!(STRIDE.is_multiple_of(CACHE_LINE) && !STRIDE.is_multiple_of(2 * CACHE_LINE));
};

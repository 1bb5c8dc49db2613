//! The receiving half: one recvmmsg a call into frames made at start.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;

use mooring_packet::owned::LARGE_BUFFER;
use mooring_packet::{Batch, HEADROOM, Packet, Receive, Received};
use mooring_wire::Mac;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::socket::{Messages, Metadata, PacketSocket};

/// Receives all Ethernet frames that arrive at a device.
///
/// A device that goes down is "nothing is waiting" until it is up again; one that is deleted breaks
/// the port (ENODEV).
pub struct Receiver {
    socket: PacketSocket,
    device: u32,
    /// Keeps other instances off the device as long as it is open.
    _claim: UnixListener,
    messages: Messages,
    metadata: Box<[Metadata]>,
    /// [`FRAMES`] times [`STRIDE`] bytes.
    frames: Box<[CacheLine]>,
    lost: u64,
    tagged: u64,
    down: bool,
}

impl Receiver {
    pub(super) fn open(device: u32, claim: UnixListener) -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        socket.ignore_outgoing()?;
        socket.request_auxiliary_data()?;
        // More than net.core.rmem_max needs CAP_NET_ADMIN; without it take what is allowed.
        set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER))?;
        socket.drop_all()?;
        socket.bind(device, libc::ETH_P_ALL as u16)?;
        let mut receiver = Self {
            socket,
            device,
            _claim: claim,
            messages: Messages::new(FRAMES),
            metadata: vec![Metadata::default(); FRAMES].into(),
            frames: vec![CacheLine::UNTOUCHED; FRAMES * STRIDE / CACHE_LINE].into(),
            lost: 0,
            tagged: 0,
            down: false,
        };
        while receiver.fill(FRAMES)? > 0 {}
        receiver.socket.accept_all()?;
        Ok(receiver)
    }

    /// Receives frames of a multicast group (such as [`Mac::solicited_node`]) as long as the port is
    /// open. Joining twice is harmless.
    ///
    /// # Errors
    /// The operating system's, when the device is gone.
    pub fn join(&self, group: Mac) -> io::Result<()> {
        self.socket.join(self.device, group)
    }

    /// Bytes that the kernel may hold for this socket, its bookkeeping included: about 770 a small
    /// packet, 70,000 a super-packet. Small (about 400 KB) without CAP_NET_ADMIN unless
    /// `net.core.rmem_max` was raised.
    ///
    /// # Errors
    /// The operating system's.
    pub fn buffer_bytes(&self) -> io::Result<usize> {
        // The kernel doubles what is asked for and says the double.
        Ok(socket_recv_buffer_size(&self.socket)?)
    }

    /// Frames dropped since the start because they had a VLAN tag, which this backend does not carry
    /// yet. They are in [`Received::truncated`] as well, so that no frame goes unseen.
    #[must_use]
    pub const fn tagged(&self) -> u64 {
        self.tagged
    }

    /// Fills at most `limit` frames.
    fn fill(&mut self, limit: usize) -> io::Result<usize> {
        let frames = self.frames.as_mut_bytes().chunks_exact_mut(STRIDE);
        let frames = frames.map(|frame| &mut frame[FRAME_START..]);
        let limit = limit.min(FRAMES);
        match self.socket.receive(&mut self.messages, frames, &mut self.metadata[..limit]) {
            Ok(filled) => {
                self.down = false;
                Ok(filled)
            }
            Err(error) => self.nothing_or(error),
        }
    }

    /// Zero frames when `error` is a state of the device or of the queue, else the error itself.
    fn nothing_or(&mut self, error: io::Error) -> io::Result<usize> {
        match error.raw_os_error() {
            // Said once; frames come again when the device is up.
            Some(libc::ENETDOWN) => self.down = true,
            Some(libc::EAGAIN | libc::EINTR) => {}
            _ => return Err(error),
        }
        if self.down && !self.socket.has_device() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(0)
    }
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let filled = match self.fill(batch.room()) {
            // The frame that the kernel just dropped is a super-packet of a kind that a
            // virtio_net_hdr cannot say (of a tunnel, or of SCTP).
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                received.truncated = 1;
                0
            }
            filled => filled?,
        };
        let frames = self.frames.as_mut_bytes().chunks_exact_mut(STRIDE);
        for (frame, metadata) in frames.zip(&self.metadata[..filled]) {
            if metadata.truncated || metadata.tagged {
                self.tagged += u64::from(metadata.tagged);
                received.truncated += 1;
                continue;
            }
            batch
                .push(Packet::new(frame, FRAME_START, metadata.len, metadata.offload))
                .expect("no more frames were filled than the batch has room for");
            received.packets += 1;
            received.bytes += metadata.len as u64;
        }
        Ok(received)
    }

    fn lost(&mut self) -> u64 {
        // The kernel forgets what it has told; when it tells nothing, nothing is added.
        self.lost += self.socket.take_drops().unwrap_or(0);
        self.lost
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

/// Most frames of one call. More save nothing (the kernel's work a packet is the same), and an empty
/// call of 256 takes microseconds to prepare.
const FRAMES: usize = 64;

/// Bytes from frame to frame: a 64 KB super-packet with room in front, and an odd number of cache
/// lines, so that the headers of the frames do not compete for the same sets of the cache.
const STRIDE: usize = LARGE_BUFFER;

/// Where a frame begins in its memory: at a cache line, so that the headers of an IPv4 packet, up to
/// its TCP checksum, are one line.
const FRAME_START: usize = 64;

/// Bytes asked of the kernel, which doubles them for its bookkeeping: 21,000 small packets (50 ms at
/// 0.4 Mpps) or 240 super-packets (12 ms at 10 Gb/s).
const BUFFER: usize = 8 << 20;

const _: () = {
    assert!(FRAME_START >= HEADROOM);
    assert!(STRIDE >= FRAME_START + 14 + 65_535, "an Ethernet header and the longest IP packet");
    assert!(STRIDE.is_multiple_of(CACHE_LINE) && !STRIDE.is_multiple_of(2 * CACHE_LINE));
};

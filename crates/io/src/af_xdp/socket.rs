//! The AF_XDP socket: the one door to libc of this backend, but for BPF.
//!
//! Its safe functions keep this invariant: pointers given to the kernel are made anew for every call from
//! borrows that last until the call returns, with one exception. The memory of the frames the kernel keeps;
//! it is reached through [`super::umem`] only, which knows whose every frame is.
#![allow(unsafe_code, reason = "the one file of the AF_XDP socket")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::ring::{Consumer, Descriptor, Offsets, Place, Producer};
use super::umem::Umem;
use super::{CHUNK, METADATA};

/// A socket of one queue of a device.
#[derive(Debug)]
pub(super) struct XdpSocket {
    fd: OwnedFd,
    /// Whether a packet may take several frames.
    multi_buffer: bool,
    /// What the kernel reads and writes must not go away before the socket.
    _umem: Arc<Umem>,
}

/// The rings of a socket.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) fill: Producer<u64>,
    pub(super) received: Consumer<Descriptor>,
    pub(super) send: Producer<Descriptor>,
    pub(super) sent: Consumer<u64>,
}

/// What a socket is bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) device: u32,
    pub(super) number: u32,
}

impl XdpSocket {
    /// A socket for `queue` with frames in `umem`, which `first` has told the kernel of; without one this is
    /// the first. Nothing arrives before a program says so.
    pub(super) fn open(
        umem: &Arc<Umem>,
        first: Option<&Self>,
        queue: Queue,
    ) -> io::Result<(Self, Rings)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)?;
        let mut socket = Self { fd, multi_buffer: false, _umem: Arc::clone(umem) };
        if first.is_none() {
            socket.register(umem)?;
        }
        // More than net.core.wmem_max needs CAP_NET_ADMIN; without it take what is allowed.
        set_socket_send_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_send_buffer_size(&socket, BUFFER))?;
        // Since Linux 6.17; before it a call sends 32.
        let _ = socket.set(XDP_MAX_TX_SKB_BUDGET, &256_u32);
        let rings = socket.make_rings()?;
        socket.multi_buffer = socket.bind(first, queue)?;
        Ok((socket, rings))
    }

    /// Whether a packet may take several frames.
    pub(super) fn is_multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// Has the kernel send what waits in the ring. `Ok` when all is sent.
    pub(super) fn kick(&self) -> io::Result<()> {
        // SAFETY: no memory is passed.
        let sent =
            unsafe { libc::sendto(self.raw(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What the kernel counts, since the socket was made.
    pub(super) fn statistics(&self) -> io::Result<Statistics> {
        let mut statistics = Statistics::default();
        self.read(libc::XDP_STATISTICS, &mut statistics)?;
        Ok(statistics)
    }

    /// Whether the driver writes frames itself, without the kernel copying.
    pub(super) fn is_zero_copy(&self) -> io::Result<bool> {
        let mut options = 0_u32;
        self.read(libc::XDP_OPTIONS, &mut options)?;
        Ok(options & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    fn register(&self, umem: &Umem) -> io::Result<()> {
        let (address, len) = umem.range();
        let flags = libc::XDP_UMEM_UNALIGNED_CHUNK_FLAG | libc::XDP_UMEM_TX_METADATA_LEN;
        let chunk_size = CHUNK as u32;
        let tx_metadata_len = METADATA as u32;
        let request =
            Registration { address, len, chunk_size, headroom: 0, flags, tx_metadata_len };
        self.set(libc::XDP_UMEM_REG, &request)
    }

    fn make_rings(&self) -> io::Result<Rings> {
        for (option, size) in [
            (libc::XDP_UMEM_FILL_RING, FILL_RING),
            (libc::XDP_UMEM_COMPLETION_RING, SEND_RING),
            (libc::XDP_RX_RING, RECEIVE_RING),
            (libc::XDP_TX_RING, SEND_RING),
        ] {
            self.set(option, &size)?;
        }
        let mut offsets = [Offsets::default(); 4];
        self.read(libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        let [received, send, fill, sent] = offsets;
        let place = |page_offset, offsets, size| Place { page_offset, offsets, size };
        let fill_at = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let sent_at = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let fd = self.fd.as_fd();
        Ok(Rings {
            fill: Producer::map(fd, place(fill_at, fill, FILL_RING))?,
            received: Consumer::map(fd, place(libc::XDP_PGOFF_RX_RING, received, RECEIVE_RING))?,
            send: Producer::map(fd, place(libc::XDP_PGOFF_TX_RING, send, SEND_RING))?,
            sent: Consumer::map(fd, place(sent_at, sent, SEND_RING))?,
        })
    }

    /// Binds the socket; whether a packet may take several frames (since Linux 6.6).
    fn bind(&self, first: Option<&Self>, queue: Queue) -> io::Result<bool> {
        // A shared memory has the mode of its first socket.
        if let Some(first) = first {
            self.bind_as(libc::XDP_SHARED_UMEM, queue, first.raw().cast_unsigned())?;
            return Ok(first.multi_buffer);
        }
        match self.bind_as(libc::XDP_COPY | libc::XDP_USE_SG, queue, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.bind_as(libc::XDP_COPY, queue, 0).map(|()| false)
            }
            bound => bound.map(|()| true),
        }
    }

    fn bind_as(&self, flags: u16, queue: Queue, shared: u32) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: queue.device,
            sxdp_queue_id: queue.number,
            sxdp_shared_umem_fd: shared,
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: `address` is a whole sockaddr_xdp of `len` bytes and outlives the call.
        let status = unsafe { libc::bind(self.raw(), (&raw const address).cast(), len) };
        check(status)
    }

    /// Reads an option, made of plain numbers, into `value`.
    fn read<T: FromBytes + IntoBytes>(&self, name: libc::c_int, value: &mut T) -> io::Result<()> {
        let mut len = size_of::<T>() as libc::socklen_t;
        let into = value.as_mut_bytes().as_mut_ptr().cast();
        // SAFETY: the kernel writes at most `len` bytes, and `value` has as many, for which any bytes are a
        // value; both outlive the call and are read only after it.
        let status =
            unsafe { libc::getsockopt(self.raw(), libc::SOL_XDP, name, into, &raw mut len) };
        check(status)
    }

    /// Sets an option to a plain C value.
    fn set<T: IntoBytes + Immutable>(&self, name: libc::c_int, value: &T) -> io::Result<()> {
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is `len` readable bytes that outlive the call. The one pointer in it, to the frames,
        // leads to memory that lives as long as this socket, and that is nobody's to borrow while it is the
        // kernel's to write.
        let status = unsafe {
            libc::setsockopt(self.raw(), libc::SOL_XDP, name, ptr::from_ref(value).cast(), len)
        };
        check(status)
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
impl XdpSocket {
    /// One of no family that could be AF_XDP, for tests without a kernel: what is asked of it fails.
    pub(super) fn of_nothing(umem: &Arc<Umem>, multi_buffer: bool) -> Self {
        let file = std::fs::File::open("/dev/null").expect("every system has it");
        Self { fd: file.into(), multi_buffer, _umem: Arc::clone(umem) }
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many receive queues a device has in use; one where the driver does not say.
pub(super) fn queues(device: &str) -> u32 {
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    // SAFETY: an ifreq is bytes and numbers, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = device.as_bytes().iter().take(libc::IFNAMSIZ - 1);
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    let Ok(socket) =
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
    else {
        return 1;
    };
    // SAFETY: the request names a device and points to a whole `ethtool_channels`, which the kernel fills;
    // both outlive the call and are read only after it.
    let status =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if status != 0 {
        return 1;
    }
    (channels.receive + channels.combined).max(1)
}

/// What became of packets, as the kernel counts (`struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Statistics {
    /// Lost for other reasons than a full ring: no free frame, or longer than one.
    pub(super) dropped: u64,
    invalid_received: u64,
    /// Not sent: the kernel did not like the descriptor.
    pub(super) invalid_sent: u64,
    /// Lost because the receive ring was full.
    pub(super) ring_full: u64,
    /// Times that there was no free frame.
    pub(super) no_frame: u64,
    nothing_to_send: u64,
}

/// `struct xdp_umem_reg`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Registration {
    address: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// `struct ethtool_channels`.
#[derive(Default)]
#[repr(C)]
struct Channels {
    command: u32,
    most: [u32; 4],
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Entries of the ring that receives: 10 ms of small packets at 0.4 Mpps.
pub(super) const RECEIVE_RING: u32 = 4096;

/// Entries of the ring of frames to fill: see `refill`.
const FILL_RING: u32 = 2 * RECEIVE_RING;

/// Entries of the rings that send.
pub(super) const SEND_RING: u32 = 2048;

/// Bytes in flight in the driver.
const BUFFER: usize = 8 << 20;

/// linux/if_xdp.h
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// linux/ethtool.h
const ETHTOOL_GCHANNELS: u32 = 0x3c;

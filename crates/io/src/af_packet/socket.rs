//! The packet socket: the one door to libc of this backend.
//!
//! Its safe functions keep this invariant: pointers given to the kernel are made anew for every call
//! from borrows that last until the call returns, and the kernel keeps none of them. So nobody holds
//! a reference to memory while the kernel writes it, and pointers left over in a [`Messages`] are
//! never followed.
#![allow(unsafe_code, reason = "the one file of the packet socket")]

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use mooring_packet::Offload;
use mooring_wire::Mac;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use zerocopy::{FromBytes, IntoBytes};

use super::refused::Refused;
use crate::coalesce::Message;

/// A raw packet socket that never blocks and carries an [`Offload`] in front of every frame, if the kernel does.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
    metadata: bool,
}

/// Frames for others than the device itself and everybody.
#[derive(Clone, Copy, Debug)]
pub(super) enum Membership {
    /// Those for a multicast group.
    Group(Mac),
    /// Those for every multicast group.
    All,
}

impl PacketSocket {
    /// A socket that is bound to nothing yet and so receives nothing. Where the kernel puts no metadata in front of
    /// frames, `refused` says why.
    pub(super) fn open(refused: &mut Refused) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        let mut socket = Self { fd, metadata: true };
        if let Err(error) = socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1) {
            socket.metadata = false;
            refused.metadata.get_or_insert(error);
        }
        Ok(socket)
    }

    /// Whether an [`Offload`] is in front of every frame.
    pub(super) const fn has_metadata(&self) -> bool {
        self.metadata
    }

    /// Sees the frames that others bring to the device, not those that leave through it.
    pub(super) fn ignore_outgoing(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
    }

    /// Asks for slots of TPACKET_V2, and for frames that do not fit in one to be queued whole. A frame lies where it
    /// would if there were metadata in front of it.
    pub(super) fn prepare_ring(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2)?;
        if !self.metadata {
            let free = size_of::<Offload>() as libc::c_uint;
            self.set(libc::SOL_PACKET, libc::PACKET_RESERVE, &free)?;
        }
        self.set(libc::SOL_PACKET, libc::PACKET_COPY_THRESH, &1)
    }

    /// Has the kernel say of each frame that is fetched what it says of one in a slot ([`Told`]).
    pub(super) fn tell_all(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)
    }

    /// Makes the receive ring, or takes it away when `request` asks for no blocks; what waits is lost.
    pub(super) fn set_ring(&self, request: &libc::tpacket_req) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, request)
    }

    /// Makes the ring to send by; its slots are of TPACKET_V2.
    pub(super) fn set_send_ring(&self, request: &libc::tpacket_req) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2)?;
        self.set(libc::SOL_PACKET, libc::PACKET_TX_RING, request)
    }

    /// Has the kernel send what waits in the ring.
    pub(super) fn kick(&self) -> io::Result<()> {
        // SAFETY: no memory is passed.
        let sent =
            unsafe { libc::sendto(self.raw(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Joins the fan-out group `group`, or a new one: of the sockets in a group one, chosen by a program
    /// ([`Self::share_out`]; until there is one, the first), gets a frame. The socket must be bound. Returns the
    /// group.
    ///
    /// Fragments are not rebuilt (no PACKET_FANOUT_FLAG_DEFRAG).
    pub(super) fn fan_out(&self, group: Option<u16>) -> io::Result<u16> {
        let unique = if group.is_none() { PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
        let mode = (libc::PACKET_FANOUT_CBPF | unique) << 16;
        let request = u32::from(group.unwrap_or(0)) | mode;
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &request)?;
        let mut joined = 0_u32;
        self.read(libc::PACKET_FANOUT, &mut joined)?;
        Ok(joined as u16)
    }

    /// Gives the group of this socket another program, which says of every frame which of the sockets, in
    /// the order in which they have joined, gets it. The kernel refuses what is no program (EINVAL).
    pub(super) fn share_out(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // The kernel copies it and writes nothing.
        let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)
    }

    /// Another handle of the same socket.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, ..*self })
    }

    /// Hands frames to the driver directly, or no longer: no queueing discipline, no capture on this device; and
    /// super-packets only if the device cuts them itself.
    pub(super) fn bypass_queueing(&self, bypass: bool) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &libc::c_int::from(bypass))
    }

    /// Refuses every frame until [`Self::accept_all`].
    pub(super) fn drop_all(&self) -> io::Result<()> {
        let mut program =
            [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Takes the filter of [`Self::drop_all`] away.
    pub(super) fn accept_all(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)
    }

    /// Binds to a device and to an Ethernet protocol; 0 receives nothing.
    pub(super) fn bind(&self, device: u32, protocol: u16) -> io::Result<()> {
        let mut address = link_layer_address();
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = device.cast_signed();
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a whole sockaddr_ll of `len` bytes and outlives the call.
        let status = unsafe { libc::bind(self.raw(), (&raw const address).cast(), len) };
        check(status)
    }

    /// True while the device that the socket is bound to exists.
    pub(super) fn has_device(&self) -> bool {
        let mut address = link_layer_address();
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, and `address` has as many; both outlive the
        // call and are read only after it.
        let status =
            unsafe { libc::getsockname(self.raw(), (&raw mut address).cast(), &raw mut len) };
        // The kernel sets the number to -1 when the device goes.
        status == 0 && address.sll_ifindex > 0
    }

    /// Joins or leaves. What was joined is left when the socket is closed.
    pub(super) fn change(&self, device: u32, membership: Membership, join: bool) -> io::Result<()> {
        let (kind, address) = match membership {
            Membership::Group(group) => (libc::PACKET_MR_MULTICAST, group),
            Membership::All => (libc::PACKET_MR_ALLMULTI, Mac::ZERO),
        };
        let mut request = libc::packet_mreq {
            mr_ifindex: device.cast_signed(),
            mr_type: kind as libc::c_ushort,
            mr_alen: 6,
            mr_address: [0; 8],
        };
        request.mr_address[..6].copy_from_slice(&address.0);
        let option = if join { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
        self.set(libc::SOL_PACKET, option, &request)
    }

    /// Frames lost for want of buffer since the last time this was asked.
    pub(super) fn take_drops(&self) -> io::Result<u64> {
        let mut statistics = Statistics::default();
        self.read(libc::PACKET_STATISTICS, &mut statistics)?;
        Ok(u64::from(statistics.drops))
    }

    /// Fills `frames`, as many as have metadata and messages, with what is waiting; says how many.
    pub(super) fn receive<'f>(
        &self,
        messages: &mut Messages,
        frames: impl Iterator<Item = &'f mut [u8]>,
        metadata: &mut [Metadata],
    ) -> io::Result<usize> {
        let mut count = 0;
        let front = if self.metadata { size_of::<Offload>() } else { 0 };
        let slots = messages.headers.iter_mut().zip(messages.vectors.chunks_exact_mut(2));
        for (((header, vectors), metadata), frame) in slots.zip(&mut *metadata).zip(frames) {
            vectors[0] = vector(&mut metadata.offload.as_mut_bytes()[..front]);
            vectors[1] = vector(frame);
            header.msg_hdr.msg_iov = vectors.as_mut_ptr();
            header.msg_hdr.msg_iovlen = 2;
            metadata.told = Told::default();
            header.msg_hdr.msg_control = ptr::from_mut(&mut metadata.told).cast();
            header.msg_hdr.msg_controllen = size_of::<Told>() as _;
            count += 1;
        }
        // SAFETY: `count` headers are set up above. Each points to its two vectors, those to
        // memory of the lengths they say, and to a `Told`, for which any bytes are a value; all of it is
        // borrowed mutably until this function returns. Names are null and no time limit is given.
        let filled = unsafe {
            libc::recvmmsg(self.raw(), messages.headers.as_mut_ptr(), count, 0, ptr::null_mut())
        };
        let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
        for (header, metadata) in messages.headers.iter().zip(metadata).take(filled) {
            metadata.len = (header.msg_len as usize).saturating_sub(front);
            metadata.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        Ok(filled)
    }

    /// Sends what is `wanted`, until one message is refused; says how many were taken. An error is that of the
    /// first one.
    ///
    /// # Panics
    /// When they have more parts than there is room for.
    pub(super) fn send(
        &self,
        messages: &mut Messages,
        wanted: &[Message<'_, '_, '_>],
    ) -> io::Result<usize> {
        let mut count = 0;
        let mut free = &mut messages.vectors[..];
        for (header, message) in messages.headers.iter_mut().zip(wanted) {
            let mut used = 0;
            let metadata = self.metadata.then(|| message.offload().as_bytes());
            for part in metadata.into_iter().chain(message.parts()) {
                free[used] = constant_vector(part);
                used += 1;
            }
            let (vectors, rest) = free.split_at_mut(used);
            header.msg_hdr.msg_iov = vectors.as_mut_ptr();
            header.msg_hdr.msg_iovlen = used as _;
            free = rest;
            count += 1;
        }
        // SAFETY: `count` headers are set up above. Each points to its own vectors, those to memory
        // of the lengths they say, borrowed until this function returns; the kernel only reads it.
        // Name and control are null.
        let sent = unsafe { libc::sendmmsg(self.raw(), messages.headers.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Reads an option of the packet level, made of plain numbers, into `value`.
    fn read<T: FromBytes + IntoBytes>(&self, name: libc::c_int, value: &mut T) -> io::Result<()> {
        let mut len = size_of::<T>() as libc::socklen_t;
        let into = value.as_mut_bytes().as_mut_ptr().cast();
        // SAFETY: the kernel writes at most `len` bytes, and `value` has as many, for which any bytes
        // are a value; both outlive the call and are read only after it.
        let status =
            unsafe { libc::getsockopt(self.raw(), libc::SOL_PACKET, name, into, &raw mut len) };
        check(status)
    }

    /// Sets a socket option to a plain C value.
    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is `len` readable bytes that outlive the call. A pointer in it (that of a
        // filter program) is only read, by a copy that fails softly when it is wrong.
        let status =
            unsafe { libc::setsockopt(self.raw(), level, name, ptr::from_ref(value).cast(), len) };
        check(status)
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Room for the message headers of one system call, made once.
pub(super) struct Messages {
    headers: Box<[libc::mmsghdr]>,
    /// Of each message, the offload metadata and the frame, or its parts.
    vectors: Box<[libc::iovec]>,
}

impl Messages {
    /// Room for `count` messages of two parts, or for as many parts in fewer messages. Those that are used to receive
    /// are used for nothing else.
    pub(super) fn new(count: usize) -> Self {
        let empty = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: an mmsghdr is numbers and pointers, for all of which zero is a value.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        Self { headers: vec![header; count].into(), vectors: vec![empty; 2 * count].into() }
    }
}

// SAFETY: the pointers in it are followed by the kernel only, during a call that has made them anew.
unsafe impl Send for Messages {}

/// What the kernel says of one received frame.
#[derive(Clone, Default)]
pub(super) struct Metadata {
    /// Checksum and super-packet metadata, where there is any.
    pub(super) offload: Offload,
    /// The rest, of a socket that was asked for it.
    pub(super) told: Told,
    /// Bytes of the frame that were received.
    pub(super) len: usize,
    /// True when the frame was longer than its buffer.
    pub(super) truncated: bool,
}

/// A control message with a `struct tpacket_auxdata`, as [`PacketSocket::tell_all`] asks for; all zero without one.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Told {
    message_len: usize,
    level: libc::c_int,
    kind: libc::c_int,
    /// `TP_STATUS_*`.
    pub(super) status: u32,
    len: u32,
    captured: u32,
    mac: u16,
    net: u16,
    /// The VLAN tag that was taken off, in native byte order, and its type; the status says whether they hold.
    pub(super) tag: u16,
    pub(super) tag_type: u16,
    // The kernel fills a message up to a whole number of words.
    padding: u32,
}

impl Told {
    /// This, if it is such a message.
    pub(super) fn checked(&self) -> Option<Self> {
        let is_ours = (self.level, self.kind) == (libc::SOL_PACKET, libc::PACKET_AUXDATA);
        let is_whole = self.message_len >= size_of::<Self>() - size_of::<u32>();
        (is_ours && is_whole).then_some(*self)
    }
}

/// `struct tpacket_stats`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes)]
#[repr(C)]
struct Statistics {
    packets: u32,
    drops: u32,
}

/// A place for the kernel to write to.
fn vector(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

/// A place for the kernel to read from.
fn constant_vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// An empty address of the AF_PACKET family.
fn link_layer_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel choose a group that nobody uses (include/uapi/linux/if_packet.h).
const PACKET_FANOUT_FLAG_UNIQUEID: u32 = 0x2000;

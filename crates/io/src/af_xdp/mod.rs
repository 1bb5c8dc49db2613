//! A port on a kernel device by AF_XDP sockets: frames that are ours to carry come past the kernel's stack,
//! and leave past it.
//!
//! A program (`program.rs`) of ours on the device brings to the sockets what is for our addresses or sent through us;
//! everything else takes its way to the kernel, and to the packet socket that stands beside
//! ([`crate::af_packet`]): ARP, multicast, what is for the kernel itself. So no frame is lost to us that a
//! packet socket would have seen, and none that is ours to translate is seen by the kernel.
//!
//! The sockets of one worker share the memory of their frames: a packet leaves from where it came in. A frame
//! comes without a word about its checksum (`unfinished.rs`), and super-packets do not come: the program has
//! the other end of a veth pair cut them. A packet that is longer than a frame comes and leaves in several
//! (`pieces.rs`). See docs/decisions/0010-af-xdp.md.

pub(crate) mod assembler;
pub(crate) mod bpf;
mod error;
#[cfg(test)]
mod fake_kernel;
mod pieces;
mod program;
mod receive;
mod ring;
mod send;
mod socket;
mod steering;
mod umem;
mod unfinished;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;

use mooring_packet::Offload;
use zerocopy::{Immutable, IntoBytes};

use self::socket::{Queue, RECEIVE_RING, Rings, SEND_RING, XdpSocket};
use self::umem::{Frame, Umem};
use crate::af_packet;
use crate::link::Link;

pub use error::OpenError;
pub use receive::Receiver;
pub use send::Sender;
pub use steering::Steering;

/// A port on a device.
pub struct Port {
    /// Of each worker.
    pub halves: Vec<(Receiver, Sender)>,
    /// The device.
    pub link: Link,
    /// The program on it.
    pub steering: Arc<Steering>,
    /// What shares out the frames that the program passes, of the packet sockets beside.
    pub fan_out: Option<af_packet::FanOut>,
    /// Receive queues of the device, each with a socket.
    pub queues: u32,
    /// Whether the driver writes frames itself, without the kernel copying.
    pub zero_copy: bool,
    /// What the kernel has refused to the packet sockets beside. It says what the port carries: partial checksums by
    /// itself, super-packets by those sockets.
    pub refused: af_packet::Refused,
}

/// The memories of frames, one for each worker, that all its ports share.
pub struct Memories {
    all: Vec<Memory>,
}

/// The memory of one worker.
struct Memory {
    umem: Arc<Umem>,
    /// Those that no queue has yet.
    frames: Vec<Frame>,
    /// The socket that the kernel knows it by.
    first: Option<Arc<XdpSocket>>,
}

impl Memories {
    /// For ports on these devices, if there are any.
    ///
    /// # Errors
    /// When there is not so much memory.
    pub fn for_devices(devices: &[&str], workers: NonZeroU8) -> Result<Self, OpenError> {
        let queues: Vec<u32> = devices.iter().map(|device| socket::queues(device)).collect();
        let memory = |worker| {
            let sockets =
                queues.iter().map(|queues| share(*queues, workers, worker).count() as u32);
            let made = Umem::new(sockets.sum::<u32>() * (RECEIVE_RING + SEND_FRAMES));
            let (umem, frames) = made.map_err(OpenError::Memory)?;
            Ok(Memory { umem: Arc::new(umem), frames, first: None })
        };
        let workers = if devices.is_empty() { 0 } else { workers.get() };
        let all = (0..workers).map(memory).collect::<Result<_, OpenError>>()?;
        Ok(Self { all })
    }

    /// Opens a port on `device`, which must be set up, with halves for each worker. What is for one of the
    /// addresses in `kernel` is left to the kernel. The device is this port's alone as long as it lives.
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays open then, and the device can be opened by packet sockets.
    pub fn open(&mut self, device: &str, kernel: &[IpAddr]) -> Result<Port, OpenError> {
        let known = self.all.iter().map(|memory| memory.first.clone()).collect::<Vec<_>>();
        self.try_open(device, kernel).inspect_err(|_| {
            self.all.iter_mut().zip(known).for_each(|(memory, first)| memory.first = first);
        })
    }

    fn try_open(&mut self, device: &str, kernel: &[IpAddr]) -> Result<Port, OpenError> {
        let workers = NonZeroU8::new(self.all.len() as u8).expect("one for each worker");
        let link = Link::find(device)?.require_up()?;
        require_mtu(&link, true)?;
        // First of all: a device that another instance has is left alone.
        let af_packet::Opened { halves: beside, fan_out, refused, .. } =
            af_packet::open_group(device, workers)?;
        let queues = socket::queues(device);
        let mut opened = Vec::new();
        for number in 0..queues {
            let memory = &mut self.all[(number % u32::from(workers.get())) as usize];
            let queue = Queue { device: link.index, number };
            let queue = memory
                .open(queue)
                .map_err(|source| OpenError::of(device, "open a socket", source))?;
            opened.push(queue);
        }
        let sockets: Vec<&XdpSocket> = opened.iter().map(|queue| &*queue.socket).collect();
        require_mtu(&link, sockets.iter().all(|socket| socket.is_multi_buffer()))?;
        let zero_copy = sockets.iter().any(|socket| socket.is_zero_copy().unwrap_or(false));
        let kernel: BTreeSet<IpAddr> = kernel.iter().copied().collect();
        let steering = Arc::new(Steering::attach(&link, &sockets, &kernel)?);
        let mut ports: Vec<_> = beside.into_iter().map(|beside| (beside, Vec::new())).collect();
        for (at, queue) in opened.into_iter().enumerate() {
            ports[at % usize::from(workers.get())].1.push(queue);
        }
        let halves = ports.into_iter().map(|((receiver, sender), opened)| {
            let (receiving, sending) =
                opened.into_iter().map(Opened::halves).unzip::<_, _, Vec<_>, Vec<_>>();
            let receiver = Receiver::new(Arc::clone(&steering), receiving, receiver);
            let receiver =
                receiver.map_err(|source| OpenError::of(device, "watch the sockets", source))?;
            Ok((receiver, Sender::new(sending.into_iter().next(), sender)))
        });
        let halves = halves.collect::<Result<_, OpenError>>()?;
        Ok(Port { halves, link, steering, fan_out, queues, zero_copy, refused })
    }
}

/// Opens only a sending half on `device`, at its first queue, and leaves what arrives there to the kernel. The
/// device must be set up and no port be open on it; it is not claimed.
///
/// # Errors
/// [`OpenError`]; nothing stays open then.
pub fn open_sender(device: &str) -> Result<(Sender, Link), OpenError> {
    let (_, beside, link) = af_packet::open(device)?;
    require_mtu(&link, true)?;
    let mut memories = Memories::for_devices(&[device], NonZeroU8::MIN)?;
    let memory = memories.all.first_mut().expect("one for one worker");
    let opened = memory
        .open(Queue { device: link.index, number: 0 })
        .map_err(|source| OpenError::of(device, "open a socket", source))?;
    require_mtu(&link, opened.socket.is_multi_buffer())?;
    let (_, sending) = opened.halves();
    Ok((Sender::new(Some(sending), beside), link))
}

/// Packets of the device must fit: in a frame, or in as many as a packet may take.
fn require_mtu(link: &Link, multi_buffer: bool) -> Result<(), OpenError> {
    let longest = if multi_buffer { LONGEST_MTU } else { LONGEST_MTU_OF_A_FRAME } as u32;
    if link.mtu > longest {
        return Err(OpenError::TooLong { device: link.name.clone(), mtu: link.mtu, longest });
    }
    Ok(())
}

/// A socket with what it needs to receive and to send.
struct Opened {
    socket: Arc<XdpSocket>,
    umem: Arc<Umem>,
    rings: Rings,
    frames: Vec<Frame>,
}

impl Memory {
    fn open(&mut self, queue: Queue) -> std::io::Result<Opened> {
        let (socket, rings) = XdpSocket::open(&self.umem, self.first.as_deref(), queue)?;
        let socket = Arc::new(socket);
        self.first.get_or_insert_with(|| Arc::clone(&socket));
        let left = self.frames.len().saturating_sub((RECEIVE_RING + SEND_FRAMES) as usize);
        let frames = self.frames.split_off(left);
        Ok(Opened { socket, umem: Arc::clone(&self.umem), rings, frames })
    }
}

impl Opened {
    fn halves(self) -> (receive::Queue, send::Queue) {
        let Self { socket, umem, rings, mut frames } = self;
        let Rings { fill, received, send, sent } = rings;
        let own = frames.split_off(frames.len().saturating_sub(SEND_FRAMES as usize));
        let receiving = receive::Queue::new(&socket, &umem, (fill, received), frames);
        (receiving, send::Queue::new(&socket, &umem, (send, sent), own))
    }
}

/// The queues of a device that are a worker's: every worker of them in turn.
fn share(queues: u32, workers: NonZeroU8, worker: u8) -> impl Iterator<Item = u32> {
    (u32::from(worker)..queues).step_by(usize::from(workers.get()))
}

/// What the kernel reads in front of a packet that it is to complete (`struct xsk_tx_metadata`).
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct SendMetadata {
    flags: u64,
    checksum_start: u16,
    checksum_offset: u16,
    padding: u32,
    launch_time: u64,
}

impl SendMetadata {
    fn of(offload: Offload) -> Self {
        let zero =
            Self { flags: 0, checksum_start: 0, checksum_offset: 0, padding: 0, launch_time: 0 };
        offload.partial().map_or(zero, |partial| Self {
            flags: u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM),
            checksum_start: partial.start,
            checksum_offset: partial.offset,
            ..zero
        })
    }
}

/// Entries of the rings of each socket: received, and to be sent.
pub const RINGS: [u32; 2] = [RECEIVE_RING, SEND_RING];

/// Bytes from frame to frame, of which the kernel leaves 256 free in front: an odd number of cache lines, so
/// that the headers of neighbouring frames use different sets of the cache.
const CHUNK: usize = 33 * 64;

/// `XDP_PACKET_HEADROOM`
const FRONT: usize = 256;

/// What fits in a frame with its Ethernet header and a tag.
const LONGEST_MTU_OF_A_FRAME: usize = CHUNK - FRONT - 18;

/// What is put together of several.
const LONGEST_MTU: usize = pieces::LONG_PACKET - 18;

const METADATA: usize = size_of::<SendMetadata>();

/// Frames for packets that do not lie in one of the worker's.
const SEND_FRAMES: u32 = 512;

const _: () = assert!(LONGEST_MTU_OF_A_FRAME >= 1_500 && METADATA == 24);

//! The sending half: sendmmsg straight to the driver, never waiting for it.

use std::io;

use arrayvec::ArrayVec;
use mooring_packet::{Packet, Transmit, Transmitted};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};

use super::refused::Refused;
use super::socket::{Messages, PacketSocket};
use crate::coalesce::{Coalescer, Message, WINDOW};

/// Sends Ethernet frames out of a device.
///
/// Bypasses the queueing discipline, but for a while after the device has refused a super-packet: a capture on
/// this device does not show what is sent past it (one on the other end of the link does).
pub struct Sender {
    way: Way,
    coalescer: Option<Coalescer>,
}

/// The way into the kernel.
struct Way {
    socket: PacketSocket,
    messages: Messages,
    /// Flushes that still go through the queueing discipline; 0: they bypass it.
    queued: u32,
}

impl Sender {
    pub(super) fn open(device: u32, refused: &mut Refused) -> io::Result<Self> {
        let socket = socket_to_send(device, refused)?;
        let way = Way { socket, messages: Messages::new(WINDOW), queued: 0 };
        Ok(Self { way, coalescer: None })
    }

    /// Joins packets of one flow that leave together into super-packets from now on, or no longer. Where the kernel
    /// takes no super-packets nothing is joined.
    pub fn set_coalescing(&mut self, coalescing: bool) {
        let coalescing = coalescing && self.way.socket.has_metadata();
        self.coalescer = coalescing.then(Coalescer::new);
    }

    /// Sends the packets and counts in `done` what became of each.
    fn flush(&mut self, packets: &[&Packet<'_>], done: &mut Transmitted) {
        let mut queue = ArrayVec::<_, WINDOW>::new();
        match &mut self.coalescer {
            Some(coalescer) => queue.extend(coalescer.arrange(packets)),
            None => queue.extend(Message::alone(packets)),
        }
        self.way.flush(&queue, done);
    }
}

/// A socket that sends out of a device and receives nothing.
pub(super) fn socket_to_send(device: u32, refused: &mut Refused) -> io::Result<PacketSocket> {
    let socket = PacketSocket::open(refused)?;
    socket.bypass_queueing(true)?;
    // More than net.core.wmem_max needs CAP_NET_ADMIN; without it take what is allowed.
    set_socket_send_buffer_size_force(&socket, BUFFER)
        .or_else(|_| set_socket_send_buffer_size(&socket, BUFFER))?;
    socket.bind(device, NO_PROTOCOL)?;
    Ok(socket)
}

impl Way {
    /// Sends the messages and counts in `done` what became of their packets.
    fn flush(&mut self, mut queue: &[Message<'_, '_, '_>], done: &mut Transmitted) {
        if self.queued > 0 {
            self.queued -= 1;
            if self.queued == 0 {
                // Who does not let us goes on to queue.
                let _ = self.socket.bypass_queueing(true);
            }
        }
        let mut may_retry = true;
        while let Some(first) = queue.first() {
            let error = match self.socket.send(&mut self.messages, queue) {
                Ok(count) => {
                    let (sent, rest) = queue.split_at(count);
                    sent.iter().for_each(|message| message.sent(done));
                    queue = rest;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                // The queue is full. It drains while we ask again; if not, what is left is lost.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) if may_retry => may_retry = false,
                // Or the device cannot cut a super-packet: past the queueing discipline the kernel drops
                // what it would have to cut itself (`__dev_direct_xmit`), so it goes through. Not for ever:
                // a driver whose queue is full, and a link without carrier, say the same.
                Some(libc::ENOBUFS) if first.offload().is_gso() && self.queued == 0 => {
                    self.queued = QUEUED;
                    // Who cannot be asked otherwise refuses again.
                    let _ = self.socket.bypass_queueing(false);
                }
                // A super-packet of ours that the kernel does not understand: it may take its packets.
                Some(libc::EMSGSIZE | libc::EINVAL) if first.len() > 1 => {
                    let packets: ArrayVec<_, WINDOW> = first.packets().collect();
                    let alone: ArrayVec<_, WINDOW> = Message::alone(&packets).collect();
                    self.flush(&alone, done);
                    queue = &queue[1..];
                }
                // Longer than the MTU, or not what its offload metadata says: the others may pass.
                Some(libc::EMSGSIZE | libc::EINVAL) => {
                    done.refused += 1;
                    queue = &queue[1..];
                }
                // Still full, or the device is down or gone.
                _ => {
                    done.refused += queue.iter().map(|message| message.len() as u64).sum::<u64>();
                    queue = &[];
                }
            }
        }
    }
}

impl Transmit for Sender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        let mut queue = ArrayVec::<&Packet<'b>, WINDOW>::new();
        for packet in packets {
            queue.push(packet);
            if queue.is_full() {
                self.flush(&queue, &mut done);
                queue.clear();
            }
        }
        self.flush(&queue, &mut done);
        done
    }
}

/// A socket bound to it receives nothing; the kernel reads the protocol of a sent frame from its
/// Ethernet header.
const NO_PROTOCOL: u16 = 0;

/// Flushes that go through the queueing discipline after the device has refused a super-packet. To ask again
/// costs two system calls and one that is refused.
const QUEUED: u32 = 4096;

/// Bytes in flight in the driver; a super-packet counts about 70,000.
const BUFFER: usize = 8 << 20;

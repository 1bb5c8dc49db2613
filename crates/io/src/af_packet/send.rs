//! The sending half: sendmmsg straight to the driver, never waiting for it.

use std::io;

use arrayvec::ArrayVec;
use mooring_packet::{Packet, Transmit, Transmitted};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};

use super::socket::{Messages, PacketSocket};

/// Sends Ethernet frames out of a device.
///
/// Bypasses the queueing discipline: a capture on this device does not show what it sends (one on
/// the other end of the link does).
pub struct Sender {
    socket: PacketSocket,
    messages: Messages,
}

impl Sender {
    pub(super) fn open(device: u32) -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        socket.bypass_queueing()?;
        // More than net.core.wmem_max needs CAP_NET_ADMIN; without it take what is allowed.
        set_socket_send_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_send_buffer_size(&socket, BUFFER))?;
        socket.bind(device, NO_PROTOCOL)?;
        Ok(Self { socket, messages: Messages::new(MESSAGES) })
    }

    /// Sends the packets and counts in `done` what became of each.
    fn flush(&mut self, mut packets: &[&Packet<'_>], done: &mut Transmitted) {
        let mut may_retry = true;
        while !packets.is_empty() {
            let Err(error) = self.send(&mut packets, done) else { continue };
            match error.raw_os_error() {
                // Longer than the MTU, or not what its offload metadata says: the others may pass.
                Some(libc::EMSGSIZE | libc::EINVAL) => {
                    done.refused += 1;
                    packets = &packets[1..];
                }
                // The queue is full. It drains while we ask again; if not, what is left is lost.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) if may_retry => may_retry = false,
                // Still full, or the device is down or gone.
                _ => {
                    done.refused += packets.len() as u64;
                    packets = &[];
                }
            }
        }
    }

    /// Sends from the front of `packets` until one is refused, and takes the sent ones off.
    fn send(&mut self, packets: &mut &[&Packet<'_>], done: &mut Transmitted) -> io::Result<()> {
        let count = self.socket.send(&mut self.messages, packets)?;
        let (sent, rest) = packets.split_at(count);
        done.packets += count as u64;
        done.bytes += sent.iter().map(|packet| packet.len() as u64).sum::<u64>();
        *packets = rest;
        Ok(())
    }
}

impl Transmit for Sender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        let mut queue = ArrayVec::<&Packet<'b>, MESSAGES>::new();
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

/// Most packets of one system call.
const MESSAGES: usize = 64;

/// A socket bound to it receives nothing; the kernel reads the protocol of a sent frame from its
/// Ethernet header.
const NO_PROTOCOL: u16 = 0;

/// Bytes in flight in the driver; a super-packet counts about 70,000.
const BUFFER: usize = 8 << 20;

//! The sending half: packets of this worker's frames leave from where they lie, others are copied into frames
//! of its own, those that are longer than a frame in pieces. What the socket cannot say (a super-packet's
//! segments) or carry leaves by a packet socket, in its place in the order.

use std::sync::Arc;

use mooring_packet::{HEADROOM, Offload, Packet, Transmit, Transmitted};
use zerocopy::IntoBytes;

use super::pieces::{MOST_PIECES, PIECE, pieces};
use super::ring::{Consumer, Descriptor, Producer};
use super::socket::{SEND_RING, XdpSocket};
use super::umem::{Frame, Umem};
use super::{METADATA, SendMetadata};
use crate::af_packet;

/// Sends Ethernet frames out of a device.
pub struct Sender {
    /// `None` when there are fewer queues than workers.
    queue: Option<Queue>,
    beside: af_packet::Sender,
}

/// The sending side of a queue.
pub(super) struct Queue {
    socket: Arc<XdpSocket>,
    umem: Arc<Umem>,
    send: Producer<Descriptor>,
    sent: Consumer<u64>,
    /// For packets that lie elsewhere.
    free: Vec<Frame>,
    /// Bytes of the longest packet that can be sent.
    longest: usize,
}

impl Sender {
    pub(super) fn new(queue: Option<Queue>, beside: af_packet::Sender) -> Self {
        Self { queue, beside }
    }
}

impl Queue {
    pub(super) fn new(
        socket: &Arc<XdpSocket>,
        umem: &Arc<Umem>,
        (send, sent): (Producer<Descriptor>, Consumer<u64>),
        free: Vec<Frame>,
    ) -> Self {
        let longest = if socket.is_multi_buffer() { MOST_PIECES * PIECE } else { PIECE };
        Self { socket: Arc::clone(socket), umem: Arc::clone(umem), send, sent, free, longest }
    }

    /// Puts a packet in the ring. False when there is no room for it.
    fn push(&mut self, packet: &Packet<'_>) -> bool {
        if packet.len() > PIECE {
            return self.push_pieces(packet);
        }
        if self.send.room() == 0 {
            return false;
        }
        let is_partial = packet.offload != Offload::NONE;
        let address = match self.umem.address_of(packet.bytes()) {
            Some(address) if !is_partial || is_described(packet) => {
                self.umem.begin_sending(address);
                address
            }
            _ => match self.copy(packet.bytes(), packet.offload) {
                Some(address) => address,
                None => return false,
            },
        };
        let options = if is_partial { libc::XDP_TX_METADATA } else { 0 };
        self.send.push(Descriptor { address, len: packet.len() as u32, options })
    }

    /// Puts a packet in the ring that is longer than a frame, all of it or nothing: the kernel would take what
    /// is there for a packet. False when there is no room for it.
    #[cold]
    fn push_pieces(&mut self, packet: &Packet<'_>) -> bool {
        let count = packet.len().div_ceil(PIECE);
        if (self.send.room() as usize) < count || self.free.len() < count {
            return false;
        }
        // What is to be done to the packet is said with its first piece.
        let is_partial = packet.offload != Offload::NONE;
        let mut options = if is_partial { libc::XDP_TX_METADATA } else { 0 };
        for (piece, goes_on) in pieces(packet.bytes()) {
            let address = self.copy(piece, packet.offload).expect("a frame is free for each");
            options |= if goes_on { libc::XDP_PKT_CONTD } else { 0 };
            self.send.push(Descriptor { address, len: piece.len() as u32, options });
            options = 0;
        }
        true
    }

    /// Copies a packet, or a piece of it, into a free frame; where it lies there.
    fn copy(&mut self, bytes: &[u8], offload: Offload) -> Option<u64> {
        let mut frame = self.free.pop()?;
        let memory = self.umem.bytes(&mut frame);
        memory[METADATA..][..bytes.len()].copy_from_slice(bytes);
        let metadata = SendMetadata::of(offload);
        memory[..METADATA].copy_from_slice(metadata.as_bytes());
        Some(self.umem.give(frame) + METADATA as u64)
    }

    /// Has the kernel send all that is in the ring, and takes back what it has sent. What a full device leaves
    /// there is sent the next time.
    fn flush(&mut self) {
        self.send.submit();
        let mut stuck = 0;
        while self.send.waiting() > 0 && stuck < ATTEMPTS {
            let before = self.send.waiting();
            // Whether it could send shows in the rings; an error may come behind what was sent.
            let _ = self.socket.kick();
            let moved = self.take_back() > 0 || self.send.waiting() != before;
            stuck = if moved { 0 } else { stuck + 1 };
        }
        self.take_back();
    }

    /// Takes back what the kernel has sent: how many frames.
    fn take_back(&mut self) -> u32 {
        let mut frames = 0;
        while let Some(address) = self.sent.take() {
            frames += 1;
            match self.umem.take_back(address) {
                Some(frame) => self.free.push(frame),
                None => self.umem.end_sending(address),
            }
        }
        self.sent.release();
        frames
    }
}

/// Whether the kernel finds in front of the packet what is left of its checksum: written when the packet came
/// in, and still true.
fn is_described(packet: &Packet<'_>) -> bool {
    packet
        .front()
        .last_chunk::<METADATA>()
        .is_some_and(|front| front.as_slice() == SendMetadata::of(packet.offload).as_bytes())
}

impl Transmit for Sender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let Some(queue) = &mut self.queue else { return self.beside.transmit(packets) };
        let mut done = Transmitted::default();
        for packet in packets {
            if packet.offload.is_gso() || packet.len() > queue.longest {
                // After all that came before it.
                queue.flush();
                done += self.beside.transmit(std::iter::once(packet));
                continue;
            }
            let mut taken = queue.push(packet);
            if !taken {
                queue.flush();
                taken = queue.push(packet);
            }
            done.packets += u64::from(taken);
            done.bytes += if taken { packet.len() as u64 } else { 0 };
            done.refused += u64::from(!taken);
        }
        queue.flush();
        done
    }
}

/// Times in a row that nothing may move. Linux before 6.17 sends 32 packets a call and shows in the ring only
/// later that it has.
const ATTEMPTS: u32 = SEND_RING / 32;

const _: () = assert!(METADATA <= HEADROOM);

#[cfg(test)]
mod tests;

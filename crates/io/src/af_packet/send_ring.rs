//! A sending half by a ring: frames are written to memory that the kernel reads, and one call sends all that
//! wait there (PACKET_TX_RING, TPACKET_V2).
//!
//! By itself the kernel would hand the pages of a slot on to the device, and mark the slot free when the device
//! lets go of the sender, which a veth pair does before the other end has read the bytes (`skb_orphan` on its
//! way). Linux since 4.20 copies the pages at that moment, older ones do not. Here it never comes to that: each
//! frame says that all of it is header (`hdr_len` of its `virtio_net_hdr`), which the kernel copies before it
//! sends, so that no packet refers to a slot that is marked free.
//!
//! Invariant: at every moment a slot is the kernel's or ours, and its status word says whose. We write the
//! rest of a slot only while the word says `TP_STATUS_AVAILABLE`, and store `TP_STATUS_SEND_REQUEST` behind
//! that. No reference ever covers a status word.
#![allow(unsafe_code, reason = "the one file of the sending ring's memory")]

use std::io;
use std::mem::{offset_of, size_of};
use std::ptr;
use std::sync::atomic::Ordering;

use mooring_packet::{Offload, Packet, Transmit, Transmitted};

use super::refused::Refused;
use super::send::socket_to_send;
use super::slots;
use super::socket::PacketSocket;

/// Sends Ethernet frames out of a device by a ring. Super-packets it refuses.
///
/// Bypasses the queueing discipline: a capture on this device does not show what it sends.
#[derive(Debug)]
pub struct RingSender {
    socket: PacketSocket,
    slots: Slots,
    /// The slot that is written next.
    next: usize,
    /// Slots before it that the kernel is asked to send.
    waiting: usize,
}

impl RingSender {
    pub(super) fn open(device: u32) -> io::Result<Self> {
        let mut refused = Refused::default();
        let socket = socket_to_send(device, &mut refused)?;
        // Each slot begins with metadata.
        refused.metadata.map_or(Ok(()), Err)?;
        socket.set_send_ring(&Slots::REQUEST)?;
        let slots = Slots::of(&socket)?;
        Ok(Self { socket, slots, next: 0, waiting: 0 })
    }

    /// Writes a packet to the next slot. False when that is not ours.
    fn push(&mut self, packet: &Packet<'_>) -> bool {
        if self.slots.status(self.next).load(Ordering::Acquire) != libc::TP_STATUS_AVAILABLE {
            return false;
        }
        let len = packet.len() as u32;
        let front = (FRAME_FRONT + packet.len()) as u32;
        let slot = self.slots.slot(self.next);
        // Flags, kind of super-packet, length of the headers, size of a segment, checksum.
        let mut metadata = [0_u8; size_of::<Offload>()];
        metadata[2..4].copy_from_slice(&(len as u16).to_ne_bytes());
        // SAFETY: the slot is ours, as its status word has just said, and long enough: the frame is no longer
        // than FRAME_BYTES, which our caller has looked at. `tp_len` is no part of the status word.
        unsafe {
            slot.add(offset_of!(libc::tpacket2_hdr, tp_len)).cast::<u32>().write(front);
            ptr::copy_nonoverlapping(
                metadata.as_ptr(),
                slot.add(HEADER_BYTES).as_ptr(),
                FRAME_FRONT,
            );
            ptr::copy_nonoverlapping(
                packet.bytes().as_ptr(),
                slot.add(HEADER_BYTES + FRAME_FRONT).as_ptr(),
                packet.len(),
            );
        }
        self.slots.status(self.next).store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.next = Slots::after(self.next);
        self.waiting += 1;
        true
    }

    /// Has the kernel send what waits. What a full device does not take is taken back, and counted as refused.
    fn flush(&mut self, done: &mut Transmitted) {
        let mut stuck = 0;
        loop {
            let before = self.waiting;
            if before == 0 {
                return;
            }
            // How far it came shows in the slots; an error may come behind what was sent.
            let _ = self.socket.kick();
            self.waiting = self.count_requests();
            stuck = if self.waiting < before { 0 } else { stuck + 1 };
            if stuck > 1 {
                return self.take_back(done);
            }
        }
    }

    /// The newest slots that the kernel has not looked at yet.
    fn count_requests(&self) -> usize {
        (0..self.waiting)
            .find(|back| {
                let at = (self.next + Slots::COUNT - 1 - back) % Slots::COUNT;
                self.slots.status(at).load(Ordering::Acquire) != libc::TP_STATUS_SEND_REQUEST
            })
            .unwrap_or(self.waiting)
    }

    /// The kernel stays at the first of them, and so do we.
    fn take_back(&mut self, done: &mut Transmitted) {
        for _ in 0..std::mem::take(&mut self.waiting) {
            self.next = (self.next + Slots::COUNT - 1) % Slots::COUNT;
            // SAFETY: we have written the number, and the kernel only reads it.
            let front = unsafe {
                self.slots
                    .slot(self.next)
                    .add(offset_of!(libc::tpacket2_hdr, tp_len))
                    .cast::<u32>()
                    .read()
            };
            self.slots.status(self.next).store(libc::TP_STATUS_AVAILABLE, Ordering::Release);
            done.packets -= 1;
            done.bytes -= u64::from(front) - FRAME_FRONT as u64;
            done.refused += 1;
        }
    }
}

impl Transmit for RingSender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        for packet in packets {
            // What is left of a checksum, or a super-packet, has no place here.
            if packet.offload != Offload::NONE || packet.len() > FRAME_BYTES {
                done.refused += 1;
                continue;
            }
            let mut taken = self.push(packet);
            if !taken {
                self.flush(&mut done);
                taken = self.push(packet);
            }
            done.packets += u64::from(taken);
            done.bytes += if taken { packet.len() as u64 } else { 0 };
            done.refused += u64::from(!taken);
        }
        self.flush(&mut done);
        done
    }
}

/// Bytes of a slot, an odd number of cache lines: see the receiving ring.
const SLOT_BYTES: usize = 25 * 64;

/// 2,119 slots.
const BLOCKS: usize = 13;

type Slots = slots::Slots<SLOT_BYTES, BLOCKS>;

/// `struct tpacket2_hdr`, behind which the kernel reads a frame that is sent (`TPACKET2_HDRLEN` without the
/// address that follows it).
const HEADER_BYTES: usize = size_of::<libc::tpacket2_hdr>();

/// In front of the frame: its offload metadata.
const FRAME_FRONT: usize = size_of::<Offload>();

/// The longest frame.
const FRAME_BYTES: usize = SLOT_BYTES - HEADER_BYTES - FRAME_FRONT;

const _: () = {
    assert!(HEADER_BYTES.is_multiple_of(16) && SLOT_BYTES.is_multiple_of(16));
    assert!(FRAME_BYTES >= 14 + 4 + 1_500 && FRAME_BYTES <= u16::MAX as usize);
};

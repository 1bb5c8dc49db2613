//! The receive ring: memory that the kernel fills with frames, a slot each (TPACKET_V2).
//!
//! Invariant: at every moment a slot is the kernel's or ours, and its status word says whose. Ours it
//! becomes when the kernel stores `TP_STATUS_USER` there; we read the word as an atomic and touch the
//! rest of the slot only after that. It goes back in [`Ring::give_back`], which cannot be called while
//! anybody borrows a slot. No reference ever covers a status word.
//!
//! TPACKET_V2 and not V3: V3 hands over blocks of packets, when full or by a timer, which costs
//! milliseconds. See docs/decisions/0005-receive-ring.md for the size of a slot.
#![allow(unsafe_code, reason = "the one file of the ring's memory")]

use std::io;
use std::mem::size_of;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::Ordering;

use mooring_packet::{HEADROOM, Offload};
use zerocopy::FromBytes;

use super::slots;
use super::socket::PacketSocket;

/// The mapped slots of one socket, used in a circle.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Slots,
    /// The oldest slot that is not given back, or the one that the kernel fills next.
    oldest: usize,
    /// Slots from `oldest` on that are lent.
    lent: usize,
    /// Whether an [`Offload`] is in front of every frame.
    metadata: bool,
}

impl Ring {
    /// Makes the ring of `socket` and maps it.
    ///
    /// # Errors
    /// The operating system's, when it has not so much memory. Then the socket has no ring.
    pub(super) fn new(socket: &PacketSocket) -> io::Result<Self> {
        socket.set_ring(&Slots::REQUEST)?;
        let slots = Slots::of(socket).inspect_err(|_| {
            // What is told is why there is none.
            let _ = socket.set_ring(&NO_RING);
        })?;
        Ok(Self { slots, oldest: 0, lent: 0, metadata: socket.has_metadata() })
    }

    /// Gives all lent slots back to the kernel.
    pub(super) fn give_back(&mut self) {
        for _ in 0..self.lent {
            // What was written to the slot comes before, so that it cannot land in the next frame.
            self.slots.status(self.oldest).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.oldest = Slots::after(self.oldest);
        }
        self.lent = 0;
    }

    /// How many frames wait, at most `limit`, and how many of them do not fit in a slot, at most
    /// `copies`: in front of one more the count ends.
    pub(super) fn ready(&self, limit: usize, copies: usize) -> Ready {
        let mut ready = Ready { frames: 0, copies: 0 };
        let mut slot = self.oldest;
        while ready.frames < limit {
            let status = self.slots.status(slot).load(Ordering::Acquire);
            let copy = status & libc::TP_STATUS_COPY != 0;
            if status & libc::TP_STATUS_USER == 0 || (copy && ready.copies == copies) {
                break;
            }
            ready.copies += usize::from(copy);
            ready.frames += 1;
            slot = Slots::after(slot);
        }
        ready
    }

    /// Lends the `frames` oldest slots, which [`Self::ready`] has counted, in order of arrival. Those
    /// of an earlier call must have been given back.
    pub(super) fn lend(&mut self, frames: usize) -> impl Iterator<Item = Slot<'_>> {
        assert!(self.lent == 0 && frames <= Slots::COUNT, "slots are lent once");
        self.lent = frames;
        let ring = &*self;
        (0..frames).map(move |nth| {
            let at = ring.oldest + nth;
            assert!(
                ring.slots.status(at).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0,
                "only waiting frames are lent"
            );
            // SAFETY: the slot is ours (just asked) until `give_back`, which needs this ring back;
            // each is lent once, `lent` being zero before, and they do not overlap.
            unsafe { Slot::read(ring.slots.slot(at), ring.metadata) }
        })
    }
}

/// What waits in a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// Frames.
    pub(super) frames: usize,
    /// Those among them that the socket's queue has whole, in the same order.
    pub(super) copies: usize,
}

/// A received frame in its slot.
#[derive(Debug)]
pub(super) struct Slot<'r> {
    /// The slot's memory, the header of the kernel excepted.
    pub(super) memory: &'r mut [u8],
    /// Where the frame begins in it.
    pub(super) start: usize,
    /// How many bytes of the frame are in it.
    pub(super) captured: usize,
    /// How many bytes the frame had.
    pub(super) len: usize,
    /// Checksum and super-packet metadata, if there is any.
    pub(super) offload: Option<Offload>,
    /// What the kernel says of it (`TP_STATUS_*`).
    pub(super) status: u32,
    /// The VLAN tag that the kernel took off: type and tag, as on the wire.
    pub(super) tag: Option<[u8; 4]>,
    /// True when the whole frame waits in the socket's queue.
    pub(super) copied: bool,
}

impl Slot<'_> {
    /// The frame in the slot at `memory`, and its metadata if that is there.
    ///
    /// # Safety
    /// The slot is the caller's, and nobody else's, for the lifetime that is returned.
    unsafe fn read(memory: NonNull<u8>, metadata: bool) -> Self {
        // SAFETY: the slot begins with this header, which the kernel has written and left.
        let header = unsafe { memory.cast::<libc::tpacket2_hdr>().read() };
        // SAFETY: the rest of the slot, mapped and the caller's alone.
        let memory = unsafe {
            slice::from_raw_parts_mut(memory.as_ptr().add(HEADER_BYTES), SLOT_BYTES - HEADER_BYTES)
        };
        let frame = usize::from(header.tp_mac).max(FRAME_AT) - HEADER_BYTES;
        let captured = (header.tp_snaplen as usize).min(memory.len().saturating_sub(frame));
        let front = metadata.then(|| &memory[frame - size_of::<Offload>()..]);
        let offload = front.map(Offload::read_from_prefix);
        Self {
            start: frame,
            captured,
            len: header.tp_len as usize,
            offload: offload.map(|read| read.map_or(Offload::NONE, |(offload, _)| offload)),
            status: header.tp_status,
            tag: tag(header.tp_status, header.tp_vlan_tpid, header.tp_vlan_tci),
            copied: header.tp_status & libc::TP_STATUS_COPY != 0,
            memory,
        }
    }
}

/// The tag that the kernel took off a frame of this status, as on the wire.
pub(super) fn tag(status: u32, kind: u16, tag: u16) -> Option<[u8; 4]> {
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let told = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let kind = if told { kind } else { IEEE_802_1Q };
    let ([a, b], [c, d]) = (kind.to_be_bytes(), tag.to_be_bytes());
    Some([a, b, c, d])
}

/// Bytes of a slot: a frame of 1,500 bytes with its tag and what stands in front of it. An odd number
/// of cache lines, so that the headers of neighbouring slots use different sets of the cache.
const SLOT_BYTES: usize = 27 * 64;

/// 20 ms of small packets at 0.4 Mpps.
const BLOCKS: usize = 55;

type Slots = slots::Slots<SLOT_BYTES, BLOCKS>;

/// `struct tpacket2_hdr`. The link-layer address behind it is not read: it is headroom.
const HEADER_BYTES: usize = size_of::<libc::tpacket2_hdr>();

/// Where the kernel puts a frame: `TPACKET2_HDRLEN` and 16 bytes of header to come, rounded up to 16,
/// and the [`Offload`], less the Ethernet header. So the second cache line of a slot holds offload,
/// Ethernet, IPv4 and ports, up to the TCP checksum.
const FRAME_AT: usize = 76;

const IEEE_802_1Q: u16 = 0x8100;

/// Asks for a ring to be taken away.
pub(super) const NO_RING: libc::tpacket_req =
    libc::tpacket_req { tp_block_size: 0, tp_block_nr: 0, tp_frame_size: 0, tp_frame_nr: 0 };

const _: () = {
    assert!(FRAME_AT - HEADER_BYTES >= HEADROOM + 4, "a tag put back leaves the headroom");
    assert!(SLOT_BYTES >= FRAME_AT + 14 + 1_500);
    assert!(!(SLOT_BYTES / 64).is_multiple_of(2));
    assert!(Slots::COUNT >= 8_192);
};

#[cfg(test)]
mod tests {
    use super::{IEEE_802_1Q, tag};

    #[test]
    fn a_tag_is_read_as_on_the_wire() {
        assert_eq!(tag(libc::TP_STATUS_USER, 0x88a8, 0xa005), None);
        let status = libc::TP_STATUS_USER | libc::TP_STATUS_VLAN_VALID;
        let read = tag(status, 0x88a8, 0xa005);
        assert_eq!(read, Some([0x81, 0, 0xa0, 5]), "its type is {IEEE_802_1Q:#x}");
        let status = status | libc::TP_STATUS_VLAN_TPID_VALID;
        assert_eq!(tag(status, 0x88a8, 0xa005), Some([0x88, 0xa8, 0xa0, 5]));
    }
}

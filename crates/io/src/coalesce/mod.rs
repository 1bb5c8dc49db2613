//! Transmit coalescing: packets of one flow that leave together leave as one super-packet, as the kernel
//! joins them on the way in (GRO). It is one message, one walk through the kernel and one interrupt for up to
//! [`WINDOW`] packets. Only headers are copied: a message gathers the payloads from where they lie.
//!
//! Invariants. A super-packet that is cut again is the packets that went into it, byte by byte; of IPv4 packets
//! that must not be fragmented the identification excepted, which means nothing there (RFC 6864 §4.1). Packets of
//! one flow leave in the order in which they came. A checksum that nobody has verified is never made good: such
//! packets are left alone. Nothing waits for a packet that is still to come.

mod headers;
mod shape;
#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;
use mooring_packet::{Offload, Packet, Transmitted};

use self::headers::Headers;
use self::shape::{Before, Shape};

/// Arranges packets in the messages that they leave in. Its memory is made at start.
pub(crate) struct Coalescer {
    groups: ArrayVec<Group, WINDOW>,
    /// By packet, the one that comes after it in its group.
    next: [u8; WINDOW],
    /// By flow, the group that may still grow.
    open: [Option<u8>; FLOWS],
    /// By group, the headers of a super-packet.
    headers: Box<[Headers; WINDOW]>,
}

/// Packets that leave as one message.
struct Group {
    /// What it says beside its bytes, if it is a super-packet.
    offload: Offload,
    /// Of the first packet; `None` for one that nothing is joined to.
    shape: Option<Shape>,
    first: u8,
    last: u8,
    packets: u8,
    /// Bytes of all of them, without headers.
    payload: u16,
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Self {
            groups: ArrayVec::new(),
            next: [0; WINDOW],
            open: [None; FLOWS],
            headers: Box::new([Headers::EMPTY; WINDOW]),
        }
    }

    /// Arranges `packets`, at most [`WINDOW`] of them, and lends the messages.
    pub(crate) fn arrange<'c, 'p, 'b>(
        &'c mut self,
        packets: &'c [&'p Packet<'b>],
    ) -> impl Iterator<Item = Message<'c, 'p, 'b>> {
        assert!(packets.len() <= WINDOW, "no more packets than there is room for");
        self.groups.clear();
        self.open = [None; FLOWS];
        for (at, packet) in packets.iter().enumerate() {
            self.add(at as u8, packet, packets);
        }
        for (group, headers) in self.groups.iter_mut().zip(self.headers.iter_mut()) {
            if let Some(shape) = group.shape.as_ref().filter(|_| group.packets > 1) {
                let [first, last] = [group.first, group.last].map(|at| packets[usize::from(at)]);
                *headers = Headers::join([first, last].map(Packet::bytes), shape, group.payload);
                group.offload = shape.super_packet();
            }
        }
        let (next, numbered) = (&self.next, self.groups.iter().zip(self.headers.iter()));
        numbered.map(move |(group, headers)| group.message(packets, (next, headers)))
    }

    fn add(&mut self, at: u8, packet: &Packet<'_>, packets: &[&Packet<'_>]) {
        let Some(shape) = Shape::of(packet) else {
            // It may be of any flow: nothing that comes after it may leave before it.
            self.open = [None; FLOWS];
            self.begin(at, None);
            return;
        };
        let flow = shape.flow % FLOWS;
        if let Some(open) = self.open[flow] {
            let group = &mut self.groups[usize::from(open)];
            let first = packets[usize::from(group.first)].bytes();
            if group.takes(first, packet.bytes(), &shape) {
                self.next[usize::from(group.last)] = at;
                group.last = at;
                group.packets += 1;
                group.payload += shape.payload;
                if group.is_whole(&shape) {
                    self.open[flow] = None;
                }
                return;
            }
        }
        let may_grow = !shape.is_last;
        let number = self.begin(at, Some(shape));
        self.open[flow] = may_grow.then_some(number);
    }

    fn begin(&mut self, at: u8, shape: Option<Shape>) -> u8 {
        let payload = shape.as_ref().map_or(0, |shape| shape.payload);
        let offload = Offload::NONE;
        self.groups.push(Group { offload, shape, first: at, last: at, packets: 1, payload });
        (self.groups.len() - 1) as u8
    }
}

impl Group {
    /// Whether the packet of `bytes` may be its next segment.
    fn takes(&self, first: &[u8], bytes: &[u8], shape: &Shape) -> bool {
        let Some(of_first) = &self.shape else { return false };
        let sum = u32::from(self.payload) + u32::from(shape.payload);
        let before = Before { packets: self.packets, payload: self.payload };
        // With the Ethernet header: what is longer a device has cut by the kernel (`gso_features_check`).
        shape.payload <= of_first.payload
            && u32::from(of_first.headers) + sum <= u32::from(u16::MAX)
            && of_first.is_like(shape)
            && of_first.precedes([first, bytes], before)
    }

    fn message<'c, 'p: 'c, 'b>(
        &'c self,
        packets: &'c [&'p Packet<'b>],
        (next, headers): (&'c [u8; WINDOW], &'c Headers),
    ) -> Message<'c, 'p, 'b> {
        let (first, len) = (self.first, self.packets);
        let (offload, headers, skipped) = match &self.shape {
            Some(shape) if len > 1 => (&self.offload, headers.bytes(), shape.headers),
            _ => (&packets[usize::from(first)].offload, &[][..], 0),
        };
        Message { offload, headers, skipped, packets, next, first, len }
    }

    /// Whether nothing may follow the packet of `last`, which is its last one.
    fn is_whole(&self, last: &Shape) -> bool {
        let is_shorter = self.shape.as_ref().is_none_or(|first| last.payload < first.payload);
        is_shorter || last.is_last
    }
}

/// What is given to the kernel at a time: one packet, or a super-packet.
pub(crate) struct Message<'c, 'p, 'b> {
    offload: &'c Offload,
    /// Of a super-packet; else empty.
    headers: &'c [u8],
    /// How much of each packet they stand for.
    skipped: u8,
    /// Its packets are some of these: the one at `first`, and those that `next` says.
    packets: &'c [&'p Packet<'b>],
    next: &'c [u8; WINDOW],
    first: u8,
    len: u8,
}

impl<'c, 'p: 'c, 'b> Message<'c, 'p, 'b> {
    /// Each of `packets` as it is.
    pub(crate) fn alone(
        packets: &'c [&'p Packet<'b>],
    ) -> impl Iterator<Item = Self> + use<'c, 'p, 'b> {
        packets.chunks(1).map(|packets| {
            let offload = &packets[0].offload;
            Self { offload, headers: &[], skipped: 0, packets, next: &NONE, first: 0, len: 1 }
        })
    }

    /// How many packets are in it.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Which they are.
    pub(crate) fn packets(&self) -> impl Iterator<Item = &'p Packet<'b>> + use<'c, 'p, 'b> {
        let (packets, next) = (self.packets, self.next);
        let mut at = self.first;
        (0..self.len).map(move |_| {
            let packet = packets[usize::from(at)];
            at = next[usize::from(at)];
            packet
        })
    }

    /// Counts it in `done` as taken by the device.
    pub(crate) fn sent(&self, done: &mut Transmitted) {
        done.packets += u64::from(self.len);
        done.bytes += self.packets().map(|packet| packet.len() as u64).sum::<u64>();
        if self.len > 1 {
            done.coalesced += u64::from(self.len);
            done.super_packets += 1;
        }
    }

    /// What it says beside its bytes.
    pub(crate) fn offload(&self) -> &'c Offload {
        self.offload
    }

    /// Its bytes, in parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &'c [u8]> + use<'c, 'p, 'b> {
        let (headers, skipped) = (self.headers, usize::from(self.skipped));
        let headers = (!headers.is_empty()).then_some(headers);
        headers.into_iter().chain(self.packets().map(move |packet| &packet.bytes()[skipped..]))
    }
}

/// Packets that are looked at together, and so the most segments of a super-packet: `UDP_MAX_SEGMENTS` of Linux
/// before 6.9.
pub(crate) const WINDOW: usize = 64;

/// Flows that are told apart at a time. Two that meet in one place end each other's super-packets.
const FLOWS: usize = 16;

static NONE: [u8; WINDOW] = [0; WINDOW];

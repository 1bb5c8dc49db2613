//! Packets that are longer than a frame: they come in several frames, and leave in several (multi-buffer,
//! Documentation/networking/af_xdp.rst).
//!
//! The engine wants a packet in one stretch of memory. So what comes in pieces is put together in one of a
//! fixed number of buffers, made when the port is opened. A packet of which anything is missing, or that fits
//! in no buffer, goes no further.

use std::iter;

use mooring_packet::HEADROOM;
use mooring_wire::ethernet::{EtherType, Ethernet, HEADER_LEN};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::{self, Ipv6};

use super::{CHUNK, METADATA};

/// Where long packets are put together. As many whole ones are lent as there are buffers, but one more may be
/// under way only when one is free.
#[derive(Debug)]
pub(super) struct LongPackets {
    buffers: Vec<Box<[u8]>>,
    /// How many hold a whole packet, from the first on. The next one is being filled.
    whole: usize,
    state: State,
}

/// What has come of the packet that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next piece is the first of a packet.
    Between,
    /// So many bytes.
    Filling(usize),
    /// Too much, or not all of it: the rest is waited for, and dropped.
    Lost,
}

/// What a piece made of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    GoesOn,
    /// It is whole, and has so many bytes.
    Whole(usize),
    /// It has ended, and cannot be given on.
    Lost,
}

impl LongPackets {
    /// Room for `count` packets.
    pub(super) fn new(count: usize) -> Self {
        let buffer = || vec![0; START + LONG_PACKET].into_boxed_slice();
        let buffers = iter::repeat_with(buffer).take(count).collect();
        Self { buffers, whole: 0, state: State::Between }
    }

    /// Whether the next piece belongs to what came before.
    #[inline]
    pub(super) fn is_under_way(&self) -> bool {
        self.state != State::Between
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.whole < self.buffers.len()
    }

    /// Takes the next piece of the packet under way, or the first of a new one. `None` is a piece that cannot
    /// be read.
    pub(super) fn add(&mut self, piece: Option<&[u8]>, goes_on: bool) -> Progress {
        let so_far = match self.state {
            State::Between => Some(0),
            State::Filling(len) => Some(len),
            State::Lost => None,
        };
        let len = so_far.and_then(|at| self.copy(at, piece?));
        if goes_on {
            self.state = len.map_or(State::Lost, State::Filling);
            return Progress::GoesOn;
        }
        self.state = State::Between;
        match len {
            Some(len) if !is_two(&self.buffers[self.whole][START..][..len]) => {
                self.whole += 1;
                Progress::Whole(len)
            }
            _ => Progress::Lost,
        }
    }

    /// The buffers of the whole packets, in order of arrival. Each begins [`START`] bytes behind the beginning.
    pub(super) fn whole(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.buffers[..self.whole].iter_mut().map(|buffer| &mut **buffer)
    }

    /// Nobody borrows the whole packets any more. What is under way stays.
    pub(super) fn take_back(&mut self) {
        if self.has_room() {
            self.buffers.swap(0, self.whole);
        }
        self.whole = 0;
    }

    /// Copies a piece behind the `at` bytes that are there; how many they are then.
    fn copy(&mut self, at: usize, piece: &[u8]) -> Option<usize> {
        let end = at.checked_add(piece.len())?;
        let buffer = self.buffers.get_mut(self.whole)?;
        buffer[START..].get_mut(at..end)?.copy_from_slice(piece);
        Some(end)
    }
}

/// Whether there is more in a frame than its IP packet: what is so long is not padded, so the end of one packet
/// has been lost, and another came after it. One that is shorter than it says is found by whoever parses it.
fn is_two(frame: &[u8]) -> bool {
    let Ok(ethernet) = Ethernet::parse(frame) else { return false };
    let said = match ethernet.ether_type() {
        EtherType::IPV4 => {
            Ipv4::parse(ethernet.into_payload()).map(|ip| usize::from(ip.total_len())).ok()
        }
        EtherType::IPV6 => Ipv6::parse(ethernet.into_payload())
            .map(|ip| ipv6::HEADER_LEN + usize::from(ip.payload_len()))
            .ok(),
        _ => None,
    };
    said.is_some_and(|said| HEADER_LEN + said < frame.len())
}

/// The pieces in which these bytes leave, each with whether it goes on after it. At most [`MOST_PIECES`] of
/// [`PIECE`] bytes can be one packet.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let count = bytes.len().div_ceil(PIECE);
    bytes.chunks(PIECE).zip(1..).map(move |(piece, at)| (piece, at < count))
}

/// Bytes of the longest packet that is put together, with its Ethernet header.
pub(super) const LONG_PACKET: usize = 10_240;

/// Where a long packet begins in its buffer.
pub(super) const START: usize = 64;

/// Long packets that one batch holds at most: more wait in the ring for the next.
pub(super) const LONG_PACKETS: usize = 64;

/// Bytes of a packet that one frame takes to be sent: in front of it the kernel looks for what is to be done.
pub(super) const PIECE: usize = CHUNK - METADATA;

/// `MAX_SKB_FRAGS` as kernels are usually built. Of a packet of more pieces the kernel drops what came until
/// then and takes the rest for another packet: so there must be none.
pub(super) const MOST_PIECES: usize = 17;

const _: () = assert!(START >= HEADROOM && LONG_PACKET <= MOST_PIECES * PIECE - HEADROOM);

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{LONG_PACKET, LongPackets, MOST_PIECES, PIECE, Progress, START, pieces};

    /// A UDP packet of `len` bytes with its Ethernet header.
    fn frame(ipv6: bool, len: usize, fill: u8) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let (builder, headers) = match ipv6 {
            true => (builder.ipv6([1; 16], [2; 16], 64), 62),
            false => (builder.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 64), 42),
        };
        let mut frame = Vec::new();
        let written = builder.udp(1, 2).write(&mut frame, &vec![fill; len - headers]);
        written.expect("memory has no errors");
        frame
    }

    /// All of a frame in pieces of at most `most` bytes; what came of it.
    fn add(long: &mut LongPackets, frame: &[u8], most: usize) -> Progress {
        let count = frame.len().div_ceil(most);
        let mut progress = Progress::GoesOn;
        for (at, piece) in (1..).zip(frame.chunks(most)) {
            assert_eq!(progress, Progress::GoesOn);
            progress = long.add(Some(piece), at < count);
            assert_eq!(long.is_under_way(), at < count);
        }
        progress
    }

    fn whole(long: &mut LongPackets, lens: &[usize]) -> Vec<Vec<u8>> {
        long.whole().zip(lens).map(|(buffer, len)| buffer[START..][..*len].to_vec()).collect()
    }

    #[test]
    fn what_is_too_long_or_not_whole_goes_no_further_and_holds_up_nothing() {
        let mut long = LongPackets::new(2);
        let good = frame(false, 4_000, 7);
        assert_eq!(add(&mut long, &frame(false, LONG_PACKET + 1, 1), 1_856), Progress::Lost);
        assert_eq!(long.add(None, true), Progress::GoesOn);
        assert_eq!(add(&mut long, &good[1_856..], 1_856), Progress::Lost, "its first is lost");
        assert_eq!(add(&mut long, &good, 1_856), Progress::Whole(4_000));
        assert_eq!(
            add(&mut long, &frame(false, LONG_PACKET, 3), 1_856),
            Progress::Whole(LONG_PACKET)
        );
        assert_eq!(add(&mut long, &good, 1_856), Progress::Lost, "both buffers are lent");
        assert_eq!(
            whole(&mut long, &[4_000, LONG_PACKET]),
            [good.clone(), frame(false, LONG_PACKET, 3)]
        );
        long.take_back();
        assert_eq!(add(&mut long, &good, 1_856), Progress::Whole(4_000));
    }

    /// The kernel may run out of frames in the middle of a packet: another comes where its end should.
    #[test]
    fn a_packet_whose_rest_is_lost_takes_nothing_of_the_next() {
        for ipv6 in [false, true] {
            let (first, next) = (frame(ipv6, 4_000, 1), frame(ipv6, 3_000, 2));
            let mut long = LongPackets::new(1);
            for rest in [1_856, 2 * 1_856] {
                for piece in first[..rest].chunks(1_856) {
                    assert_eq!(long.add(Some(piece), true), Progress::GoesOn);
                }
                assert_eq!(add(&mut long, &next, 1_856), Progress::Lost);
            }
            assert_eq!(add(&mut long, &next, 1_856), Progress::Whole(3_000));
            assert_eq!(whole(&mut long, &[3_000]), [next]);
        }
    }

    #[test]
    fn what_is_no_ip_packet_is_not_judged() {
        let mut long = LongPackets::new(1);
        assert_eq!(add(&mut long, &[7; 3_000], 1_856), Progress::Whole(3_000));
    }

    proptest! {
        /// Whatever the pieces, and whenever what is whole is given on.
        #[test]
        fn pieces_are_put_together(
            packets in vec((any::<bool>(), 100..LONG_PACKET, 500..4_096_usize, any::<bool>()), 1..20),
        ) {
            let (mut long, mut expected) = (LongPackets::new(3), Vec::new());
            for (number, (ipv6, len, most, early)) in (0..).zip(packets) {
                let packet = frame(ipv6, len, number);
                let (head, rest) = packet.split_at(len.min(most) / 2);
                prop_assert_eq!(long.add(Some(head), true), Progress::GoesOn);
                if early || !long.has_room() || expected.len() == 2 {
                    // With one under way.
                    let lens: Vec<usize> = expected.iter().map(Vec::len).collect();
                    prop_assert_eq!(whole(&mut long, &lens), std::mem::take(&mut expected));
                    long.take_back();
                }
                prop_assert_eq!(add(&mut long, rest, most), Progress::Whole(len));
                expected.push(packet);
            }
        }

        /// As they are cut they are put together.
        #[test]
        fn what_is_cut_is_put_together(len in PIECE + 1..LONG_PACKET) {
            let packet = frame(false, len, 9);
            let mut long = LongPackets::new(1);
            let (mut count, mut last) = (0, Progress::GoesOn);
            for (piece, goes_on) in pieces(&packet) {
                prop_assert!(!piece.is_empty() && piece.len() <= PIECE);
                prop_assert_eq!(last, Progress::GoesOn);
                last = long.add(Some(piece), goes_on);
                count += 1;
            }
            prop_assert!(count <= MOST_PIECES);
            prop_assert_eq!(last, Progress::Whole(len));
            prop_assert_eq!(whole(&mut long, &[len]), [packet]);
        }
    }
}

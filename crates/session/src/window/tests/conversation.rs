//! Whole conversations between two simple TCP ends, with us between two networks that lose, delay,
//! reorder and repeat: no segment that an end could use is ever dropped.

use std::cmp::Reverse as Lowest;
use std::collections::BinaryHeap;

use mooring_wire::tcp::Flags;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::super::{Connection, Judged, Segment, is_after, later};
use crate::Direction::{Forward, Reverse};
use crate::State;

/// One end: it sends so many bytes and a FIN, and takes what comes.
#[derive(Debug)]
struct End {
    isn: u32,
    /// Sent and acknowledged up to; sent up to; what the peer's window lets it send up to.
    acked: u32,
    sent: u32,
    limit: u32,
    /// Behind its last byte, where the FIN is.
    fin: u32,
    /// Received in order up to; what came out of order.
    received: u32,
    parts: Vec<(u32, u32)>,
    /// Room for what the application has not read.
    room: u32,
    unread: u32,
    scale: u8,
    peer_scale: Option<u8>,
    heard: bool,
    fin_received: bool,
    /// When it retransmits.
    alarm: u64,
}

impl End {
    fn new(isn: u32, bytes: u32, room: u32, scale: u8) -> Self {
        Self {
            isn,
            acked: isn,
            sent: isn,
            limit: isn.wrapping_add(1),
            fin: isn.wrapping_add(1).wrapping_add(bytes),
            received: 0,
            parts: Vec::new(),
            room,
            unread: 0,
            scale,
            peer_scale: None,
            heard: false,
            fin_received: false,
            alarm: 0,
        }
    }

    fn shift(&self) -> u8 {
        if self.peer_scale.is_some() { self.scale } else { 0 }
    }

    fn window(&self) -> u16 {
        let free = self.room - self.unread.min(self.room);
        u16::try_from(free >> self.shift()).unwrap_or(u16::MAX)
    }

    fn segment(&self, flags: Flags, sequence: u32, payload: u32) -> Segment {
        Segment {
            sequence,
            acknowledgment: if self.heard { self.received } else { 0 },
            window: if flags.contains(Flags::SYN) {
                self.room.min(65_535) as u16
            } else {
                self.window()
            },
            flags: if self.heard { flags | Flags::ACK } else { flags },
            payload,
            scale: flags.contains(Flags::SYN).then_some(self.scale),
            in_pieces: false,
        }
    }

    fn syn(&mut self) -> Segment {
        self.sent = later(self.sent, self.isn.wrapping_add(1));
        self.segment(Flags::SYN, self.isn, 0)
    }

    /// A segment of what lies between `from` and the limit, at most `size` bytes.
    fn data(&mut self, from: u32, size: u32) -> Segment {
        let left = self.fin.wrapping_sub(from).min(size);
        let payload = if is_after(from, self.fin) { 0 } else { left };
        let last = from.wrapping_add(payload) == self.fin;
        let flags = if last { Flags::FIN } else { Flags::PSH };
        let segment = self.segment(flags, from, payload);
        self.sent = later(self.sent, segment.end());
        segment
    }

    fn is_done(&self) -> bool {
        self.fin_received && self.acked == self.fin.wrapping_add(1)
    }

    /// Takes a segment; says whether it is to be acknowledged.
    fn take(&mut self, segment: &Segment) -> bool {
        if segment.has(Flags::SYN) && !self.heard {
            self.heard = true;
            self.received = segment.sequence.wrapping_add(1);
            self.peer_scale = segment.scale;
        }
        if segment.has(Flags::ACK) {
            let shift = if segment.has(Flags::SYN) { 0 } else { self.peer_shift() };
            if !is_after(segment.acknowledgment, self.sent) {
                self.acked = later(self.acked, segment.acknowledgment);
                let window = u32::from(segment.window) << shift;
                self.limit = later(self.limit, segment.acknowledgment.wrapping_add(window));
            }
        }
        if segment.payload > 0 || segment.has(Flags::FIN) {
            let start = segment.sequence.wrapping_add(u32::from(segment.has(Flags::SYN)));
            self.parts.push((start, start.wrapping_add(segment.payload)));
            if segment.has(Flags::FIN) {
                // The FIN as a byte of its own, marked by its length.
                let end = start.wrapping_add(segment.payload);
                self.parts.push((end, end));
            }
            self.join();
        }
        segment.end() != segment.sequence || segment.sequence != self.received
    }

    fn peer_shift(&self) -> u8 {
        self.peer_scale.unwrap_or(0)
    }

    fn join(&mut self) {
        while let Some(at) = self.parts.iter().position(|&(start, end)| {
            !is_after(start, self.received) && (is_after(end, self.received) || start == end)
        }) {
            let (start, end) = self.parts.remove(at);
            if start == end {
                if start == self.received && !self.fin_received {
                    self.fin_received = true;
                    self.received = self.received.wrapping_add(1);
                }
                continue;
            }
            let room = self.room - self.unread.min(self.room);
            let new = end.wrapping_sub(self.received).min(room);
            if new == 0 {
                break;
            }
            self.unread += new;
            self.received = self.received.wrapping_add(new);
        }
        let received = self.received;
        self.parts.retain(|&(start, end)| {
            is_after(end, received) || start == end && !is_after(received, start)
        });
    }
}

/// Where a segment is on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Us,
    Peer,
}

struct Talk {
    random: ChaCha8Rng,
    ends: [End; 2],
    state: State,
    connection: Connection,
    /// Time, number, place, sender; the segments by number.
    flying: BinaryHeap<Lowest<(u64, usize, At, usize)>>,
    segments: Vec<Segment>,
    now: u64,
    loss: u32,
    delay: u32,
    /// How many segments were judged, and how many were of no use and dropped.
    judged: u32,
    useless: u32,
}

impl Talk {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut end = || {
            let scale = [0, 2, 7, 14][random.next_u32() as usize % 4];
            let room = [1_000, 20_000, 65_535, 300_000, 4_000_000][random.next_u32() as usize % 5];
            let bytes = [0, 10, 50_000, 2_000_000][random.next_u32() as usize % 4];
            // Often near the wrap.
            let isn = random.next_u32() | [0, 0xffff_0000][random.next_u32() as usize % 2];
            End::new(isn, random.next_u32() % (bytes + 1), room.max(8 << scale), scale)
        };
        let ends = [end(), end()];
        Self {
            ends,
            loss: [0, 5, 20][random.next_u32() as usize % 3],
            delay: [1, 30, 300][random.next_u32() as usize % 3],
            state: State::HalfOpen,
            connection: Connection::default(),
            flying: BinaryHeap::new(),
            segments: Vec::new(),
            now: 0,
            judged: 0,
            useless: 0,
            random,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.next_u32() % 100 < percent
    }

    /// A segment goes on its way, perhaps twice, perhaps not far.
    fn send(&mut self, from: usize, at: At, segment: Segment) {
        let copies = if self.chance(2) { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance(self.loss) {
                continue;
            }
            let delay = 1 + u64::from(self.random.next_u32() % self.delay);
            self.segments.push(segment);
            self.flying.push(Lowest((self.now + delay, self.segments.len() - 1, at, from)));
        }
    }

    /// The middle: us.
    fn judge(&mut self, from: usize, segment: Segment) {
        let direction = if from == 0 { Forward } else { Reverse };
        if self.judged == 0 {
            self.state = State::initial(mooring_wire::Protocol::TCP, direction);
        }
        self.judged += 1;
        match self.connection.judge(self.state, direction, &segment) {
            Judged::Real => self.state = self.state.after_segment(direction, segment.flags),
            Judged::Opens => {
                self.state = self.state.after_segment(direction, segment.flags | Flags::SYN);
            }
            Judged::Unproven => assert!(segment.has(Flags::SYN), "{segment:?} in {:?}", self.state),
            Judged::Outside => {
                let (sender, receiver) = (&self.ends[from], &self.ends[1 - from]);
                // RFC 9293 §3.10.7.4: of one that lies before what it has received, an end uses nothing.
                let is_empty = segment.end() == segment.sequence;
                let acceptable = match is_empty {
                    true => !is_after(receiver.received, segment.sequence),
                    false => is_after(segment.end(), receiver.received),
                };
                let news = !is_empty || is_after(segment.acknowledgment, receiver.acked);
                let used = !receiver.heard || acceptable && news;
                assert!(!used, "{segment:?} from {from} at {}: {sender:?}, {receiver:?}", self.now);
                self.useless += 1;
                return;
            }
        }
        self.send(from, At::Peer, segment);
    }

    /// An end does what it can do.
    fn work(&mut self, at: usize) {
        let size = [500, 1_460, 1_460, 60_000][self.random.next_u32() as usize % 4];
        let read = !self.random.next_u32().is_multiple_of(3);
        let end = &mut self.ends[at];
        let was_closed = end.window() == 0;
        if read {
            end.unread = 0;
        }
        let mut out = Vec::new();
        if was_closed && end.window() > 0 && end.heard {
            out.push(end.segment(Flags::default(), end.sent, 0));
        }
        if end.heard && is_after(end.acked, end.isn) {
            for _ in 0..4 {
                let next = later(end.sent, end.isn.wrapping_add(1));
                let free = end.limit.wrapping_sub(next);
                if is_after(next, end.fin) || !is_after(end.limit, next) {
                    break;
                }
                out.push(end.data(next, size.min(free)));
            }
        }
        if self.now >= end.alarm && end.acked != end.fin.wrapping_add(1) {
            end.alarm = self.now + 200 + 2 * u64::from(self.delay);
            if end.acked == end.isn {
                if is_after(end.sent, end.isn) {
                    out.push(end.syn());
                }
            } else if !is_after(end.limit, end.acked) {
                // A probe of a window that is closed.
                out.push(end.data(end.acked, 1));
            } else if is_after(end.sent, end.acked) {
                // What is missing, or with selective acknowledgments something behind it.
                let behind =
                    end.sent.wrapping_sub(end.acked).min(end.limit.wrapping_sub(end.acked));
                let skip = if self.random.next_u32().is_multiple_of(4) {
                    self.random.next_u32() % behind.max(1)
                } else {
                    0
                };
                out.push(end.data(end.acked.wrapping_add(skip), size.min(behind - skip)));
            }
        } else if end.heard && self.random.next_u32().is_multiple_of(64) && end.acked == end.sent {
            // A keep-alive, with a byte or without.
            let probe =
                end.segment(Flags::default(), end.sent.wrapping_sub(1), self.random.next_u32() & 1);
            if end.acked != end.isn {
                out.push(probe);
            }
        }
        for segment in out {
            self.send(at, At::Us, segment);
        }
    }

    /// Until both have sent and taken everything.
    fn run(mut self, simultaneous: bool) -> Self {
        let first = self.random.next_u32() as usize % 2;
        for at in [first, 1 - first].into_iter().take(1 + usize::from(simultaneous)) {
            let syn = self.ends[at].syn();
            self.send(at, At::Us, syn);
        }
        while !self.ends.iter().all(End::is_done) {
            self.now += 10;
            assert!(
                self.now < 20_000_000,
                "they never come to an end: {:?} {:?}",
                self.ends,
                self.connection
            );
            while self.flying.peek().is_some_and(|next| next.0.0 <= self.now) {
                let Some(Lowest((_, number, place, from))) = self.flying.pop() else { break };
                let segment = self.segments[number];
                if place == At::Us {
                    self.judge(from, segment);
                    continue;
                }
                let to = 1 - from;
                if self.ends[to].take(&segment) {
                    let end = &mut self.ends[to];
                    let opens = !is_after(end.acked, end.isn);
                    let answer = if opens && segment.has(Flags::SYN) {
                        end.syn()
                    } else {
                        end.segment(Flags::default(), end.sent, 0)
                    };
                    self.send(to, At::Us, answer);
                }
            }
            if self.chance(2) {
                // Somebody who sees nothing sends a SYN in the name of an end.
                let (sequence, from) =
                    (self.random.next_u32(), self.random.next_u32() as usize % 2);
                let blind = Segment { sequence, ..super::segment(Flags::SYN, 0, 0) };
                let waits = self.state == State::HalfOpen && from == 1 && self.judged > 0;
                if waits || self.state == State::Established {
                    let direction = if from == 0 { Forward } else { Reverse };
                    let judged = self.connection.judge(self.state, direction, &blind);
                    assert_eq!(judged, Judged::Unproven);
                }
            }
            self.work(0);
            self.work(1);
        }
        self
    }
}

/// Loss, reordering, repetition, windows that close, scales of all sizes, keep-alives, both SYN and both
/// FIN crossing, super-packets; 4,000 conversations.
#[test]
fn no_segment_of_a_real_conversation_is_dropped() {
    let (mut judged, mut useless) = (0_u64, 0_u64);
    for seed in 0..4_000 {
        let talk = Talk::new(seed).run(seed % 5 == 0);
        assert_eq!(talk.state, State::Closing, "conversation {seed}");
        judged += u64::from(talk.judged);
        useless += u64::from(talk.useless);
    }
    assert!(judged > 400_000, "{judged} segments");
    assert!(useless * 1_000 < judged, "{useless} of {judged}, which nobody could use");
}

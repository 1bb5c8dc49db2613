//! Where the ends of a connection stand, for `tcp.window_tracking`.
//!
//! The model does not reckon windows. It knows of both ends what they have truly sent, because it numbers
//! their segments itself ([`Model::numbered`]): in order, acknowledging everything. What is forged is
//! far from that, or just beside it. So it is plain what must come of each (RFC 5961 in kind,
//! `docs/tcp-tracking.md`): what is true is believed, what is far from it is dropped, and a SYN, or a RST
//! beside the number that is expected, passes and changes nothing.

use super::{Model, Session};
use crate::packet::{ACK, Body, FIN, Packet, RST, SYN};
use crate::tracking::{State, Way};

/// What both ends have said, forward and reverse.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    /// The number of its SYN, and the number that it sends next.
    first: [Option<u32>; 2],
    next: [Option<u32>; 2],
    /// What it has acknowledged.
    acked: [Option<u32>; 2],
    /// It has sent a SYN, and nothing else since.
    alone: [bool; 2],
    /// How far it may send has been said.
    bound: [bool; 2],
    /// Its SYN without an answer; true: others are current until there is one.
    syn: [Option<(u32, bool)>; 2],
}

/// How a segment is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    Right,
    /// A RST beside the number; anything else acknowledges what was never sent.
    Beside,
    /// By somebody who does not see the connection.
    Blind,
}

/// What is to be made of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    Real,
    /// And what it acknowledges shows that its end's SYN was, too.
    Opens,
    /// It passes and changes nothing.
    Unproven,
    Dropped,
}

impl Belief {
    /// The flags that count.
    pub(super) fn flags(self, flags: Option<u8>) -> Option<u8> {
        flags.map(|flags| match self {
            Self::Opens => flags | SYN,
            Self::Unproven => SYN | RST,
            Self::Real | Self::Dropped => flags,
        })
    }
}

impl Model {
    /// A segment with numbers as its sender, or somebody in his name, gives them; `fresh`: any.
    pub(crate) fn numbered(&self, packet: &Packet, numbers: Numbers, fresh: u32) -> Packet {
        let mut packet = packet.clone();
        let found = packet.key().and_then(|key| self.find(&key));
        let Body::Tcp { seq, ack, flags, window, payload, .. } = &mut packet.body else {
            return packet;
        };
        (*seq, *ack, *window) = (fresh, 0, 60_000);
        let Some((at, way)) = found else {
            payload.clear();
            return packet;
        };
        let session = &self.sessions[at];
        // Who sits inside sees his connection.
        let numbers = if way == Way::Forward { Numbers::Right } else { numbers };
        *flags = session.talk.honest(session.state, way, *flags, numbers);
        if *flags & SYN != 0 {
            payload.clear();
        }
        (*seq, *ack) = session.talk.numbers(way, flags, numbers, fresh);
        packet
    }

    /// What the host inside expects next, and is expected to send: the numbers of a question to it.
    pub(super) fn expected_by_host(&self, session: &Session) -> (u32, u32) {
        match (self.spec.tcp.windows, session.talk.acked[0], session.talk.next[0]) {
            (true, Some(acked), Some(next)) => (acked.wrapping_sub(1), next),
            _ => (0, 0),
        }
    }

    /// What is to be made of a segment, which is remembered if it is believed.
    pub(super) fn believe(&mut self, at: usize, way: Way, packet: &Packet) -> Belief {
        let Body::Tcp { seq, ack, flags, payload, .. } = &packet.body else { return Belief::Real };
        if !self.spec.tcp.windows {
            return Belief::Real;
        }
        let session = &mut self.sessions[at];
        let segment = Segment { seq: *seq, ack: *ack, flags: *flags, len: payload.len() as u32 };
        session.talk.believe(session.state, way, segment)
    }
}

#[derive(Clone, Copy)]
struct Segment {
    seq: u32,
    ack: u32,
    flags: u8,
    len: u32,
}

impl Segment {
    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Talk {
    /// The flags of a segment that its sender would send now, or anybody in his name.
    fn honest(&self, state: State, way: Way, flags: u8, numbers: Numbers) -> u8 {
        let (mine, other) = (way as usize, way.turned() as usize);
        let answer = if self.syn[other].is_some() { SYN | ACK } else { ACK };
        let (begun, answered) = (State::Begun(way), self.acked[mine].is_some());
        match flags {
            // Nothing is there to be answered.
            _ if flags == SYN | ACK && numbers == Numbers::Right => answer,
            // It has not said a word yet.
            _ if way == Way::Forward && self.next[mine].is_none() && flags & SYN == 0 => {
                if self.syn[other].is_some() { SYN | ACK } else { SYN }
            }
            SYN if way == Way::Forward && state == begun && answered => answer,
            _ => flags,
        }
    }

    fn numbers(&self, way: Way, flags: &mut u8, numbers: Numbers, fresh: u32) -> (u32, u32) {
        let (mine, other) = (way as usize, way.turned() as usize);
        let next = self.next[mine];
        let (seq, ack) = (next.unwrap_or(fresh), self.next[other].unwrap_or(0));
        let said = self.syn[mine].map(|syn| syn.0);
        match (*flags & (SYN | ACK | RST), numbers) {
            (SYN, Numbers::Right) => (said.unwrap_or(fresh), 0),
            (SYN, _) => (fresh, 0),
            (flags, Numbers::Right) if flags & SYN != 0 => {
                let (asked, proposed) = self.syn[other].unwrap_or((fresh, true));
                let again = said.or(self.first[mine].filter(|_| !proposed));
                (again.unwrap_or(fresh), asked.wrapping_add(1))
            }
            (RST, Numbers::Beside) if next.is_some() => (seq.wrapping_add(1 + fresh % 400), 0),
            (RST, Numbers::Right | Numbers::Beside) if next.is_none() => {
                *flags = RST | ACK;
                (0, ack)
            }
            (_, Numbers::Right) => (seq, ack),
            (all, Numbers::Beside) if all & RST != 0 => (seq, ack),
            (_, Numbers::Beside) => (seq, ack.wrapping_add(FAR)),
            (_, Numbers::Blind) => (seq.wrapping_add(FAR), ack.wrapping_sub(FAR)),
        }
    }

    fn believe(&mut self, state: State, way: Way, segment: Segment) -> Belief {
        match (segment.has(SYN), segment.has(RST)) {
            (true, true) => Belief::Unproven,
            (true, false) if segment.has(ACK) => self.answer(state, way, segment),
            (true, false) => self.opening(state, way, segment.seq),
            (false, true) => self.reset(state, way, segment),
            (false, false) => self.segment(state, way, segment),
        }
    }

    /// RFC 5961 §4: a SYN moves nothing that is open, nor what waits for another's answer.
    fn opening(&mut self, state: State, way: Way, seq: u32) -> Belief {
        let mine = way as usize;
        let half_open = matches!(state, State::Begun(_) | State::Reopening);
        let crosses = (state, way) == (State::Begun(Way::Forward), Way::Reverse);
        let again = self.syn[mine] == Some((seq, false));
        if half_open && !crosses && (again || self.next[mine].is_none()) {
            self.begin(way, seq);
            self.syn[mine] = Some((seq, false));
            return Belief::Real;
        }
        if again && !half_open {
            return Belief::Unproven;
        }
        self.syn[mine] = Some((seq, true));
        // Who begins anew does not answer what he has forgotten.
        let other = way.turned() as usize;
        self.syn[other] = self.syn[other].filter(|syn| crosses || syn.1);
        let over = matches!(state, State::Closing | State::Reset(_));
        if (over || half_open) && !crosses { Belief::Real } else { Belief::Unproven }
    }

    /// A SYN-ACK: what acknowledges a SYN that nobody else has seen is its answer.
    fn answer(&mut self, state: State, way: Way, segment: Segment) -> Belief {
        let (mine, other) = (way as usize, way.turned() as usize);
        let asked = self.syn[other].filter(|syn| segment.ack == syn.0.wrapping_add(1));
        let waits = (state, way) == (State::Begun(Way::Forward), Way::Reverse);
        let Some((asked, proposed)) = asked else {
            let unheard = waits && self.next[mine].is_none();
            return if unheard { Belief::Dropped } else { self.segment(state, way, segment) };
        };
        // The second SYN of this end has crossed the one that it answers.
        let anew = self.alone[other] && self.syn[mine] == Some((segment.seq, true));
        let begins = proposed || self.next[mine].is_none() || waits || anew;
        let is_far = self.next[mine].is_some_and(|next| far(segment.seq, next));
        // It has been answered before.
        if !begins && self.bound[mine] && is_far {
            return Belief::Dropped;
        }
        self.syn[other] = None;
        if begins {
            if proposed {
                self.begin(way.turned(), asked);
            }
            self.begin(way, segment.seq);
            self.bound[mine] = true;
            if waits || anew {
                self.syn[mine] = None;
            } else if self.syn[mine].is_some_and(|syn| syn.0 == segment.seq) {
                self.syn[mine] = Some((segment.seq, false));
            }
        }
        // An answer that is repeated late takes back nothing that was acknowledged since.
        let before = self.acked[mine].filter(|acked| !proposed && is_after(*acked, segment.ack));
        (self.acked[mine], self.bound[other]) = (before.or(Some(segment.ack)), true);
        Belief::Real
    }

    /// RFC 5961 §3, and of what refuses a SYN RFC 9293 §3.10.7.3.
    fn reset(&self, state: State, way: Way, segment: Segment) -> Belief {
        let (mine, other) = (self.next[way as usize], self.next[way.turned() as usize]);
        let waits = (state, way) == (State::Begun(Way::Forward), Way::Reverse);
        match (mine, other) {
            (None, Some(asked)) if waits => match segment.has(ACK) && segment.ack == asked {
                true => Belief::Real,
                false => Belief::Dropped,
            },
            (Some(mine), _) if segment.seq == mine => Belief::Real,
            (Some(mine), Some(_))
                if self.bound[way as usize] && segment.seq.wrapping_sub(mine) > 1_000 =>
            {
                Belief::Dropped
            }
            _ => Belief::Unproven,
        }
    }

    fn segment(&mut self, state: State, way: Way, segment: Segment) -> Belief {
        let (mine, other) = (way as usize, way.turned() as usize);
        let (Some(next), Some(theirs)) = (self.next[mine], self.next[other]) else {
            return Belief::Unproven;
        };
        if self.bound[mine] && far(segment.seq, next) {
            return Belief::Dropped;
        }
        if !segment.has(ACK) {
            return Belief::Unproven;
        }
        if far(segment.ack, theirs) {
            return Belief::Dropped;
        }
        self.alone[mine] = false;
        self.next[mine] = Some(segment.seq.wrapping_add(segment.len + u32::from(segment.has(FIN))));
        (self.acked[mine], self.bound[other]) = (Some(segment.ack), true);
        let proposed = self.syn[other].is_some_and(|syn| syn.1);
        let waits = (state, way) == (State::Begun(Way::Forward), Way::Reverse);
        if waits && !proposed { Belief::Opens } else { Belief::Real }
    }

    /// An end begins anew.
    fn begin(&mut self, way: Way, first: u32) {
        let at = way as usize;
        (self.first[at], self.next[at]) = (Some(first), Some(first.wrapping_add(1)));
        (self.acked[at], self.bound[at], self.alone[at]) = (None, false, true);
    }
}

/// Whether a number is none that an end can have sent or acknowledged lately.
const fn far(number: u32, from: u32) -> bool {
    number.wrapping_sub(from).wrapping_add(1_000) > 2_000
}

/// Whether one number comes after another, and not by more than a conversation of the model.
const fn is_after(one: u32, other: u32) -> bool {
    let by = one.wrapping_sub(other);
    by > 0 && by < FAR
}

/// Further than any window.
const FAR: u32 = 1 << 30;

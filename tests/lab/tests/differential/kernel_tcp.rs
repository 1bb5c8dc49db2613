//! What the kernel's connection tracking makes of the segments of a TCP connection, by the table of
//! states in `nf_conntrack_proto_tcp.c` (Linux 6) and the exceptions behind it. As in [`bed`](super::bed)
//! it looks at no windows (`tcp_be_liberal`) and picks up no connection (`tcp_loose` is 0).
//!
//! It is written to say exactly where the kernel drops what Mooring passes; that it says the truth is
//! compared with each segment of each sequence.

use super::sequence::{
    ACK, End, FIN, Protocol, RST, SYN, Send, Sequence, Step, Target, conversation,
};
use super::tracing::{PAYLOAD, numbers};

/// Whether the kernel lets a segment through; `None` if the step is none of a connection's own.
pub(crate) fn passes(sequence: &Sequence, at: usize) -> Option<bool> {
    let of = Segment::of_step(sequence, at)?;
    let mut entry = None;
    for before in 0..at {
        if let Some(segment) = Segment::of_step(sequence, before).filter(|it| it.ends == of.ends) {
            take(&mut entry, segment);
        }
    }
    Some(take(&mut entry, of))
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    ends: (End, End),
    outward: bool,
    kind: Kind,
    seq: u32,
    /// The sequence number behind it.
    end: u32,
    ack: Option<u32>,
    /// A rule of the kernel's lets it begin a connection, and its TTL does not end here.
    may_begin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// Both have sent a SYN.
    SynSent2,
}

/// An entry of the kernel's, with what it remembers beside the state.
#[derive(Debug, Clone, Copy)]
struct Entry {
    state: State,
    /// Whether it began outward.
    outward: bool,
    /// Kind, direction and end of the segment that was last looked at.
    last: (Kind, bool),
    last_end: u32,
    /// By direction, the highest acknowledgment that was sent.
    acknowledged: [Option<u32>; 2],
    /// A FIN has begun the end.
    closing: bool,
    answered: bool,
    assured: bool,
    both_open: bool,
    /// An ACK may be the answer to a SYN that was let through in LAST_ACK.
    challenged: bool,
}

enum Next {
    To(State),
    /// It passes and changes nothing.
    Ignored,
    Invalid,
}

impl Segment {
    fn of_step(sequence: &Sequence, at: usize) -> Option<Self> {
        let Step::Send(send) = sequence.steps[at] else { return None };
        let Protocol::Tcp { flags } = send.protocol else { return None };
        // What comes by another port or from another end is no part of the connection.
        let from = send.from.outside().unwrap_or(send.from);
        if matches!(send.to, Target::MappingOf { peer, off, .. } if off > 0 || peer != from) {
            return None;
        }
        let (inside, peer, outward) = conversation(send);
        let (seq, ack) = numbers(sequence, at, send, flags);
        let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Some(Self {
            ends: (inside, peer),
            outward,
            kind: Kind::of(flags),
            seq,
            end: seq + PAYLOAD as u32 + marks,
            ack: (flags & ACK != 0).then_some(ack),
            may_begin: may_begin(send),
        })
    }
}

/// From inside to outside, and to what is forwarded to a host.
fn may_begin(send: Send) -> bool {
    let open = match send.to {
        Target::End(End::P(_) | End::Q(_)) => send.from.is_inside(),
        Target::End(End::Static(_) | End::Forward) => true,
        Target::End(_) | Target::MappingOf { .. } => false,
    };
    // What has no way out is not entered.
    open && send.ttl > 1
}

impl Kind {
    const fn of(flags: u8) -> Self {
        match flags {
            _ if flags & RST != 0 => Self::Rst,
            _ if flags & SYN != 0 && flags & ACK != 0 => Self::SynAck,
            _ if flags & SYN != 0 => Self::Syn,
            _ if flags & FIN != 0 => Self::Fin,
            _ => Self::Ack,
        }
    }
}

/// The kernel's table: by direction, kind and state.
const fn next(state: State, kind: Kind, is_reply: bool) -> Next {
    use State::*;
    match (kind, is_reply, state) {
        (Kind::Syn, false, SynSent | TimeWait | Close) => Next::To(SynSent),
        (Kind::Syn, false, SynSent2) => Next::To(SynSent2),
        (Kind::Syn, false, _) => Next::Ignored,
        (Kind::Syn, true, SynSent | SynSent2) => Next::To(SynSent2),
        (Kind::Syn, true, TimeWait) => Next::To(SynSent),
        (Kind::Syn, true, _) => Next::Invalid,
        (Kind::SynAck, false, SynRecv | SynSent2) => Next::To(SynRecv),
        (Kind::SynAck, false, _) => Next::Invalid,
        (Kind::SynAck, true, SynSent | SynSent2) => Next::To(SynRecv),
        (Kind::SynAck, true, _) => Next::Ignored,
        (Kind::Fin, _, SynSent | SynSent2) => Next::Invalid,
        (Kind::Fin, _, SynRecv | Established) => Next::To(FinWait),
        (Kind::Fin, _, FinWait | CloseWait | LastAck) => Next::To(LastAck),
        (Kind::Ack, false, SynSent | SynSent2) => Next::Invalid,
        (Kind::Ack, true, SynSent | SynSent2) => Next::Ignored,
        (Kind::Ack, true, SynRecv) => Next::To(SynRecv),
        (Kind::Ack, _, SynRecv | Established) => Next::To(Established),
        (Kind::Ack, _, FinWait | CloseWait) => Next::To(CloseWait),
        (Kind::Ack, _, LastAck) => Next::To(TimeWait),
        (Kind::Fin | Kind::Ack, _, TimeWait) => Next::To(TimeWait),
        (Kind::Fin | Kind::Ack, _, Close) | (Kind::Rst, ..) => Next::To(Close),
    }
}

/// Whether a segment passes; what it changes.
fn take(slot: &mut Option<Entry>, segment: Segment) -> bool {
    let Some(entry) = slot else {
        // Nothing else begins a connection.
        let begins = segment.kind == Kind::Syn && segment.may_begin;
        *slot = begins.then(|| Entry::new(segment));
        return begins;
    };
    let is_reply = segment.outward != entry.outward;
    let answered = entry.answered;
    let passes = match next(entry.state, segment.kind, is_reply) {
        Next::Invalid => return false,
        Next::To(State::SynSent) if entry.state != State::SynSent => {
            if entry.closing || entry.last == (Kind::Rst, segment.outward) {
                // The next connection of the same ends.
                *slot = None;
                return take(slot, segment);
            }
            entry.ignore(segment, is_reply)
        }
        Next::Ignored => entry.ignore(segment, is_reply),
        Next::To(state) => entry.follow(segment, state, is_reply),
    };
    // Who gives up before there is an answer leaves nothing behind.
    if passes && segment.kind == Kind::Rst && !answered {
        *slot = None;
    } else {
        entry.answered |= passes && is_reply;
    }
    passes
}

impl Entry {
    fn new(segment: Segment) -> Self {
        // Of who speaks to himself, everything else is taken for the answer.
        let is_alone = segment.ends.0 == segment.ends.1;
        let outward = segment.outward != is_alone;
        Self {
            state: State::SynSent,
            outward,
            last: (Kind::Syn, outward),
            last_end: segment.end,
            acknowledged: [None; 2],
            closing: false,
            answered: false,
            assured: false,
            both_open: false,
            challenged: false,
        }
    }

    /// It may be that the ends know better.
    fn ignore(&mut self, segment: Segment, is_reply: bool) -> bool {
        let answers = self.last == (Kind::Syn, !segment.outward);
        if segment.kind == Kind::SynAck && answers && segment.ack == Some(self.last_end) {
            (self.closing, self.challenged, self.acknowledged) = (false, false, [None; 2]);
            self.accept(segment, State::SynRecv);
            return true;
        }
        self.last = (segment.kind, segment.outward);
        self.last_end = segment.end;
        if segment.kind == Kind::Syn && !is_reply {
            (self.both_open, self.challenged) = (false, self.state == State::LastAck);
        }
        true
    }

    fn follow(&mut self, segment: Segment, state: State, is_reply: bool) -> bool {
        let mut state = state;
        match (state, segment.kind) {
            (State::TimeWait, Kind::Ack)
                if self.state == State::LastAck
                    && self.challenged
                    && self.last == (Kind::Syn, !segment.outward) =>
            {
                self.challenged = false;
                return true;
            }
            (State::SynSent2, _) => self.both_open = true,
            (State::SynRecv, Kind::Ack) if is_reply && self.both_open => {
                state = State::Established;
            }
            (_, Kind::Rst) => match self.after_reset(segment) {
                Some(after) => state = after,
                None => return false,
            },
            _ => {}
        }
        self.accept(segment, state);
        true
    }

    /// The state after a RST; `None` if it is older than what its receiver has acknowledged.
    fn after_reset(&self, segment: Segment) -> Option<State> {
        let open = matches!(self.state, State::SynSent | State::SynRecv | State::Established);
        let expected = self.acknowledged[usize::from(!segment.outward)];
        let Some(expected) = expected.filter(|_| open || self.state == State::SynSent2) else {
            return Some(State::Close);
        };
        if self.last.0 == Kind::Syn {
            return Some(State::Close);
        }
        if segment.seq < expected {
            return None;
        }
        let follows = self.last == (Kind::Ack, segment.outward) && segment.seq == self.last_end;
        let is_open = self.state == State::Established && self.assured;
        let believed = !is_open || segment.seq == expected || follows;
        Some(if believed { State::Close } else { self.state })
    }

    fn accept(&mut self, segment: Segment, state: State) {
        let highest = &mut self.acknowledged[usize::from(segment.outward)];
        *highest = (*highest).max(segment.ack);
        if segment.kind == Kind::Ack {
            self.last_end = segment.end;
        }
        self.last = (segment.kind, segment.outward);
        self.closing |= state == State::FinWait && self.state != State::FinWait;
        let was_open = matches!(self.state, State::SynRecv | State::Established);
        self.assured |= self.answered && was_open && state == State::Established;
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::super::sequence::{
        ACK, End, FIN, Protocol, RST, SYN, Send, Sequence, Shape, Step, Target,
    };
    use super::passes;

    /// Whether each of these segments of a connection from inside passes; an answer is `false`.
    fn told(segments: &[(bool, u8)]) -> Vec<bool> {
        let (inside, peer) = (End::A(5000), End::P(7000));
        let step = |(outward, flags): &(bool, u8)| {
            let (from, to) = match outward {
                true => (inside, Target::End(peer)),
                false => (peer, Target::MappingOf { inside, peer, off: 0 }),
            };
            let protocol = Protocol::Tcp { flags: *flags };
            Step::Send(Send { from, to, protocol, ttl: 64, class: 0, shape: Shape::Whole })
        };
        let sequence = Sequence { v6: false, steps: segments.iter().map(step).collect() };
        (0..segments.len()).filter_map(|at| passes(&sequence, at)).collect()
    }

    #[test]
    fn the_kernel_passes_what_a_connection_is_made_of() {
        let whole = [
            (true, SYN),
            (false, SYN | ACK),
            (true, ACK),
            (false, FIN | ACK),
            (true, FIN | ACK),
            (false, ACK),
            (true, SYN),
        ];
        assert!(told(&whole).into_iter().all(|passes| passes));
    }

    #[test]
    fn the_kernel_drops_what_no_connection_expects() {
        let last = |segments: &[(bool, u8)]| told(segments).pop();
        assert_eq!(last(&[(true, ACK)]), Some(false), "nothing is picked up");
        assert_eq!(last(&[(true, SYN), (true, ACK)]), Some(false), "before the answer");
        assert_eq!(last(&[(true, SYN), (false, ACK)]), Some(true), "of an older connection");
        assert_eq!(last(&[(true, SYN), (false, FIN | ACK)]), Some(false));
        assert_eq!(last(&[(true, SYN), (true, RST), (false, SYN | ACK)]), Some(false), "forgotten");
        assert_eq!(last(&[(true, SYN), (false, SYN | ACK), (false, SYN)]), Some(false));
        assert_eq!(last(&[(false, SYN)]), Some(false), "nobody outside begins anything");
    }
}

//! Sequences of packets: what is sent, in words that hold for either NAT, and a generator of random
//! ones.
//!
//! Ports that a NAT chooses are never named: a packet to a mapping says whose mapping it means.

use std::fmt;

/// Some packets, one after the other; each is seen before the next is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) v6: bool,
    pub(crate) steps: Vec<Step>,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Send(Send),
    /// An ICMP error about the packet of an earlier step, as that arrived.
    Complain {
        about: usize,
        from: End,
        kind: (u8, u8),
        is_short: bool,
    },
}

/// A packet with a transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) from: End,
    pub(crate) to: Target,
    pub(crate) protocol: Protocol,
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Udp { without_sum: bool },
    Tcp { flags: u8 },
    Echo { is_reply: bool },
}

/// In how many packets it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    Pieces,
    PiecesBackwards,
}

/// One end of a conversation, with a port or an ICMP identifier. Every sequence has ends of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    /// Two hosts that share the address of a pool.
    A(u16),
    B(u16),
    /// A host with a static address ...
    S(u16),
    /// ... which others know as this.
    Static(u16),
    /// A host with a forwarded port ...
    F,
    /// ... which others know as this.
    Forward,
    /// Two hosts outside.
    P(u16),
    Q(u16),
    /// The pool's address, where nobody has a mapping.
    Pool(u16),
    /// A router far outside.
    Router,
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    End(End),
    /// What `peer` knows `inside` as, or the port that is `off` by so much.
    MappingOf {
        inside: End,
        peer: End,
        off: u16,
    },
}

impl End {
    pub(crate) const fn is_inside(self) -> bool {
        matches!(self, Self::A(_) | Self::B(_) | Self::S(_) | Self::F)
    }

    /// Whether its outside port is the NAT's choice.
    pub(crate) const fn is_mapped(self) -> bool {
        matches!(self, Self::A(_) | Self::B(_))
    }

    /// What others know it as, if that is fixed.
    pub(crate) const fn outside(self) -> Option<Self> {
        match self {
            Self::S(port) => Some(Self::Static(port)),
            Self::F => Some(Self::Forward),
            _ => None,
        }
    }
}

impl Protocol {
    /// Without its details: conversations of one kind share ports.
    pub(crate) const fn kind(self) -> u8 {
        match self {
            Self::Udp { .. } => 17,
            Self::Tcp { .. } => 6,
            Self::Echo { .. } => 1,
        }
    }
}

/// A random number generator that everybody can write down (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len() as u64) as usize]
    }
}

/// Who has spoken to whom so far, and how far their connection is.
#[derive(Debug, Clone, Copy)]
struct Conversation {
    inside: End,
    peer: End,
    kind: u8,
    segments: u8,
    answers: u8,
}

impl Sequence {
    /// The sequence of this number.
    pub(crate) fn random(seed: u64, number: u16) -> Self {
        let dice = Dice(seed << 16 | u64::from(number));
        let v6 = number % 2 == 1;
        let mut making = Making { v6, dice, steps: Vec::new(), known: Vec::new() };
        let length = 2 + making.dice.roll(7);
        while (making.steps.len() as u64) < length {
            let step = making.step();
            making.steps.push(step);
        }
        Self { v6: making.v6, steps: making.steps }
    }
}

struct Making {
    v6: bool,
    dice: Dice,
    steps: Vec<Step>,
    known: Vec<Conversation>,
}

impl Making {
    fn step(&mut self) -> Step {
        if self.known.is_empty() {
            return if self.dice.chance(85) { self.outward() } else { self.unasked() };
        }
        match self.dice.roll(100) {
            0..32 => self.outward(),
            32..66 => self.answer(),
            66..75 => self.wrong_answer(),
            75..82 => self.unasked(),
            82..94 => self.complaint().unwrap_or_else(|| self.answer()),
            _ => self.hairpin(),
        }
    }

    fn send(&mut self, from: End, to: Target, protocol: Protocol) -> Step {
        // What others know a host as does not send: the host does.
        let from = match from {
            End::Static(port) => End::S(port),
            End::Forward => End::F,
            other => other,
        };
        let shape = match (protocol, self.dice.roll(16)) {
            (Protocol::Tcp { .. }, _) | (_, 2..) => Shape::Whole,
            (_, 0) => Shape::Pieces,
            (_, _) => Shape::PiecesBackwards,
        };
        // A hairpin to a mapping is rare enough.
        let sides = if from.is_inside() && matches!(to, Target::MappingOf { .. }) { 8 } else { 50 };
        let ttl = match self.dice.roll(sides) {
            0 => 1,
            1 => 2,
            _ => 64,
        };
        let class = self.dice.pick(&[0, 0, 0, 0x28, 0xb8]);
        Step::Send(Send { from, to, protocol, ttl, class, shape })
    }

    /// From inside to a host outside: something new, or the next packet of a conversation.
    fn outward(&mut self) -> Step {
        let old = self.dice.chance(50) && !self.known.is_empty();
        let mut conversation =
            if old { self.dice.pick(&self.known) } else { self.new_conversation() };
        if !old {
            self.known.push(conversation);
        }
        let protocol = self.next_protocol(&mut conversation, true);
        self.send(conversation.inside, Target::End(conversation.peer), protocol)
    }

    fn new_conversation(&mut self) -> Conversation {
        let port = self.dice.pick(&[5000, 5001]);
        let inside = self.dice.pick(&[End::A, End::A, End::B, End::S])(port);
        let kind = self.dice.pick(&[17, 17, 6, 6, 1]);
        let port = if kind == 1 { 0 } else { self.dice.pick(&[7000, 7001]) };
        let peer = self.dice.pick(&[End::P, End::Q])(port);
        let mut new = Conversation { inside, peer, kind, segments: 0, answers: 0 };
        if kind != 1 && self.dice.chance(5) {
            // A host with a forwarded port speaks first, to whom may speak to it.
            new.inside = End::F;
            new.peer = self.dice.pick(&[End::P, End::Q])(7002);
        }
        new
    }

    /// What comes next in a conversation, mostly.
    fn next_protocol(&mut self, conversation: &mut Conversation, outward: bool) -> Protocol {
        let protocol = match conversation.kind {
            17 => Protocol::Udp { without_sum: !self.v6 && self.dice.chance(8) },
            1 => Protocol::Echo { is_reply: !outward },
            _ => Protocol::Tcp { flags: self.next_flags(*conversation, outward) },
        };
        if outward {
            conversation.segments = conversation.segments.saturating_add(1);
        } else {
            conversation.answers = conversation.answers.saturating_add(1);
        }
        for known in &mut self.known {
            if (known.inside, known.peer, known.kind)
                == (conversation.inside, conversation.peer, conversation.kind)
            {
                *known = *conversation;
            }
        }
        protocol
    }

    fn next_flags(&mut self, conversation: Conversation, outward: bool) -> u8 {
        if self.dice.chance(12) {
            return self.dice.pick(&[SYN, ACK, FIN | ACK, RST, SYN | ACK, RST | ACK]);
        }
        match (outward, conversation.segments, conversation.answers) {
            (true, 0, _) | (true, _, 0) => SYN,
            (false, _, 0) => SYN | ACK,
            (true, 1, _) => ACK,
            _ => self.dice.pick(&[ACK | PSH, ACK | PSH, ACK, FIN | ACK, RST]),
        }
    }

    fn answer(&mut self) -> Step {
        let mut conversation = self.dice.pick(&self.known);
        let protocol = self.next_protocol(&mut conversation, false);
        self.send(conversation.peer, mapping(conversation, 0), protocol)
    }

    /// By another port, another host, or to a port beside.
    fn wrong_answer(&mut self) -> Step {
        let conversation = self.dice.pick(&self.known);
        let (mut from, mut off) = (conversation.peer, 0);
        let other_port = |port: u16| if port == 7000 { 7001 } else { 7000 };
        match (self.dice.roll(3), conversation.peer, conversation.kind) {
            (0, End::P(port), 6 | 17) => from = End::P(other_port(port)),
            (0, End::Q(port), 6 | 17) => from = End::Q(other_port(port)),
            (1, End::P(port), _) => from = End::Q(port),
            (1, End::Q(port), _) => from = End::P(port),
            _ => off = 1,
        }
        let mut copy = conversation;
        let protocol = self.next_protocol(&mut copy, false);
        self.send(from, mapping(conversation, off), protocol)
    }

    /// From outside to what is open to it, and to what is not.
    fn unasked(&mut self) -> Step {
        let kind = self.dice.pick(&[17, 6, 1]);
        let peer = self.dice.pick(&[End::P, End::Q])(if kind == 1 { 0 } else { 7002 });
        let open = self.dice.roll(4);
        let (inside, target) = match (open, kind) {
            (0, _) => (None, End::Pool(if kind == 1 { 5009 } else { 99 })),
            (1, 6 | 17) => (Some(End::F), End::Forward),
            _ => (Some(End::S(6000)), End::Static(6000)),
        };
        if let Some(inside) = inside {
            self.known.push(Conversation { inside, peer, kind, segments: 1, answers: 1 });
        }
        let protocol = match kind {
            17 => Protocol::Udp { without_sum: false },
            6 => Protocol::Tcp { flags: self.dice.pick(&[SYN, SYN, SYN, ACK, SYN | ACK, RST]) },
            _ => Protocol::Echo { is_reply: self.dice.chance(10) },
        };
        self.send(peer, Target::End(target), protocol)
    }

    /// From one inside host to another by what that is known as outside, and back.
    fn hairpin(&mut self) -> Step {
        let kind = self.dice.pick(&[17, 6]);
        let port = self.dice.pick(&[5000, 5001]);
        // The last two may reach themselves.
        let from =
            self.dice.pick(&[End::A(port), End::A(port), End::B(port), End::S(port), End::F]);
        let to = match self.dice.roll(4) {
            0 => {
                let other = self.known.iter().find(|known| {
                    known.inside.is_mapped() && known.inside != from && known.kind == kind
                });
                match other {
                    Some(other) => mapping(*other, 0),
                    None => Target::End(End::Forward),
                }
            }
            1 => Target::End(End::Forward),
            _ => Target::End(End::Static(6000)),
        };
        if let Target::End(peer) = to {
            self.known.push(Conversation { inside: from, peer, kind, segments: 1, answers: 0 });
        }
        let protocol = if kind == 17 {
            Protocol::Udp { without_sum: false }
        } else {
            Protocol::Tcp { flags: SYN }
        };
        self.send(from, to, protocol)
    }

    /// About a whole packet of an earlier step, from who received it or a router on its way.
    fn complaint(&mut self) -> Option<Step> {
        let whole = |step: &Step| match step {
            Step::Send(send) if send.shape == Shape::Whole && send.ttl > 2 => Some(*send),
            _ => None,
        };
        let sent: Vec<_> =
            self.steps.iter().map(whole).enumerate().filter(|(_, send)| send.is_some()).collect();
        if sent.is_empty() {
            return None;
        }
        let (about, send) = self.dice.pick(&sent);
        let send = send?;
        let from = match send.to {
            Target::End(end @ (End::P(_) | End::Q(_))) => self.dice.pick(&[end, End::Router]),
            Target::MappingOf { inside, .. } => inside,
            Target::End(End::Static(port)) => End::S(port),
            Target::End(End::Forward) => End::F,
            Target::End(_) => return None,
        };
        let kind = self.dice.pick(if self.v6 { &ERRORS_V6[..] } else { &ERRORS_V4[..] });
        Some(Step::Complain { about, from, kind, is_short: self.dice.chance(40) })
    }
}

fn mapping(conversation: Conversation, off: u16) -> Target {
    match conversation.inside {
        End::S(port) => Target::End(End::Static(port + off)),
        End::F => Target::End(End::Forward),
        inside => Target::MappingOf { inside, peer: conversation.peer, off },
    }
}

/// Which conversation a packet belongs to, and whether it goes outward.
pub(crate) fn conversation(send: Send) -> (End, End, bool) {
    let to = match send.to {
        Target::End(end @ (End::Static(_) | End::Forward)) => Some(end),
        Target::MappingOf { inside, .. } => inside.outside(),
        Target::End(_) => None,
    };
    // Between two hosts that both are known by fixed ends, neither is the outer one.
    if let (Some(from), Some(to)) = (send.from.outside(), to) {
        return (from.min(to), from.max(to), from < to);
    }
    match send.to {
        Target::MappingOf { inside, peer, .. } if send.from.outside() == Some(peer) => {
            (inside, peer, false)
        }
        Target::MappingOf { inside, .. } => (inside, send.from, false),
        Target::End(End::Static(port)) if !send.from.is_inside() => {
            (End::S(port), send.from, false)
        }
        Target::End(End::Forward) if !send.from.is_inside() => (End::F, send.from, false),
        Target::End(end) => (send.from, end, true),
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", if self.v6 { "IPv6" } else { "IPv4" })?;
        self.steps.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "  {at}: {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(send) => write!(
                f,
                "{:?} -> {:?}: {}, TTL {}, class {:#x}, {:?}",
                send.from, send.to, send.protocol, send.ttl, send.class, send.shape
            ),
            Self::Complain { about, from, kind, is_short } => write!(
                f,
                "{from:?}: error {}/{} about step {about}, {} quote",
                kind.0,
                kind.1,
                if *is_short { "short" } else { "whole" }
            ),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { without_sum } => {
                write!(f, "UDP{}", if *without_sum { " without a checksum" } else { "" })
            }
            Self::Tcp { flags } => write!(f, "TCP {}", flags_text(*flags)),
            Self::Echo { is_reply } => {
                write!(f, "echo {}", if *is_reply { "reply" } else { "request" })
            }
        }
    }
}

/// The flags that are set, by name.
pub(crate) fn flags_text(flags: u8) -> String {
    let names = [(SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK")];
    let set: Vec<_> =
        names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    set.join("+")
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

const ERRORS_V4: [(u8, u8); 9] =
    [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0), (4, 0), (5, 1)];
const ERRORS_V6: [(u8, u8); 7] = [(1, 0), (1, 1), (1, 4), (2, 0), (3, 0), (4, 1), (1, 6)];

//! What the two may do differently, and why: nothing else.

use super::bed::Side;
use super::kernel_tcp;
use super::sequence::{End, Protocol, RST, Send, Sequence, Shape, Step, Target, conversation};
use super::witness::Seen;

/// A step of which not the same was seen.
pub(crate) struct Difference<'d> {
    pub(crate) sequence: &'d Sequence,
    pub(crate) at: usize,
    pub(crate) mooring: &'d [Seen],
    pub(crate) kernel: &'d [Seen],
}

/// One thing that is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    /// One of them lets nothing through and says nothing.
    OnlyMooring,
    OnlyKernel,
    /// Of a packet that both let through.
    Source,
    Class,
    DontFragment,
    QuoteLength,
    Other,
}

/// A difference that is meant.
pub(crate) struct Allowed {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    /// Whether ten thousand sequences may do without it.
    pub(crate) is_rare: bool,
    /// The two do the same with all that follows, but for what is allowed again.
    pub(crate) goes_on: bool,
    aspect: Aspect,
    covers: fn(&Difference<'_>) -> bool,
}

impl Difference<'_> {
    /// What is not the same.
    pub(crate) fn aspects(&self) -> Vec<Aspect> {
        let (ours, theirs) = match (self.mooring, self.kernel) {
            ([], _) => return vec![Aspect::OnlyKernel],
            (_, []) => return vec![Aspect::OnlyMooring],
            ([ours], [theirs]) if ours.error == theirs.error => (ours, theirs),
            _ => return vec![Aspect::Other],
        };
        let mut aspects = Vec::new();
        let rest = Seen {
            source: theirs.source.clone(),
            class: theirs.class,
            dont_fragment: theirs.dont_fragment,
            quoted: theirs.quoted,
            ..ours.clone()
        };
        for (aspect, differs) in [
            (Aspect::Source, ours.source != theirs.source),
            (Aspect::Class, ours.class != theirs.class),
            (Aspect::DontFragment, ours.dont_fragment != theirs.dont_fragment),
            (Aspect::QuoteLength, ours.quoted != theirs.quoted),
            (Aspect::Other, rest != *theirs),
        ] {
            if differs {
                aspects.push(aspect);
            }
        }
        aspects
    }

    /// The entry of the list for one aspect.
    pub(crate) fn entry(&self, aspect: Aspect) -> Option<usize> {
        ALLOWED.iter().position(|entry| entry.aspect == aspect && (entry.covers)(self))
    }

    fn send(&self) -> Option<Send> {
        match self.sequence.steps[self.at] {
            Step::Send(send) => Some(send),
            Step::Complain { .. } => None,
        }
    }

    /// An error of the gateway's own, at both.
    fn is_own_error(&self) -> bool {
        let error = |seen: &[Seen]| matches!(seen, [Seen { error: Some(_), .. }]);
        self.send().is_some() && error(self.mooring) && error(self.kernel)
    }

    /// The same has arrived at both, at two ends of one side: all else that the words say is equal. (An
    /// error shows its receiver a packet of its own, so what it quotes goes with the receiver.)
    fn only_receivers_differ(&self) -> bool {
        let ([ours], [theirs]) = (self.mooring, self.kernel) else { return false };
        let parts = |seen: &Seen| {
            let (to, what) = seen.words.split_once(": ")?;
            let what = what.split_once(", quotes ").map_or(what, |(error, _)| error);
            Some((to.to_owned(), what.to_owned()))
        };
        let (Some((to, what)), Some((other, same))) = (parts(ours), parts(theirs)) else {
            return false;
        };
        let is_whole = |seen: &Seen| !seen.words.contains("WRONG CHECKSUM");
        to != other
            && what == same
            && (ours.side, ours.error, ours.is_own) == (theirs.side, theirs.error, theirs.is_own)
            && is_whole(ours)
    }

    /// What was sent before in the conversation of `send`.
    fn conversation_of(&self, send: Send) -> impl Iterator<Item = Send> {
        let key = |send: Send| {
            let (inside, peer, _) = conversation(send);
            (inside, peer, send.protocol.kind())
        };
        let sent = self.sequence.steps[..self.at].iter().filter_map(|step| match step {
            Step::Send(before) => Some(*before),
            Step::Complain { .. } => None,
        });
        sent.filter(move |before| key(*before) == key(send))
    }

    /// The kernel lets something through that by [`kernel_tcp`] it drops: then that says nothing of
    /// what it drops.
    pub(crate) fn passes_against_its_table(&self) -> bool {
        let dropped = kernel_tcp::passes(self.sequence, self.at) == Some(false);
        dropped && self.kernel.iter().any(|seen| seen.is_own)
    }
}

/// The closed list. Ports that the two choose are not on it: they are compared by whose they are.
pub(crate) const ALLOWED: [Allowed; 13] = [
    Allowed {
        name: "tcp-state",
        reason: "the kernel drops segments that its table of TCP states does not expect (`ct state \
                 invalid`); Mooring, without window tracking, leaves that to the two ends",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::OnlyMooring,
        covers: |it| {
            it.send().is_some_and(|send| {
                kernel_tcp::passes(it.sequence, it.at) == Some(false)
                    && it.mooring.iter().all(|seen| seen.is_own || send.ttl == 1)
            })
        },
    },
    Allowed {
        name: "errors-after-reset",
        reason: "the kernel forgets a connection with its RST; Mooring keeps it for a while, so that \
                 an error that was on its way arrives",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::OnlyMooring,
        covers: |it| {
            let about = match it.sequence.steps[it.at] {
                Step::Complain { about, .. } => it.sequence.steps[about],
                Step::Send(_) => return false,
            };
            let Step::Send(about) = about else { return false };
            it.conversation_of(about)
                .any(|send| matches!(send.protocol, Protocol::Tcp { flags } if flags & RST != 0))
        },
    },
    Allowed {
        name: "shared-port",
        reason: "the kernel keeps the hosts' ports and shares them between peers: a packet to the \
                 wrong port finds another host's mapping for that very peer; Mooring's ports are \
                 random and one host's",
        is_rare: false,
        goes_on: false,
        aspect: Aspect::OnlyKernel,
        covers: |it| {
            let Some(send) = it.send() else { return false };
            let from = send.from.outside().unwrap_or(send.from);
            let wrong = matches!(send.to, Target::MappingOf { peer, off, .. }
                if off > 0 || peer != from);
            let asked = it.sequence.steps[..it.at].iter().any(|step| {
                matches!(step, Step::Send(before) if before.to == Target::End(from)
                    && before.protocol.kind() == send.protocol.kind())
            });
            wrong && asked && it.kernel.iter().all(|seen| seen.is_own)
        },
    },
    Allowed {
        name: "time-exceeded-in-a-hairpin",
        reason: "a hairpin is two sessions: where the first half may begin and the TTL ends there, \
                 Mooring says so before it looks whether the second half would let it through",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::OnlyMooring,
        covers: |it| {
            it.send().is_some_and(|send| {
                let hairpin =
                    send.from.is_inside() && !matches!(send.to, Target::End(End::P(_) | End::Q(_)));
                send.ttl == 1 && hairpin && it.mooring.iter().all(|seen| seen.error.is_some())
            })
        },
    },
    Allowed {
        name: "port-reused-after-reset",
        reason: "the kernel gives a port to another host right after a RST: what was on its way to \
                 the first one reaches the second (RFC 6888 REQ-8 is about that)",
        is_rare: true,
        goes_on: false,
        aspect: Aspect::Other,
        covers: |it| {
            let is_reset =
                |send: Send| matches!(send.protocol, Protocol::Tcp { flags } if flags & RST != 0);
            let (about, is_error) = match it.sequence.steps[it.at] {
                Step::Send(send) => (send, false),
                Step::Complain { about, .. } => match it.sequence.steps[about] {
                    Step::Send(send) => (send, true),
                    Step::Complain { .. } => return false,
                },
            };
            let reset = it.conversation_of(about).any(is_reset);
            let arrives = |seen: &Seen| seen.is_own || is_error && seen.error.is_some();
            reset && it.only_receivers_differ() && arrives(&it.mooring[0])
        },
    },
    Allowed {
        name: "source-quench",
        reason: "RFC 6633: Source Quench is not forwarded; the kernel still translates it",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::OnlyKernel,
        covers: |it| it.kernel.iter().all(|seen| seen.error == Some((4, 0))),
    },
    Allowed {
        name: "time-exceeded-first",
        reason: "the kernel looks at the TTL before its rules: it complains about packets that it \
                 would not have let through; Mooring tells nobody about those",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::OnlyKernel,
        covers: |it| {
            let said = |seen: &Seen| matches!(seen.error, Some((11 | 3, 0))) && !seen.is_own;
            it.send().is_some_and(|send| send.ttl == 1) && it.kernel.iter().all(said)
        },
    },
    Allowed {
        name: "ping-in-pieces",
        reason: "pings in fragments to its own addresses are not put together by Mooring, which \
                 keeps no payload of strangers",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::OnlyKernel,
        covers: |it| {
            it.send().is_some_and(|send| {
                matches!(send.to, Target::End(End::Pool(_))) && send.shape != Shape::Whole
            })
        },
    },
    Allowed {
        name: "source-of-own-errors",
        reason: "the kernel sends its own errors through the translation of the packet they are \
                 about, so that they seem to come from the other end; Mooring's come from the \
                 address of its interface, as RFC 1812 §4.3.2.4 asks",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::Source,
        covers: |it| it.is_own_error() && it.mooring[0].source.starts_with("gateway"),
    },
    Allowed {
        name: "class-of-own-errors",
        reason: "RFC 1812 §4.3.2.5: an error SHOULD have precedence 6, as Mooring's have; the kernel \
                 gives it the class of the packet that it is about",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::Class,
        covers: |it| it.is_own_error() && it.mooring[0].class == 0xc0,
    },
    Allowed {
        name: "quote-of-a-piece",
        reason: "the kernel quotes the datagram that it has put together, Mooring the fragment that \
                 came, with its fragment header: as many bytes in all",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::QuoteLength,
        covers: |it| it.is_own_error() && it.send().is_some_and(|send| send.shape != Shape::Whole),
    },
    Allowed {
        name: "df-of-own-errors",
        reason: "Mooring's own errors are never cut (RFC 6864 §4.1 then asks for no identification); \
                 the kernel sends them with DF off",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::DontFragment,
        covers: |it| it.is_own_error() && it.mooring[0].dont_fragment,
    },
    Allowed {
        name: "df-of-echo-replies",
        reason: "Mooring turns the request round in place, with its DF; the kernel makes a reply",
        is_rare: false,
        goes_on: true,
        aspect: Aspect::DontFragment,
        covers: |it| {
            let is_reply = matches!(it.mooring, [seen] if seen.words.contains("echo reply"));
            is_reply && it.mooring[0].side == Side::Outside && !it.mooring[0].is_own
        },
    },
];

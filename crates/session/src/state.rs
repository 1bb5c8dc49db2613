//! How far a session has come, and how long it may stay silent there.
//!
//! ```text
//!                    SYN →                SYN ←               FIN → / FIN ←
//!   (no session) ─────────▶ HalfOpen ─────────────▶ Established ───────────▶ FinForward / FinReverse
//!                              ▲                     ▲      │                         │ FIN of the other
//!                              │ SYN →     not RST   │      │ RST            RST      ▼
//!                              ├──────────────── Transitory ◀──────────────────── Closing
//!                              └───────────────────────────────── SYN → ──────────────┘
//!   UDP, ICMP queries and what is left:  New ── a packet ← ──▶ Established
//! ```
//!
//! A session that the remote end begins (`static`, `port-forward`, open filtering) starts in
//! [`State::HalfOpenReverse`] or [`State::NewReverse`], and the arrows into Established turn round.
//!
//! The transitions follow RFC 6146 §3.5.2 and RFC 7857 §2: a connection is established when both
//! ends have sent SYN, keeps its long timeout until both have sent FIN, and a RST shortens its life
//! but does not end it at once, for the RST may be forged.

use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::Direction;

/// State of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Not TCP; only the initiator has spoken.
    New,
    /// Both ends have spoken; for TCP both have sent SYN.
    Established,
    /// TCP; only the initiator has sent SYN.
    HalfOpen,
    /// TCP; the initiator has sent FIN.
    FinForward,
    /// TCP; the other end has sent FIN.
    FinReverse,
    /// TCP; both ends have sent FIN.
    Closing,
    /// TCP; an end has sent RST.
    Transitory,
    /// Not TCP; only the remote end has spoken.
    NewReverse,
    /// TCP; only the remote end has sent SYN.
    HalfOpenReverse,
}

impl State {
    /// The state of a session whose first packet went `direction`.
    #[inline]
    #[must_use]
    pub const fn initial(protocol: Protocol, direction: Direction) -> Self {
        match (protocol, direction) {
            (Protocol::TCP, Direction::Forward) => Self::HalfOpen,
            (Protocol::TCP, Direction::Reverse) => Self::HalfOpenReverse,
            (_, Direction::Forward) => Self::New,
            (_, Direction::Reverse) => Self::NewReverse,
        }
    }

    /// The state after a packet of a protocol without connections.
    #[inline]
    #[must_use]
    pub const fn after_datagram(self, direction: Direction) -> Self {
        match (self, direction) {
            (Self::NewReverse, Direction::Forward) => Self::Established,
            (_, Direction::Forward) | (Self::NewReverse, _) => self,
            (_, Direction::Reverse) => Self::Established,
        }
    }

    /// The state after a TCP segment with these flags.
    #[inline]
    #[must_use]
    pub fn after_segment(self, direction: Direction, flags: Flags) -> Self {
        use Direction::{Forward, Reverse};
        let (syn, fin) = (flags.contains(Flags::SYN), flags.contains(Flags::FIN));
        match self {
            // A RST changes nothing here: the timeout is the short one already.
            Self::HalfOpen if syn && direction == Reverse => Self::Established,
            Self::HalfOpenReverse if syn && direction == Forward => Self::Established,
            Self::HalfOpen | Self::HalfOpenReverse => self,
            // RFC 7857 §2.2: a RST moves the session to the short timeout.
            _ if flags.contains(Flags::RST) => Self::Transitory,
            Self::Established | Self::New | Self::NewReverse if fin => match direction {
                Forward => Self::FinForward,
                Reverse => Self::FinReverse,
            },
            Self::Established | Self::New | Self::NewReverse => Self::Established,
            Self::FinForward if fin && direction == Reverse => Self::Closing,
            Self::FinReverse if fin && direction == Forward => Self::Closing,
            Self::FinForward | Self::FinReverse => self,
            // The 5-tuple is used again: the session starts over.
            Self::Closing | Self::Transitory if syn && direction == Forward => Self::HalfOpen,
            Self::Closing | Self::Transitory if syn && !flags.contains(Flags::ACK) => {
                Self::HalfOpenReverse
            }
            Self::Closing => Self::Closing,
            // RFC 6146 §3.5.2.2: any other packet shows that the RST was not obeyed.
            Self::Transitory => Self::Established,
        }
    }

    /// A TCP connection that is not open yet, or no longer.
    #[inline]
    #[must_use]
    pub const fn is_transitory(self) -> bool {
        matches!(self, Self::HalfOpen | Self::HalfOpenReverse | Self::Closing | Self::Transitory)
    }

    /// What may be ended to make room, if the configuration says so: no conversation goes on in it.
    #[inline]
    #[must_use]
    pub const fn is_expendable(self) -> bool {
        self.is_transitory() || matches!(self, Self::New | Self::NewReverse)
    }

    /// Whose SYN has no answer yet, if the state is one of a TCP connection that is not open yet:
    /// forward, that of the host inside.
    #[must_use]
    pub const fn half_open(self) -> Option<Direction> {
        match self {
            Self::HalfOpen => Some(Direction::Forward),
            Self::HalfOpenReverse => Some(Direction::Reverse),
            _ => None,
        }
    }

    /// Which timeout counts in this state.
    #[inline]
    #[must_use]
    pub const fn timeout_class(self, protocol: Protocol) -> TimeoutClass {
        match protocol {
            Protocol::TCP => match self {
                Self::Established
                | Self::FinForward
                | Self::FinReverse
                | Self::New
                | Self::NewReverse => TimeoutClass::TcpEstablished,
                Self::HalfOpen | Self::HalfOpenReverse | Self::Closing | Self::Transitory => {
                    TimeoutClass::TcpTransitory
                }
            },
            Protocol::ICMP | Protocol::ICMPV6 => TimeoutClass::Icmp,
            _ => TimeoutClass::Udp,
        }
    }

    /// The state's name in `show sessions`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New | Self::NewReverse => "new",
            Self::Established => "established",
            Self::HalfOpen | Self::HalfOpenReverse => "half_open",
            Self::FinForward | Self::FinReverse | Self::Closing => "closing",
            Self::Transitory => "transitory",
        }
    }
}

/// Sessions with one timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutClass {
    /// UDP and every protocol without a class of its own.
    Udp,
    /// TCP connections that are open.
    TcpEstablished,
    /// TCP connections that are not open yet or no longer.
    TcpTransitory,
    /// ICMP queries.
    Icmp,
}

/// How long a session may be silent, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// RFC 4787 REQ-5 asks for 120,000 at least.
    pub udp: u32,
    /// RFC 5382 REQ-5 asks for 7,440,000 at least.
    pub tcp_established: u32,
    /// RFC 5382 REQ-5 asks for 240,000 at least.
    pub tcp_transitory: u32,
    /// RFC 5508 REQ-2 asks for 60,000 at least.
    pub icmp: u32,
}

impl Timeouts {
    /// The timeout of a class, in milliseconds.
    #[inline]
    #[must_use]
    pub const fn of(&self, class: TimeoutClass) -> u32 {
        match class {
            TimeoutClass::Udp => self.udp,
            TimeoutClass::TcpEstablished => self.tcp_established,
            TimeoutClass::TcpTransitory => self.tcp_transitory,
            TimeoutClass::Icmp => self.icmp,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { udp: 300_000, tcp_established: 7_440_000, tcp_transitory: 240_000, icmp: 60_000 }
    }
}

#[cfg(test)]
mod tests {
    use mooring_wire::Protocol;
    use mooring_wire::tcp::Flags;

    use super::State;
    use crate::Direction::{self, Forward, Reverse};

    fn walk(segments: &[(Direction, Flags)]) -> Vec<State> {
        walk_from(State::initial(Protocol::TCP, Forward), segments)
    }

    fn walk_from(mut state: State, segments: &[(Direction, Flags)]) -> Vec<State> {
        segments
            .iter()
            .map(|&(direction, flags)| {
                state = state.after_segment(direction, flags);
                state
            })
            .collect()
    }

    #[test]
    fn a_connection_opens_and_closes() {
        let (syn, ack, fin) = (Flags::SYN, Flags::ACK, Flags::FIN);
        let seen = walk(&[
            (Forward, syn),
            (Reverse, syn),
            (Forward, ack),
            (Reverse, fin),
            (Forward, ack),
            (Forward, fin),
            (Reverse, ack),
        ]);
        let expected = [
            State::HalfOpen,
            State::Established,
            State::Established,
            State::FinReverse,
            State::FinReverse,
            State::Closing,
            State::Closing,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_stray_reset_does_not_end_a_connection_that_goes_on() {
        let seen = walk(&[
            (Forward, Flags::SYN),
            (Reverse, Flags::SYN),
            (Reverse, Flags::RST),
            (Forward, Flags::ACK),
        ]);
        assert_eq!(seen[2..], [State::Transitory, State::Established]);
    }

    #[test]
    fn a_closed_connection_opens_again() {
        let seen = walk(&[
            (Forward, Flags::SYN),
            (Reverse, Flags::SYN),
            (Forward, Flags::FIN),
            (Reverse, Flags::FIN),
            (Forward, Flags::SYN),
        ]);
        assert_eq!(seen[3..], [State::Closing, State::HalfOpen]);
    }

    #[test]
    fn a_refused_connection_cannot_be_pinned_from_outside() {
        let seen = walk(&[(Forward, Flags::SYN), (Reverse, Flags::RST), (Reverse, Flags::ACK)]);
        assert_eq!(seen, [State::HalfOpen; 3]);
    }

    #[test]
    fn a_connection_that_the_remote_end_begins() {
        let first = State::initial(Protocol::TCP, Reverse);
        let (syn, ack) = (Flags::SYN, Flags::ACK);
        let seen = walk_from(first, &[(Reverse, syn), (Reverse, ack), (Forward, syn | ack)]);
        assert_eq!(seen, [first, first, State::Established], "the answer opens it, nothing else");
        let again = walk_from(State::Closing, &[(Reverse, syn), (Forward, syn | ack)]);
        assert_eq!(again, [State::HalfOpenReverse, State::Established]);
    }

    #[test]
    fn a_datagram_is_answered_by_the_other_end() {
        let first = State::initial(Protocol::UDP, Reverse);
        assert_eq!(first.after_datagram(Reverse), first);
        assert_eq!(first.after_datagram(Forward), State::Established);
        let first = State::initial(Protocol::UDP, Forward);
        assert_eq!(first.after_datagram(Forward), first);
        assert_eq!(first.after_datagram(Reverse), State::Established);
    }

    #[test]
    fn a_half_open_one_needs_the_syn_of_the_other_end() {
        assert_eq!(walk(&[(Reverse, Flags::ACK), (Forward, Flags::ACK)]), [State::HalfOpen; 2]);
    }
}

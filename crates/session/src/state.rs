//! How far a session has come, and how long it may stay silent there.
//!
//! ```text
//!                    SYN →                SYN ←               FIN → / FIN ←
//!   (no session) ─────────▶ HalfOpen ─────────────▶ Established ───────────▶ FinForward / FinReverse
//!                              ▲                     ▲      │                   │         │ FIN of
//!                              │ SYN →     not RST   │      │ RST           RST │         ▼ the other
//!                              ├──────────── Transitory, Reset ◀────────────────┘      Closing
//!                              └───────────────────────────────── SYN → ──────────────────┘
//!   UDP, ICMP queries and what is left:  New ── a packet ← ──▶ Established
//! ```
//!
//! A session that the remote end begins (`static`, `port-forward`, open filtering) starts in
//! [`State::HalfOpenReverse`] or [`State::NewReverse`], and the arrows into Established turn round.
//!
//! The transitions follow RFC 7857 §2 (its figure 1) and RFC 6146 §3.5.2: a connection is established
//! when both ends have sent SYN, keeps its long timeout until both have sent FIN, and a RST shortens
//! its life but does not end it at once, for the RST may be forged. `docs/tcp-tracking.md` has the
//! whole chart, the deviations and their reasons.

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
    /// TCP; the remote end has sent RST, or both were silent for long. Any segment shows that the
    /// connection goes on.
    Transitory,
    /// Not TCP; only the remote end has spoken.
    NewReverse,
    /// TCP; only the remote end has sent SYN.
    HalfOpenReverse,
    /// TCP; the inside host has sent RST: only a segment of its own shows that the connection goes on.
    Reset,
    /// TCP; after a RST the remote end has sent SYN: what the inside host says then opens it, be it a
    /// new connection or the old one.
    Reopening,
    /// TCP; the inside host goes on with a connection that began before the session.
    PickedUp,
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

    /// Whether a packet of a protocol without connections changes nothing: as
    /// [`Self::after_datagram`] says.
    #[inline]
    #[must_use]
    pub(crate) const fn stays_after_datagram(self, direction: Direction) -> bool {
        match direction {
            Direction::Forward => !matches!(self, Self::NewReverse),
            Direction::Reverse => matches!(self, Self::Established | Self::NewReverse),
        }
    }

    /// The state after a TCP segment with these flags.
    #[must_use]
    pub fn after_segment(self, direction: Direction, flags: Flags) -> Self {
        use Direction::{Forward, Reverse};
        if flags.contains(INERT) {
            return self;
        }
        let (syn, rst) = (flags.contains(Flags::SYN), flags.contains(Flags::RST));
        let fin = flags.contains(Flags::FIN) && !syn;
        let opens = syn && !flags.contains(Flags::ACK);
        match self {
            // A RST changes nothing here: the timeout is the short one already.
            Self::HalfOpen if syn && direction == Reverse => {
                let ends = !opens && flags.contains(Flags::FIN);
                if ends { Self::FinReverse } else { Self::Established }
            }
            Self::HalfOpenReverse if syn && direction == Forward => Self::Established,
            Self::Reopening if !rst && direction == Forward => Self::Established,
            Self::PickedUp if direction == Forward && opens => Self::HalfOpen,
            Self::PickedUp if direction == Forward => self,
            // The other end's answer acknowledges something; anybody can send the rest.
            Self::PickedUp if rst || !flags.contains(Flags::ACK) => self,
            Self::HalfOpen | Self::HalfOpenReverse | Self::Reopening => self,
            // The 5-tuple is used again: the session starts over.
            Self::Closing | Self::Transitory | Self::Reset if opens => match (direction, self) {
                (Forward, _) => Self::HalfOpen,
                (Reverse, Self::Closing) => Self::HalfOpenReverse,
                (Reverse, _) => Self::Reopening,
            },
            Self::Closing => self,
            // RFC 7857 §2.2: a RST moves the session to the short timeout.
            _ if rst => match direction {
                Forward => Self::Reset,
                Reverse if self == Self::Reset => self,
                Reverse => Self::Transitory,
            },
            // RFC 7857 §7.1: what only the remote end says does not undo the inside host's RST.
            Self::Reset if direction == Reverse => self,
            Self::FinForward if fin && direction == Reverse => Self::Closing,
            Self::FinReverse if fin && direction == Forward => Self::Closing,
            Self::FinForward | Self::FinReverse => self,
            // RFC 6146 §3.5.2.2, TRANS: any other segment shows that the RST was not obeyed.
            _ if fin => match direction {
                Forward => Self::FinForward,
                Reverse => Self::FinReverse,
            },
            _ => Self::Established,
        }
    }

    /// Whether a packet of a session starts its timeout anew, other than by a change between two
    /// states with a long one. `after` is the state that it leads to; `outbound`: what comes from
    /// outside does not refresh (RFC 4787 REQ-6).
    ///
    /// Errors do not (RFC 7857 §7.1), nor does what is repeated into nothing. Segments from outside do
    /// not keep alive what is no longer open: else they would hold a dead session and its port for ever.
    #[must_use]
    pub fn refreshes(
        self,
        after: Self,
        direction: Direction,
        flags: Option<Flags>,
        outbound: bool,
    ) -> bool {
        let flags = flags.unwrap_or_default();
        let from_inside = direction == Direction::Forward;
        if self == after {
            let counts = from_inside || !(outbound || self.is_transitory());
            return counts && self.half_open().is_none() && !flags.contains(Flags::RST);
        }
        match (self.is_transitory(), after.is_transitory()) {
            // The short timeout begins, whoever begins it: it is not over already.
            (false, true) => true,
            (true, true) => !flags.contains(Flags::RST),
            (_, false) => from_inside || !outbound,
        }
    }

    /// A TCP connection that is not open yet, or no longer.
    #[inline]
    #[must_use]
    pub const fn is_transitory(self) -> bool {
        self.is_over() || self.half_open().is_some()
    }

    /// A TCP connection that is no longer open, or of which that is not sure: its timer is
    /// [`TimeoutClass::TcpTransitory`].
    #[inline]
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closing | Self::Transitory | Self::Reset)
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
            Self::HalfOpen | Self::PickedUp => Some(Direction::Forward),
            Self::HalfOpenReverse | Self::Reopening => Some(Direction::Reverse),
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
                Self::Closing | Self::Transitory | Self::Reset => TimeoutClass::TcpTransitory,
                Self::HalfOpen | Self::HalfOpenReverse | Self::Reopening | Self::PickedUp => {
                    TimeoutClass::TcpHalfOpen
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
            Self::HalfOpen | Self::HalfOpenReverse | Self::Reopening | Self::PickedUp => {
                "half_open"
            }
            Self::FinForward | Self::FinReverse | Self::Closing => "closing",
            Self::Transitory | Self::Reset => "transitory",
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
    /// TCP connections that are no longer open.
    TcpTransitory,
    /// TCP connections that are not open yet.
    TcpHalfOpen,
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
    /// RFC 7857 §2.1 recommends 240,000 and lets it be less.
    pub tcp_half_open: u32,
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
            TimeoutClass::TcpHalfOpen => self.tcp_half_open,
            TimeoutClass::Icmp => self.icmp,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp: 300_000,
            tcp_established: 7_440_000,
            tcp_transitory: 240_000,
            tcp_half_open: 240_000,
            icmp: 60_000,
        }
    }
}

/// SYN and RST at once: of no connection (RFC 9293 §3.10.7). Changes and refreshes nothing; a segment
/// that passes but is not believed is accounted for as one.
pub const INERT: Flags = Flags(Flags::SYN.0 | Flags::RST.0);

/// Flags that may change the state of a connection.
pub(crate) const TURNING: Flags = Flags(Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0);

#[cfg(test)]
mod tests;

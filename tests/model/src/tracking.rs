//! How far a session has come: the chart of RFC 6146 §3.5.2 with RFC 7857 §2, written out.

use crate::packet::{ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP};

/// Which way a packet of a session travels: from the inside host, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Forward,
    Reverse,
}

impl Way {
    pub(crate) const fn turned(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Only this end has spoken; for TCP: has sent SYN.
    Begun(Way),
    Established,
    /// This end has sent FIN.
    Fin(Way),
    /// Both have.
    Closing,
    /// This end has sent RST.
    Reset(Way),
    /// After a RST the remote end has sent SYN.
    Reopening,
}

impl State {
    /// After a packet that travels `way`; `flags` are those of a TCP segment.
    pub(crate) fn after(self, way: Way, flags: Option<u8>) -> Self {
        let Some(flags) = flags else {
            return match self {
                Self::Begun(first) if first == way => self,
                _ => Self::Established,
            };
        };
        let has = |flag| flags & flag != 0;
        if has(SYN) && has(RST) {
            return self;
        }
        let (ends, opens) = (has(FIN) && !has(SYN), has(SYN) && !has(ACK));
        match self {
            Self::Begun(first) if has(SYN) && first != way => Self::Established,
            Self::Reopening if way == Way::Forward && !has(RST) => Self::Established,
            Self::Begun(_) | Self::Reopening => self,
            Self::Closing if opens => Self::Begun(way),
            Self::Closing => self,
            Self::Reset(_) if opens && way == Way::Reverse => Self::Reopening,
            Self::Reset(_) if opens => Self::Begun(way),
            // The inside host knows best.
            Self::Reset(Way::Forward) if way == Way::Reverse => self,
            _ if has(RST) => Self::Reset(way),
            Self::Fin(first) if ends && first != way => Self::Closing,
            Self::Fin(_) => self,
            _ if ends => Self::Fin(way),
            _ => Self::Established,
        }
    }

    /// Whether a packet that leads to this state, from `before`, starts the timeout anew.
    pub(crate) fn is_kept(self, before: Self, way: Way, flags: Option<u8>, protocol: u8) -> bool {
        let is_reset = flags.is_some_and(|flags| flags & RST != 0);
        let (was_short, is_short) = (before.is_transitory(protocol), self.is_transitory(protocol));
        let half_open = matches!(self, Self::Begun(_) | Self::Reopening) && protocol == TCP;
        match before == self {
            true => !is_reset && !half_open && (way == Way::Forward || !is_short),
            false => !(is_reset && was_short && is_short),
        }
    }

    /// Its timeout in milliseconds, of the configured seconds.
    pub(crate) fn timeout(self, protocol: u8, timeouts: &[u64; 5]) -> u64 {
        let [udp, established, transitory, half_open, icmp] = *timeouts;
        1000 * match (protocol, self) {
            (TCP, Self::Begun(_) | Self::Reopening) => half_open,
            (TCP, Self::Closing | Self::Reset(_)) => transitory,
            (TCP, _) => established,
            (ICMP | ICMPV6, _) => icmp,
            _ => udp,
        }
    }

    /// A TCP connection that is not open yet or no longer.
    pub(crate) const fn is_transitory(self, protocol: u8) -> bool {
        protocol == TCP
            && matches!(self, Self::Begun(_) | Self::Reopening | Self::Closing | Self::Reset(_))
    }

    /// The name in `show sessions`.
    pub(crate) const fn name(self, protocol: u8) -> &'static str {
        match self {
            Self::Begun(_) if protocol != TCP => "new",
            Self::Begun(_) | Self::Reopening => "half_open",
            Self::Established => "established",
            Self::Fin(_) | Self::Closing => "closing",
            Self::Reset(_) => "transitory",
        }
    }
}

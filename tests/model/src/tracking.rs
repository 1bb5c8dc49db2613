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
    /// An end has sent RST.
    Reset,
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
        match self {
            Self::Begun(first) if has(SYN) && first != way => Self::Established,
            Self::Begun(_) => self,
            _ if has(RST) => Self::Reset,
            Self::Established if has(FIN) => Self::Fin(way),
            Self::Fin(first) if has(FIN) && first != way => Self::Closing,
            Self::Established | Self::Fin(_) => self,
            Self::Closing | Self::Reset if has(SYN) && way == Way::Forward => Self::Begun(way),
            Self::Closing | Self::Reset if has(SYN) && !has(ACK) => Self::Begun(way),
            Self::Closing => self,
            Self::Reset => Self::Established,
        }
    }

    /// Its timeout in milliseconds, of the configured seconds.
    pub(crate) fn timeout(self, protocol: u8, timeouts: &[u64; 5]) -> u64 {
        let [udp, established, transitory, half_open, icmp] = *timeouts;
        1000 * match (protocol, self) {
            (TCP, Self::Begun(_)) => half_open,
            (TCP, Self::Closing | Self::Reset) => transitory,
            (TCP, _) => established,
            (ICMP | ICMPV6, _) => icmp,
            _ => udp,
        }
    }

    /// A TCP connection that is not open yet or no longer.
    pub(crate) const fn is_transitory(self, protocol: u8) -> bool {
        protocol == TCP && matches!(self, Self::Begun(_) | Self::Closing | Self::Reset)
    }

    /// The name in `show sessions`.
    pub(crate) const fn name(self, protocol: u8) -> &'static str {
        match self {
            Self::Begun(_) if protocol == TCP => "half_open",
            Self::Begun(_) => "new",
            Self::Established => "established",
            Self::Fin(_) | Self::Closing => "closing",
            Self::Reset => "transitory",
        }
    }
}

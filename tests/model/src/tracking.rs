//! How far a session has come, written out from `docs/tcp-tracking.md` (RFC 7857 §2, RFC 6146 §3.5.2).

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
    /// The inside host goes on with a connection that is older than the appliance.
    PickedUp,
}

impl State {
    /// After a packet that travels `way`, and whether its timeout begins anew; `flags` are those of a TCP
    /// segment, `outbound`: what comes from outside keeps nothing alive.
    pub(crate) fn after(self, way: Way, flags: Option<u8>, outbound: bool) -> (Self, bool) {
        let from_inside = way == Way::Forward;
        let Some(flags) = flags else {
            let after = match self {
                Self::Begun(first) if first == way => self,
                _ => Self::Established,
            };
            return (after, from_inside || !outbound);
        };
        let after = match self.after_segment(way, flags) {
            // Then only the inside host can bring it back.
            Self::Reset(Way::Reverse) if outbound => Self::Reset(Way::Forward),
            after => after,
        };
        let rst = flags & RST != 0;
        let half_open = matches!(self, Self::Begun(_) | Self::Reopening | Self::PickedUp);
        let anew = match (self.is_short(), after.is_short()) {
            _ if self == after => {
                !half_open && !rst && (from_inside || !outbound && !self.is_short())
            }
            (false, true) => true,
            (true, true) => !rst,
            (_, false) => from_inside || !outbound,
        };
        (after, anew)
    }

    fn after_segment(self, way: Way, flags: u8) -> Self {
        let has = |flag| flags & flag != 0;
        let opens = has(SYN) && !has(ACK);
        match (self, way) {
            _ if has(SYN) && has(RST) => self,
            // It is open when the other end acknowledges something, be it with its FIN.
            (Self::PickedUp, Way::Reverse) if has(ACK) && !has(RST) => match has(FIN) {
                true => Self::Fin(way),
                false => Self::Established,
            },
            (Self::PickedUp, Way::Forward) if opens => Self::Begun(way),
            (Self::PickedUp, _) => self,
            // An answer that ends its sender's part at once.
            (Self::Begun(Way::Forward), Way::Reverse) if has(SYN) && has(ACK) && has(FIN) => {
                Self::Fin(way)
            }
            (Self::Begun(first), _) if has(SYN) && first != way => Self::Established,
            (Self::Reopening, Way::Forward) if !has(RST) => Self::Established,
            (Self::Begun(_) | Self::Reopening, _) => self,
            (Self::Closing | Self::Reset(_), Way::Forward) if opens => Self::Begun(way),
            (Self::Closing, Way::Reverse) if opens => Self::Begun(way),
            (Self::Reset(_), Way::Reverse) if opens => Self::Reopening,
            (Self::Closing, _) => self,
            (Self::Reset(Way::Forward), Way::Reverse) => self,
            _ if has(RST) => Self::Reset(way),
            (Self::Fin(first), _) if has(FIN) && first != way => Self::Closing,
            (Self::Fin(_), _) => self,
            _ if has(FIN) && !has(SYN) => Self::Fin(way),
            _ => Self::Established,
        }
    }

    /// Its timeout in milliseconds, of the configured seconds.
    pub(crate) fn timeout(self, protocol: u8, timeouts: &[u64; 5]) -> u64 {
        let [udp, established, transitory, half_open, icmp] = *timeouts;
        1000 * match (protocol, self) {
            (TCP, Self::Begun(_) | Self::Reopening | Self::PickedUp) => half_open,
            (TCP, Self::Closing | Self::Reset(_)) => transitory,
            (TCP, _) => established,
            (ICMP | ICMPV6, _) => icmp,
            _ => udp,
        }
    }

    /// Of TCP: not open yet or no longer.
    const fn is_short(self) -> bool {
        matches!(
            self,
            Self::Begun(_) | Self::Closing | Self::Reset(_) | Self::Reopening | Self::PickedUp
        )
    }

    /// Of TCP: it closes, or may have ended.
    pub(crate) const fn closes(self) -> bool {
        matches!(self, Self::Closing | Self::Reset(_))
    }

    /// No conversation goes on in it.
    pub(crate) const fn is_expendable(self) -> bool {
        self.is_short()
    }

    /// The name in `show sessions`.
    pub(crate) const fn name(self, protocol: u8) -> &'static str {
        match self {
            Self::Begun(_) | Self::Reopening if protocol == TCP => "half_open",
            Self::Begun(_) | Self::Reopening => "new",
            Self::PickedUp => "half_open",
            Self::Established => "established",
            Self::Fin(_) | Self::Closing => "closing",
            Self::Reset(_) => "transitory",
        }
    }
}

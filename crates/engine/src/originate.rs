//! ICMP errors of our own: what we tell the sender of a packet that we cannot forward.
//!
//! They are made before anything is translated, so the sender sees its own packet quoted, in its own
//! view of the world (RFC 1812 §4.3.2, RFC 4443 §2.4), and they go back to the link address that the
//! packet came from.

use mooring_nat::HAIRPIN_INTERFACE;
use mooring_packet::Packet;
use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;
use mooring_wire::ethernet::{self, Ethernet, HEADER_LEN};

use crate::classify::Flow;
use crate::family::Family;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine};

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The packet's time to live ended here.
    TimeExceeded,
    /// The packet may not be cut and is longer than this many bytes (RFC 1191 §4, RFC 4443 §3.2).
    TooBig(u16),
    /// We have no room for another session (RFC 6888 REQ-11 and design: the host is told), or the next
    /// hop does not answer (RFC 1812 §5.2.7.1).
    HostUnreachable,
    /// Nobody inside wanted the connection (RFC 5382 REQ-4).
    PortUnreachable,
}

/// Who complains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Complainer<A> {
    pub(crate) interface: InterfaceId,
    pub(crate) mac: Mac,
    pub(crate) address: A,
}

impl Engine {
    /// Tells the sender that its packet's time ended here (RFC 1812 §5.3.1, RFC 4443 §3.3).
    #[cold]
    pub(crate) fn expired<A: Family>(
        &mut self,
        scene: Scene,
        flow: &Flow<A>,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> DropReason {
        self.complain(scene, Complaint::TimeExceeded, flow, packet, outbox);
        DropReason::TtlExpired
    }

    /// Tells a host inside that wanted a new session when there is no room for it, and anybody whose
    /// packet's time ended here; every other refusal is silent.
    pub(crate) fn refused<A: Family>(
        &mut self,
        scene: Scene,
        reason: DropReason,
        flow: &Flow<A>,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> DropReason {
        // Who is outside of that address does not hear how full we are.
        let outside = || self.policy.outside_of(flow.key.destination.into());
        let complaint = match reason {
            DropReason::TableFull
            | DropReason::NeighborTableFull
            | DropReason::PortsExhausted
            | DropReason::PoolEmpty
            | DropReason::AddressNotHeld
            | DropReason::SourceLimit
            | DropReason::PoolLimit
            | DropReason::HalfOpenLimit
            | DropReason::SessionRateLimit
                if !outside().contains(scene.ingress) =>
            {
                Complaint::HostUnreachable
            }
            DropReason::TtlExpired => Complaint::TimeExceeded,
            DropReason::NoSession | DropReason::Filtered => {
                self.hold_unsolicited(scene, flow, packet);
                return reason;
            }
            _ => return reason,
        };
        self.complain(scene, complaint, flow, packet, outbox);
        reason
    }

    /// Sends an ICMP error back to where the packet came from, as often as the limit allows.
    pub(crate) fn complain<A: Family>(
        &mut self,
        scene: Scene,
        complaint: Complaint,
        flow: &Flow<A>,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) {
        // What another worker's half of a hairpin has translated, nobody has sent so.
        if scene.ingress == HAIRPIN_INTERFACE {
            return self.complain_across(scene, complaint, flow, packet, outbox);
        }
        let Some(address) = self.own_address(scene.ingress) else { return };
        if !self.may_complain(scene.now, complaint) {
            return;
        }
        let mac = self.links[usize::from(scene.ingress.0)].mac;
        let from = Complainer { interface: scene.ingress, mac, address };
        if complain(packet.bytes(), flow, complaint, from, outbox) {
            self.counters.originated += 1;
        }
    }

    /// Whether the rate of our errors leaves room for another (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f)).
    pub(crate) fn may_complain(&mut self, now: Tick, complaint: Complaint) -> bool {
        let limit = match complaint {
            Complaint::TooBig(_) => &mut self.too_big_limit,
            _ => &mut self.error_limit,
        };
        limit.allow(now)
    }
}

/// Sends an error about the packet in `frame`, whose flow is `flow`, back to its sender. False when
/// the packet may get none, or no buffer is free.
///
/// That there is no error about an ICMP error (RFC 1122 §3.2.2) needs no look: it is no packet of a
/// flow.
fn complain<A: Family>(
    frame: &[u8],
    flow: &Flow<A>,
    complaint: Complaint,
    from: Complainer<A>,
    outbox: &mut Outbox,
) -> bool {
    // RFC 1122 §3.2.2, RFC 4443 §2.4 (e): none to a sender that is not one host.
    if flow.key.source.is_martian() {
        return false;
    }
    let Ok(ethernet) = Ethernet::parse(frame) else { return false };
    let packet = &ethernet.payload()[..flow.ip_len as usize];
    let quote = &packet[..packet.len().min(A::MAX_QUOTE)];
    let (to_mac, to) = (ethernet.source(), flow.key.source);
    let len = HEADER_LEN + A::ERROR_HEADERS + quote.len();
    outbox.originate(from.interface, len, |buffer| {
        ethernet::emit(buffer, to_mac, from.mac, A::ETHER_TYPE);
        A::write_error(&mut buffer[HEADER_LEN..], [from.address, to], complaint, quote);
    })
}

#[cfg(test)]
mod tests;

//! Hairpins whose two hosts have different workers: what the worker of the second half has to say to
//! that of the first, whose host has sent the packet. The first has translated it already.
//!
//! - *An error of ours* is written as somebody outside would write it, about the packet as it came out
//!   of the first half and to the outside end there. It is handed over like an error of the other host,
//!   and the first worker translates it with its quote (RFC 5508 REQ-7): so the sender sees what it has
//!   sent, and no more than the outside end of whom it sent to.
//! - *A refused packet* comes back, its front: the first half does not count it, and ends if it has
//!   passed no other. Without, for somebody whom nobody answers, ports would be taken.
//!
//! Both are words between workers: if one is lost, the host hears nothing or the half waits for its
//! timeout.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::{HAIRPIN_INTERFACE, Place};
use mooring_packet::{Batch, OwnedPacket, Packet};
use mooring_policy::InterfaceId;
use mooring_session::{FlowKey, SessionRef, Tick};
use mooring_wire::ethernet::{self, EtherType, Ethernet, HEADER_LEN};

use crate::classify::Flow;
use crate::cut::checksum_to_complete;
use crate::family::Family;
use crate::originate::Complaint;
use crate::outbox::{HandOver, Outbox, Stage};
use crate::walk::Scene;
use crate::{DropReason, Engine, Verdict, Verdicts, WorkerId};

impl Engine {
    /// An error of ours about a packet that another worker's half has translated.
    pub(crate) fn complain_across<A: Family>(
        &mut self,
        scene: Scene,
        complaint: Complaint,
        flow: &Flow<A>,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) {
        let Some(to) = self.worker_across(&flow.key.exchanged()) else { return };
        let Some(own) = self.own_address(scene.arrived) else { return };
        if !self.may_complain(scene.now, complaint) {
            return;
        }
        let mut quote = [0; LONGEST_QUOTE];
        let len = (flow.ip_len as usize).min(A::MAX_QUOTE);
        let quote = &mut quote[..len];
        quote.copy_from_slice(&packet.bytes()[HEADER_LEN..][..len]);
        // The other half undoes what it has done to whole checksums.
        if let Some((at, sum)) = checksum_to_complete(packet)
            && let Some(field) = quote.get_mut(at - HEADER_LEN..at - HEADER_LEN + 2)
        {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        let Some(mut error) = outbox.compose(HEADER_LEN + A::ERROR_HEADERS + len) else { return };
        let ends = [own, flow.key.source];
        A::write_error(&mut error.bytes_mut()[HEADER_LEN..], ends, complaint, quote);
        self.counters.originated += 1;
        self.hand_error_over::<A>((to, scene.arrived), error, outbox);
    }

    /// Gives an error of ours to the worker of the half that it is to be translated by, as one that came
    /// in by this link.
    pub(crate) fn hand_error_over<A: Family>(
        &self,
        (to, ingress): (WorkerId, InterfaceId),
        mut error: OwnedPacket,
        outbox: &mut Outbox,
    ) {
        let mac = self.links[usize::from(ingress.0)].mac;
        let frame = error.bytes_mut();
        ethernet::emit(frame, mac, mac, A::ETHER_TYPE);
        // It has passed no hop when it leaves.
        let l3 = HEADER_LEN as u16;
        A::give_hop_back(frame, Place { l3, l4: l3 + A::IP_HEADER_LEN as u16 });
        outbox.hand_over(HandOver { to, ingress, stage: Stage::Half }, error);
    }

    /// The worker of the other half of a hairpin, of which this is the flow as it comes out of ours.
    pub(crate) fn worker_across<A: Family>(&self, key: &FlowKey<A>) -> Option<WorkerId> {
        let owner = self.owners.of_ours(key);
        (owner != self.share.worker()).then_some(WorkerId(owner))
    }

    /// Gives those packets of a batch of halves back that were refused; `at` is where they arrived.
    pub(crate) fn give_refused_back(
        &self,
        at: InterfaceId,
        batch: &Batch<'_>,
        verdicts: &Verdicts,
        outbox: &mut Outbox,
    ) {
        for (packet, verdict) in batch.packets().iter().zip(verdicts) {
            let Verdict::Drop(reason) = *verdict else { continue };
            if is_of_the_way_out(reason) {
                continue;
            }
            match ether_type(packet) {
                Some(EtherType::IPV4) => self.return_front::<Ipv4Addr>(at, packet, outbox),
                Some(EtherType::IPV6) => self.return_front::<Ipv6Addr>(at, packet, outbox),
                _ => None,
            };
        }
    }

    /// `None` where the packet names no flow, as ICMP errors and later fragments, or there is no buffer.
    fn return_front<A: Family>(
        &self,
        ingress: InterfaceId,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> Option<()> {
        let bytes = packet.bytes();
        let answer = A::key_of_quote(&bytes[HEADER_LEN..]).ok()?.flow()?;
        let to = self.worker_across(&answer)?;
        let front = &bytes[..bytes.len().min(HEADER_LEN + A::MAX_QUOTE)];
        let mut copy = outbox.take(front.len())?;
        copy.bytes_mut().copy_from_slice(front);
        outbox.hand_over(HandOver { to, ingress, stage: Stage::Refused }, copy);
        Some(())
    }

    /// Takes packets back that first halves of hairpins have translated here and other workers have
    /// refused: [`Stage::Refused`]. They are not walked.
    pub fn take_halves_back(&mut self, now: Tick, batch: &Batch<'_>) {
        for packet in batch.packets() {
            match ether_type(packet) {
                Some(EtherType::IPV4) => self.take_half_back::<Ipv4Addr>(now, packet),
                Some(EtherType::IPV6) => self.take_half_back::<Ipv6Addr>(now, packet),
                _ => None,
            };
        }
    }

    /// `None` where the half has ended already.
    fn take_half_back<A: Family>(&mut self, now: Tick, packet: &Packet<'_>) -> Option<()> {
        let refused = &packet.bytes()[HEADER_LEN..];
        let answer = A::key_of_quote(refused).ok()?.flow()?;
        let sessions = &mut A::nat_mut(&mut self.nats).sessions;
        let found = sessions.find_key(&answer)?;
        if sessions.session(found.index).ingress(found.direction) != HAIRPIN_INTERFACE.0 {
            return None;
        }
        let half = SessionRef { direction: found.direction.opposite(), ..found };
        sessions.uncount(half, HEADER_LEN + A::ip_len(refused)?);
        self.end_unused::<A>(now, half.index);
        Some(())
    }
}

/// Whether a packet is dropped for this although both halves of a hairpin want it: a session that it
/// has begun goes on.
const fn is_of_the_way_out(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::TooBig
            | DropReason::RateLimited
            | DropReason::UnsupportedOffload
            | DropReason::FragmentLimit
            | DropReason::NeighborUnresolved
    )
}

fn ether_type(packet: &Packet<'_>) -> Option<EtherType> {
    Ethernet::parse(packet.bytes()).ok().map(|ethernet| ethernet.ether_type())
}

/// Bytes of the longest quote of either family.
const LONGEST_QUOTE: usize = 1280;

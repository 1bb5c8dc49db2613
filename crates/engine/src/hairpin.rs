//! Hairpins: a host inside sends to an address of ours that stands for another one (RFC 4787 REQ-9).
//!
//! Such a packet belongs to two sessions. The sender's translates it to the sender's outside end, as
//! everybody outside would see it, and leads to no interface; the target's is looked up by what the
//! packet is then, as if it had come from outside. Both rewrites are made at once, and one hop is
//! taken. An ICMP error goes the same two ways, as does its quote.
//!
//! Where the two hosts have different workers, the packet is handed over between the two rewrites; what
//! the second worker has to say about it then is in `across.rs`.

use mooring_nat::{Arrival, HAIRPIN_INTERFACE};
use mooring_packet::Packet;
use mooring_policy::InterfaceId;
use mooring_session::{FlowKey, NextHopIndex, SessionIndex, SessionRef, Tick};

use crate::classify::Flow;
use crate::engine::Hops;
use crate::family::Family;
use crate::outbox::Outbox;
use crate::walk::{Scene, wire_len};
use crate::{DropReason, Engine, Verdict};

/// The session of a packet, and the other one that a hairpinned packet has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halves {
    pub(crate) first: SessionRef,
    pub(crate) second: Option<SessionRef>,
}

impl Engine {
    /// A packet whose session leads to an address of ours.
    #[cold]
    pub(crate) fn hairpin<A: Family>(
        &mut self,
        scene: Scene,
        first: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let key = self.key_behind::<A>(first);
        let second = match self.second_half(scene, &key) {
            Some(second) => second,
            None => {
                // Of an owner elsewhere the packet is to be a packet that passed no hop yet.
                let owner = || self.owners.of_ours(&key);
                let scene_of_half = Scene { handed: false, ..scene };
                if let Some(other) = self.other_owner(scene_of_half, owner) {
                    self.translate_rarely(scene, first, flow, packet);
                    A::give_hop_back(packet.bytes_mut(), flow.place);
                    return Ok(Verdict::HandOverHalf(other));
                }
                let hash = A::nat(&self.nats).sessions.hash(&key);
                let Flow { flags, ttl, .. } = *flow;
                let (looked_up, number, drawn) = (false, self.lots.draw(), None);
                let ingress = HAIRPIN_INTERFACE;
                let arrival = Arrival { ingress, key, hash, flags, ttl, looked_up, number, drawn };
                let second = self.admit(scene.now, &arrival).map_err(|reason| {
                    self.take_back(scene.now, first, flow);
                    self.refused(scene, reason, flow, packet, outbox)
                })?;
                // In a full table the first half may have made room for the second.
                if !self.is_still(first, flow) {
                    return Err(DropReason::NoSession);
                }
                second
            }
        };
        let flow = &self.judged(scene, second, flow, packet).map_err(|reason| {
            self.take_back(scene.now, first, flow);
            self.refused(scene, reason, flow, packet, outbox)
        })?;
        let halves = Halves { first, second: Some(second) };
        let mtu = self.mtu(self.egress::<A>(second)).ok_or(DropReason::NoSession)?;
        if wire_len(packet, flow) > usize::from(mtu) {
            return self.too_long(scene, (halves, mtu), flow, packet, outbox);
        }
        let hop = self.translate_halves(scene, halves, flow, packet);
        self.leave(scene.now, hop, packet, outbox)
    }

    /// Hop 4 for a packet of one session or two.
    pub(crate) fn translate_halves<A: Family>(
        &mut self,
        scene: Scene,
        halves: Halves,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> NextHopIndex {
        let hop = self.translate_rarely(scene, halves.first, flow, packet);
        let Some(second) = halves.second else { return hop };
        let hop = self.translate_rarely(scene, second, flow, packet);
        A::give_hop_back(packet.bytes_mut(), flow.place);
        hop
    }

    /// The session that knows a packet behind the first half of a hairpin, if the policy still wants
    /// it.
    pub(crate) fn second_half<A: Family>(
        &mut self,
        scene: Scene,
        key: &FlowKey<A>,
    ) -> Option<SessionRef> {
        let found = self.session_of(scene.now, key)?;
        let session = A::nat(&self.nats).sessions.session(found.index);
        (session.ingress(found.direction) == HAIRPIN_INTERFACE.0).then_some(found)
    }

    /// The flow of a packet once its session has translated it: that of the answer, with its ends
    /// exchanged.
    pub(crate) fn key_behind<A: Family>(&self, found: SessionRef) -> FlowKey<A> {
        let session = A::nat(&self.nats).sessions.session(found.index);
        session.key(found.direction.opposite()).exchanged()
    }

    /// The interface that a packet leaves by.
    pub(crate) fn egress<A: Family>(&self, found: SessionRef) -> InterfaceId {
        let session = A::nat(&self.nats).sessions.session(found.index);
        InterfaceId(session.egress(found.direction))
    }

    /// Whether the session that a flow was found in still lives: to begin its second half may end
    /// another session.
    fn is_still<A: Family>(&self, found: SessionRef, flow: &Flow<A>) -> bool {
        A::nat(&self.nats).sessions.find_key(&flow.key) == Some(found)
    }

    /// Ends a session that no packet has passed: it was begun for a packet that nobody wants.
    fn take_back<A: Family>(&mut self, now: Tick, found: SessionRef, flow: &Flow<A>) {
        if self.is_still(found, flow) {
            self.end_unused::<A>(now, found.index);
        }
    }

    /// Ends a session unless a packet has passed it.
    pub(crate) fn end_unused<A: Family>(&mut self, now: Tick, index: SessionIndex) {
        let nat = A::nat_mut(&mut self.nats);
        if nat.sessions.counts(index).iter().all(|counts| counts.packets == 0) {
            nat.end(index, &mut Hops(&mut self.neighbours), now);
            self.counters.sessions_ended += 1;
        }
    }
}

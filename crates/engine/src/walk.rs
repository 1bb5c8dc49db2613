//! A packet's walk: the five hops, a batch at a time, forward only.
//!
//! 1. **rx**: a port has filled the batch (`mooring-io`).
//! 2. **classify**: what each packet is, from its bytes alone.
//! 3. **lookup**: hash all, prefetch, probe; a miss takes the one detour, admission.
//! 4. **rewrite**: the packet as its session says, in place.
//! 5. **verdict**: returned for each packet; the worker transmits what leaves.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::{Arrival, HAIRPIN_INTERFACE, Nat};
use mooring_packet::{Batch, OwnedPacket, Packet};
use mooring_policy::InterfaceId;
use mooring_session::memory::prefetch_from;
use mooring_session::{FlowKey, Likely, NextHopIndex, SessionRef, Tick};
use mooring_wire::ethernet::HEADER_LEN;

use crate::classify::{Class, Classified, Flow, Plain, classify};
use crate::family::Family;
use crate::hairpin::Halves;
use crate::lots::FORESEEN;
use crate::outbox::Outbox;
use crate::{DropReason, Engine, Verdict, Verdicts, WorkerId};

/// Where and when a packet arrived.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) now: Tick,
    /// [`HAIRPIN_INTERFACE`] for what another worker's half of a hairpin has translated.
    pub(crate) ingress: InterfaceId,
    /// The link that it came in by, in either case.
    pub(crate) arrived: InterfaceId,
    /// Another worker has named us as the owner.
    pub(crate) handed: bool,
    /// It is the first piece of its packet.
    pub(crate) in_pieces: bool,
}

/// What comes of a packet that found no session.
pub(crate) enum Begun {
    /// It has one now.
    Session(SessionRef),
    /// It was for us, or for another worker.
    Done(Verdict),
}

impl Engine {
    /// Walks a batch that was received on `ingress`, edits its packets in place and says what becomes
    /// of each. What the engine itself has to say is in `outbox` afterwards.
    ///
    /// # Panics
    /// When `ingress` is not an interface of the policy.
    pub fn process(
        &mut self,
        now: Tick,
        ingress: InterfaceId,
        batch: &mut Batch<'_>,
        outbox: &mut Outbox,
    ) -> Verdicts {
        let arrived = ingress;
        let scene = Scene { now, ingress, arrived, handed: false, in_pieces: false };
        self.walk(scene, batch, outbox)
    }

    /// As [`Engine::process`], for packets that another worker handed over to this one: by
    /// [`Verdict::HandOver`] or [`Verdict::ToAll`], or by [`Verdict::HandOverHalf`], then as `half`.
    /// They are not handed over again; but of a `half` that is refused its first worker hears.
    ///
    /// # Panics
    /// When `ingress` is not an interface of the policy.
    pub fn process_handed(
        &mut self,
        now: Tick,
        (ingress, half): (InterfaceId, bool),
        batch: &mut Batch<'_>,
        outbox: &mut Outbox,
    ) -> Verdicts {
        let arrived = ingress;
        let ingress = if half { HAIRPIN_INTERFACE } else { ingress };
        let scene = Scene { now, ingress, arrived, handed: true, in_pieces: false };
        let verdicts = self.walk(scene, batch, outbox);
        if half {
            self.give_refused_back(arrived, batch, &verdicts, outbox);
        }
        verdicts
    }

    /// Hops 2 to 5, a stretch of the batch after the other.
    #[inline]
    fn walk(&mut self, scene: Scene, batch: &mut Batch<'_>, outbox: &mut Outbox) -> Verdicts {
        let mut verdicts = Verdicts::new();
        // Out of the engine for as long as it is changed, so that no flow has to be copied.
        let mut classified = std::mem::take(&mut self.classified);
        for packets in batch.packets_mut().chunks_mut(STRETCH) {
            let all = &mut classified[..packets.len()];
            self.classify(scene.arrived, packets, all);
            self.prefetch_buckets(all);
            let unknown = self.prefetch_sessions(scene.ingress, all);
            let size = if unknown == 0 { STRETCH } else { GROUP };
            for (nth, group) in packets.chunks_mut(size).enumerate() {
                let at = nth * size;
                if unknown != 0 {
                    self.draw_ahead(scene.ingress, all, (unknown, at));
                }
                for (packet, classified) in group.iter_mut().zip(&all[at..]) {
                    let verdict = match self.finish_shortly(scene, classified, packet) {
                        Some(verdict) => verdict,
                        None => self.finish(scene, classified, packet, outbox),
                    };
                    verdicts.push(verdict);
                }
            }
        }
        self.classified = classified;
        self.counters.work.batch(batch.len());
        verdicts
    }

    /// Hop 2: parse.
    fn classify(&self, ingress: InterfaceId, packets: &[Packet<'_>], all: &mut [Classified]) {
        let own = self.links[usize::from(ingress.0)].mac;
        for (at, (packet, classified)) in packets.iter().zip(all).enumerate() {
            if let Some(ahead) = packets.get(at + AHEAD) {
                prefetch_from(ahead.start());
            }
            classify(packet, own, classified);
        }
    }

    /// The first pass of hop 3: hash, start loading the buckets. Apart from parsing: a load that waits for
    /// a walk of the page tables holds up all but some hundred instructions behind it, and so other such
    /// loads have to be near.
    fn prefetch_buckets(&self, all: &mut [Classified]) {
        let (of_v4, of_v6) = (&self.nats.v4.sessions, &self.nats.v6.sessions);
        for Classified { class, plain, v4, v6 } in all {
            match (plain, class) {
                (Plain::V4, _) => {
                    v4.hash = of_v4.hash_plain(&v4.key);
                    of_v4.prefetch_bucket(v4.hash);
                }
                (Plain::V6, _) => {
                    v6.hash = of_v6.hash_plain(&v6.key);
                    of_v6.prefetch_bucket(v6.hash);
                }
                (Plain::No, Class::Flow) => {
                    v4.hash = of_v4.hash(&v4.key);
                    of_v4.prefetch_bucket(v4.hash);
                }
                (Plain::No, Class::FlowV6) => {
                    v6.hash = of_v6.hash(&v6.key);
                    of_v6.prefetch_bucket(v6.hash);
                }
                _ => {}
            }
        }
    }

    /// The second pass: read the buckets, start loading the sessions. A bit for each packet that has none, and, if there are
    /// such, for those that may have none: of both what admission reads first begins to be loaded.
    fn prefetch_sessions(&self, ingress: InterfaceId, all: &mut [Classified]) -> Unknown {
        let (mut unknown, mut is_any_new) = (0, false);
        for (at, classified) in all.iter_mut().enumerate() {
            let Classified { class, plain, v4, v6 } = classified;
            let likely = match (plain, class) {
                (Plain::V4, _) | (Plain::No, Class::Flow) => {
                    v4.likely = self.nats.v4.sessions.prefetch_session(v4.hash);
                    v4.likely
                }
                (Plain::V6, _) | (Plain::No, Class::FlowV6) => {
                    v6.likely = self.nats.v6.sessions.prefetch_session(v6.hash);
                    v6.likely
                }
                _ => continue,
            };
            if likely.names_none() {
                unknown |= 1 << at;
                is_any_new |= likely == Likely::ABSENT;
                self.prefetch_inside(ingress, classified);
            }
        }
        if is_any_new { unknown } else { 0 }
    }

    /// For a packet that has no session, or none that its bucket named.
    #[cold]
    #[inline(never)]
    fn prefetch_inside(&self, ingress: InterfaceId, classified: &Classified) {
        let Classified { class, v4, v6, .. } = classified;
        match class {
            Class::FlowV6 => self.nats.v6.load_inside(ingress, &v6.key),
            _ => self.nats.v4.load_inside(ingress, &v4.key),
        }
    }

    /// The rest of it, for those of the stretch that are `unknown`, a group at a time: before the group from
    /// `at` on is admitted, for the one behind it, and at first for both. No earlier: each packet that draws and was not
    /// foreseen, or does not and was, puts off all that are behind it.
    #[cold]
    #[inline(never)]
    fn draw_ahead(
        &mut self,
        ingress: InterfaceId,
        all: &mut [Classified],
        (unknown, at): (Unknown, usize),
    ) {
        let below =
            |at: usize| Unknown::MAX.checked_shl(at as u32).map_or(Unknown::MAX, |above| !above);
        let begun = if at == 0 { 0 } else { GROUP };
        let before = (unknown & below(at + begun) & !below(at)).count_ones();
        let left = unknown & below(at + 2 * GROUP) & !below(at + begun);
        for (nth, at) in (before as usize..).zip(bits(left)) {
            let number = self.lots.foresee(nth);
            let Classified { class, v4, v6, .. } = &mut all[at];
            match class {
                Class::FlowV6 => v6.drawn = self.nats.v6.draw_ahead(ingress, &v6.key, number),
                _ => v4.drawn = self.nats.v4.draw_ahead(ingress, &v4.key, number),
            }
        }
        for at in bits(left) {
            let Classified { v4, v6, class, .. } = &all[at];
            match (class, &v4.drawn, &v6.drawn) {
                (Class::FlowV6, _, Some(drawn)) => self.nats.v6.load_outside(drawn, &v6.key),
                (Class::Flow, Some(drawn), _) => self.nats.v4.load_outside(drawn, &v4.key),
                _ => {}
            }
        }
    }

    /// The third pass of hop 3, and hops 4 and 5, for most packets that have been classified.
    #[inline(always)]
    fn finish_shortly(
        &mut self,
        scene: Scene,
        classified: &Classified,
        packet: &mut Packet<'_>,
    ) -> Option<Verdict> {
        match classified.plain {
            Plain::V4 => self.pass_shortly(scene, classified.v4.likely, &classified.v4, packet),
            Plain::V6 => self.pass_shortly(scene, classified.v6.likely, &classified.v6, packet),
            Plain::No => None,
        }
    }

    /// The same for all packets.
    #[inline(never)]
    fn finish(
        &mut self,
        scene: Scene,
        classified: &Classified,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Classified { class, plain, v4, v6 } = classified;
        let plain = *plain != Plain::No;
        let done = match *class {
            Class::Flow => self.pass::<Ipv4Addr>(scene, (v4, plain), packet, outbox),
            Class::FlowV6 => self.pass::<Ipv6Addr>(scene, (v6, plain), packet, outbox),
            Class::QuotedError => self.error(scene, v4, packet, outbox),
            Class::QuotedErrorV6 => self.error(scene, v6, packet, outbox),
            Class::Piece => self.piece::<Ipv4Addr>(scene, packet, outbox),
            Class::PieceV6 => self.piece::<Ipv6Addr>(scene, packet, outbox),
            class @ (Class::Arp | Class::Ndp) => self.neighbour(scene, class, packet, outbox),
            Class::Drop(reason) => Err(reason),
        };
        let verdict = done.unwrap_or_else(Verdict::Drop);
        self.counters.count(verdict);
        verdict
    }

    /// A packet of a flow.
    #[inline]
    fn pass<A: Family>(
        &mut self,
        scene: Scene,
        (flow, plain): (&Flow<A>, bool),
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        if let Some(found) = A::nat(&self.nats).sessions.find(flow.hash, &flow.key) {
            return self.forward(scene, found, flow, packet, outbox);
        }
        self.miss(scene, (flow, plain), packet, outbox)
    }

    /// Hop 4 for a packet whose session is known.
    #[inline]
    pub(crate) fn forward<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let session = A::nat(&self.nats).sessions.session(found.index);
        if session.ingress(found.direction) != scene.ingress.0
            || session.generation != self.generation.0
        {
            return self.unexpected(scene, found, flow, packet, outbox);
        }
        if A::nat(&self.nats).watches_segments() && flow.flags.is_some() {
            return self.watched(scene, found, flow, packet, outbox);
        }
        self.pass_on(scene, found, flow, packet, outbox)
    }

    /// The rest of [`Engine::forward`].
    #[inline(always)]
    pub(crate) fn pass_on<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let session = A::nat(&self.nats).sessions.session(found.index);
        let egress = InterfaceId(session.egress(found.direction));
        if flow.ttl <= 1 {
            return Err(self.expired(scene, flow, packet, outbox));
        }
        // No link has the number of a hairpin.
        let Some(mtu) = self.mtu(egress) else {
            return self.hairpin(scene, found, flow, packet, outbox);
        };
        if wire_len(packet, flow) > usize::from(mtu) {
            let halves = Halves { first: found, second: None };
            return self.too_long(scene, (halves, mtu), flow, packet, outbox);
        }
        let hop = self.translate(scene, found, flow, packet);
        self.leave(scene.now, hop, packet, outbox)
    }

    /// Hop 4 itself, and the account of it. The packet goes to the next hop that is returned.
    ///
    /// The detours call [`Engine::translate_rarely`]: there is one copy of this, without a call in it,
    /// in the way of the packets that do not go by the short one, as those that a device completes.
    #[inline(always)]
    fn translate<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> NextHopIndex {
        // What follows the IP packet is padding of this link, or nobody's business on the next.
        packet.truncate(HEADER_LEN + flow.ip_len as usize);
        let partial = packet.offload.partial().is_some();
        let nat = A::nat_mut(&mut self.nats);
        let session = nat.sessions.session(found.index);
        let hop = session.next_hop(found.direction);
        A::rewrite(packet.bytes_mut(), flow.place, session, found.direction, partial);
        if nat.sessions.touch(found, scene.now, packet.len(), flow.flags) {
            self.turned::<A>(scene.now, found.index);
        }
        self.counters.translated += 1;
        hop
    }

    /// As [`Engine::translate`].
    #[cold]
    #[inline(never)]
    pub(crate) fn translate_rarely<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> NextHopIndex {
        self.translate(scene, found, flow, packet)
    }

    /// Hop 5 for a packet that goes to a next hop: out, or into the queue of those who wait.
    #[inline(always)]
    pub(crate) fn leave(
        &mut self,
        now: Tick,
        hop: NextHopIndex,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        if let Some(l2) = self.neighbours.resolved(hop) {
            packet.bytes_mut()[..HEADER_LEN].copy_from_slice(&l2.header);
            return Ok(Verdict::Tx(l2.egress));
        }
        match self.neighbours.hold(hop, packet, now, outbox) {
            Ok(()) => Ok(Verdict::Hold),
            Err(_) => Err(DropReason::NeighborUnresolved),
        }
    }

    /// Hop 5 for a packet of our own buffers, whose Ethernet header is still to be written.
    pub(crate) fn leave_owned(
        &mut self,
        now: Tick,
        hop: NextHopIndex,
        mut packet: OwnedPacket,
        outbox: &mut Outbox,
    ) -> Result<(), DropReason> {
        if let Some(l2) = self.neighbours.resolved(hop) {
            packet.bytes_mut()[..HEADER_LEN].copy_from_slice(&l2.header);
            outbox.release(l2.egress, packet);
            return Ok(());
        }
        let held = self.neighbours.hold(hop, &packet.as_packet(), now, outbox);
        outbox.discard(packet);
        held.map_err(|_| DropReason::NeighborUnresolved)
    }

    /// The detour for a packet without a session: for us, or admitted, or dropped.
    #[cold]
    pub(crate) fn miss<A: Family>(
        &mut self,
        scene: Scene,
        (flow, plain): (&Flow<A>, bool),
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let found = match self.begin(scene, flow, packet, outbox)? {
            Begun::Session(found) => found,
            Begun::Done(verdict) => return Ok(verdict),
        };
        if plain && let Some(verdict) = self.pass_shortly(scene, found.into(), flow, packet) {
            return Ok(verdict);
        }
        self.forward(scene, found, flow, packet, outbox)
    }

    /// The detour itself, for a packet whose flow was looked up and has no session.
    pub(crate) fn begin<A: Family>(
        &mut self,
        scene: Scene,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Begun, DropReason> {
        let is_echo = flow.key.protocol == A::ICMP && flow.icmp_kind == A::ECHO_REQUEST;
        if let Some(ours) = self.ours(scene.ingress, &flow.key, is_echo)? {
            return self.local(scene, ours, flow, packet).map(Begun::Done);
        }
        if let Some(other) = self.other_owner(scene, || self.owners.of_flow(&flow.key)) {
            return Ok(Begun::Done(Verdict::HandOver(other)));
        }
        if self.is_astray(scene, &flow.key) {
            return Err(self.refused(scene, DropReason::PortsExhausted, flow, packet, outbox));
        }
        let Flow { key, hash, flags, ttl, drawn, .. } = *flow;
        let (ingress, looked_up, number) = (scene.ingress, true, self.lots.draw());
        let arrival = Arrival { ingress, key, hash, flags, ttl, looked_up, number, drawn };
        match self.admit(scene.now, &arrival) {
            Ok(found) => Ok(Begun::Session(found)),
            Err(reason) => Err(self.refused(scene, reason, flow, packet, outbox)),
        }
    }

    /// The worker that a packet without a session belongs to, if it is not this one.
    pub(crate) fn other_owner(&self, scene: Scene, owner: impl FnOnce() -> u8) -> Option<WorkerId> {
        if self.share.of() == 1 || scene.handed {
            return None;
        }
        let owner = owner();
        (owner != self.share.worker()).then_some(WorkerId(owner))
    }

    /// Whether a packet without a session was handed to this worker by one that works by another policy: by
    /// that of this worker it is somebody else's. Who is to have it may not know it yet, so it begins nowhere.
    fn is_astray<A: Family>(&self, scene: Scene, key: &FlowKey<A>) -> bool {
        let owner = || match scene.ingress {
            HAIRPIN_INTERFACE => self.owners.of_ours(key),
            _ => self.owners.of_flow(key),
        };
        scene.handed && owner() != self.share.worker()
    }

    /// The session of a packet that found none.
    pub(crate) fn admit<A: Family>(
        &mut self,
        now: Tick,
        arrival: &Arrival<A>,
    ) -> Result<SessionRef, DropReason> {
        let counts = |nat: &Nat<A>| (nat.created, nat.evicted);
        let before = counts(A::nat(&self.nats));
        let admitted = self.ask::<A, _>(now, |nat, admission| nat.admit(arrival, admission));
        let after = counts(A::nat(&self.nats));
        self.counters.sessions_created += after.0 - before.0;
        self.counters.sessions_ended += after.1 - before.1;
        Ok(admitted?)
    }

    /// The longest packet that a link carries; `None` where a packet goes on into the other half of a
    /// hairpin.
    #[inline]
    pub(crate) fn mtu(&self, egress: InterfaceId) -> Option<u16> {
        self.links.get(usize::from(egress.0)).map(|link| link.mtu)
    }
}

/// Packets that hops 2 to 5 take at a time: enough for their cache misses to overlap, and so few that what is
/// loaded for them is still in the nearest cache when it is used.
pub(crate) const STRETCH: usize = 64;

/// How many packets ahead of the one that is parsed the headers begin to be loaded.
const AHEAD: usize = 8;

/// Packets for which what admission draws is foreseen at a time.
const GROUP: usize = 4;

/// A bit for each packet of a stretch.
type Unknown = u64;

const _: () = assert!(STRETCH <= Unknown::BITS as usize && 2 * GROUP <= FORESEEN);

/// The numbers of the bits that are set, the lowest first.
fn bits(mut left: Unknown) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (left != 0).then(|| left.trailing_zeros() as usize);
        left &= left.wrapping_sub(1);
        lowest
    })
}

/// Bytes of the IP packet that the wire will carry: of one segment, for a super-packet.
#[inline]
pub(crate) fn wire_len<A>(packet: &Packet<'_>, flow: &Flow<A>) -> usize {
    match packet.offload.gso_size() {
        0 => flow.ip_len as usize,
        size => usize::from(size) + usize::from(flow.headers_len) - HEADER_LEN,
    }
}

mod short;

#[cfg(test)]
pub(crate) mod tests;

//! A packet's walk: the five hops, a batch at a time, forward only.
//!
//! 1. **rx**: a port has filled the batch (`mooring-io`).
//! 2. **classify**: what each packet is, from its bytes alone.
//! 3. **lookup**: hash all, prefetch, probe; a miss takes the one detour, admission.
//! 4. **rewrite**: the packet as its session says, in place.
//! 5. **verdict**: returned for each packet; the worker transmits what leaves.

use std::net::{IpAddr, Ipv4Addr};

use mooring_nat::icmp_error::{has_extensions, key_of_quote, rewrite_error_v4};
use mooring_nat::rewrite::rewrite_v4;
use mooring_nat::{Admission, Arrival};
use mooring_packet::{Batch, Packet};
use mooring_policy::{Action, Hop, InterfaceId, Ownership};
use mooring_session::{Direction, NextHopIndex, SessionRef, Tick};
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::icmpv4::{self, Icmpv4};

use crate::classify::{Class, Flow, classify};
use crate::echo;
use crate::engine::Hops;
use crate::neighbours::Outcome;
use crate::outbox::Outbox;
use crate::{DropReason, Engine, Verdict, Verdicts};

/// Where and when a packet arrived.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) now: Tick,
    pub(crate) ingress: InterfaceId,
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
        self.classify(ingress, batch);
        self.prefetch(batch.len());
        let scene = Scene { now, ingress };
        let mut verdicts = Verdicts::new();
        for (at, packet) in batch.packets_mut().iter_mut().enumerate() {
            let verdict = self.finish(scene, at, packet, outbox);
            self.counters.count(verdict);
            verdicts.push(verdict);
        }
        self.counters.batches += 1;
        verdicts
    }

    /// Hop 2, and the first pass of hop 3: parse, hash, start loading the buckets.
    fn classify(&mut self, ingress: InterfaceId, batch: &Batch<'_>) {
        let own = self.links[usize::from(ingress.0)].mac;
        for (packet, class) in batch.packets().iter().zip(self.classes.iter_mut()) {
            *class = classify(packet, own);
            if let Class::Flow(flow) = class {
                flow.hash = self.nat.sessions.hash(&flow.key);
                self.nat.sessions.prefetch_bucket(flow.hash);
            }
        }
    }

    /// The second pass of hop 3: read the buckets, start loading the sessions.
    fn prefetch(&self, packets: usize) {
        for class in &self.classes[..packets] {
            if let Class::Flow(flow) = class {
                self.nat.sessions.prefetch_session(flow.hash);
            }
        }
    }

    /// The third pass of hop 3, and hops 4 and 5, for the packet at `at` in the batch.
    #[inline]
    fn finish(
        &mut self,
        scene: Scene,
        at: usize,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Verdict {
        let done = match self.classes[at] {
            Class::Flow(flow) => match self.nat.sessions.find(flow.hash, &flow.key) {
                Some(found) => self.forward(scene, found, &flow, packet, outbox),
                None => self.miss(scene, &flow, packet, outbox),
            },
            Class::QuotedError(flow) => self.error(scene, &flow, packet, outbox),
            Class::Arp | Class::Ndp => self.neighbour(scene, self.classes[at], packet, outbox),
            Class::EchoV6 => self.echo_v6(scene, packet),
            Class::Drop(reason) => Err(reason),
        };
        done.unwrap_or_else(Verdict::Drop)
    }

    /// Hop 4 for a packet whose session is known.
    #[inline]
    fn forward(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let session = self.nat.sessions.session(found.index);
        if session.ingress(found.direction) != scene.ingress.0 {
            return Err(DropReason::SpoofedSource);
        }
        let egress = InterfaceId(session.egress(found.direction));
        if flow.ttl <= 1 {
            return Err(self.expired(scene, packet, outbox));
        }
        if wire_len(packet, flow) > usize::from(self.links[usize::from(egress.0)].mtu) {
            return Err(self.too_big(scene, egress, flow, packet, outbox));
        }
        // What follows the IP packet is padding of this link, or nobody's business on the next.
        packet.truncate(HEADER_LEN + usize::from(flow.ip_len));
        let hop = session.next_hop(found.direction);
        let partial = packet.offload.partial().is_some();
        rewrite_v4(packet.bytes_mut(), flow.place, session, found.direction, partial);
        self.nat.sessions.touch(found, scene.now, packet.len(), flow.flags);
        self.counters.translated += 1;
        self.leave(scene.now, hop, packet, outbox)
    }

    /// Hop 5 for a packet that goes to a next hop: out, or into the queue of those who wait.
    #[inline]
    fn leave(
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

    /// The detour for a packet without a session: for us, or admitted, or dropped.
    #[cold]
    fn miss(
        &mut self,
        scene: Scene,
        flow: &Flow,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let (source, destination) = (flow.key.source, flow.key.destination);
        if is_martian(source) || is_martian(destination) {
            return Err(DropReason::Martian);
        }
        if let Some(verdict) = self.local(scene, flow, packet) {
            return verdict;
        }
        let to = destination.into();
        if self.is_the_kernels(to) && self.policy.ownership(to).is_none() {
            return Err(DropReason::KernelAddress);
        }
        let Flow { key, hash, flags, ttl, .. } = *flow;
        let arrival = Arrival { ingress: scene.ingress, key, hash, flags, ttl };
        let before = self.nat.sessions.len();
        let mut admission = Admission {
            policy: &self.policy,
            generation: self.generation,
            now: scene.now,
            random: &mut self.random,
            hops: &mut Hops(&mut self.neighbours),
        };
        match self.nat.admit(&arrival, &mut admission) {
            Ok(found) => {
                self.counters.sessions_created += (self.nat.sessions.len() - before) as u64;
                self.forward(scene, found, flow, packet, outbox)
            }
            Err(refusal) => Err(self.refused(scene, refusal.into(), packet, outbox)),
        }
    }

    /// A packet to an address of ours: `None` when it may still belong to a session or begin one.
    fn local(
        &mut self,
        scene: Scene,
        flow: &Flow,
        packet: &mut Packet<'_>,
    ) -> Option<Result<Verdict, DropReason>> {
        let destination = flow.key.destination.into();
        let (ours_alone, ping) = match self.policy.ownership(destination)? {
            Ownership::Interface(_) | Ownership::Gateway(_) => (true, true),
            // Where every protocol is translated, the host behind it answers.
            Ownership::Rule(id) => {
                (false, matches!(self.policy.rule(id).action, Action::PortForward(_)))
            }
            Ownership::Pool(pool) => (false, self.policy.pool(pool).ping),
        };
        // Every address answers on the link of its side: nobody outside learns those of the inside.
        let answers = ping && self.policy.answers_for(scene.ingress, destination);
        if flow.icmp_kind == icmpv4::ECHO_REQUEST && answers {
            let own = self.links[usize::from(scene.ingress.0)].mac;
            return Some(self.echo(scene, |frame| echo::reply_v4(frame, flow.place, own), packet));
        }
        ours_alone.then_some(Err(DropReason::NoService))
    }

    /// An echo request for our own IPv6 address.
    #[cold]
    fn echo_v6(&mut self, scene: Scene, packet: &mut Packet<'_>) -> Result<Verdict, DropReason> {
        let destination = mooring_wire::ipv6::Ipv6::parse(&packet.bytes()[HEADER_LEN..])
            .map_err(|_| DropReason::Malformed)?
            .destination();
        if !self.policy.answers_for(scene.ingress, IpAddr::V6(destination)) {
            return Err(DropReason::UnsupportedProtocol);
        }
        let own = self.links[usize::from(scene.ingress.0)].mac;
        self.echo(scene, |frame| echo::reply_v6(frame, own), packet)
    }

    /// Lets `reply` turn the packet round, as often as the limit allows.
    fn echo(
        &mut self,
        scene: Scene,
        reply: impl FnOnce(&mut [u8]) -> Result<(), DropReason>,
        packet: &mut Packet<'_>,
    ) -> Result<Verdict, DropReason> {
        if !self.echo_limit.allow(scene.now) {
            return Err(DropReason::RateLimited);
        }
        reply(packet.bytes_mut())?;
        self.counters.originated += 1;
        Ok(Verdict::Tx(scene.ingress))
    }

    /// An ICMP error about a packet that we have translated.
    #[cold]
    fn error(
        &mut self,
        scene: Scene,
        flow: &Flow,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        if is_martian(flow.key.source) {
            return Err(DropReason::Martian);
        }
        packet.truncate(HEADER_LEN + usize::from(flow.ip_len));
        let message = &packet.bytes()[usize::from(flow.place.l4)..];
        let icmp = Icmpv4::parse(message).map_err(|_| DropReason::Malformed)?;
        // RFC 5508 REQ-3: an error whose checksum is wrong is dropped.
        if !icmp.checksum_is_valid() {
            return Err(DropReason::BadChecksum);
        }
        let key = key_of_quote(icmp.payload()).ok_or(DropReason::Malformed)?;
        let found = self.nat.sessions.find_key(&key).ok_or(DropReason::NoSession)?;
        let session = self.nat.sessions.session(found.index);
        let egress = InterfaceId(session.egress(found.direction));
        if session.ingress(found.direction) != scene.ingress.0
            || self.is_forged(flow.key.source, scene.ingress, egress)
        {
            return Err(DropReason::SpoofedSource);
        }
        if found.direction == Direction::Forward && has_extensions(message) {
            return Err(DropReason::UnsupportedProtocol);
        }
        if flow.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        if wire_len(packet, flow) > usize::from(self.links[usize::from(egress.0)].mtu) {
            return Err(DropReason::TooBig);
        }
        // An error is for the host that its quote names as sender, nobody else.
        if flow.key.destination != key.destination {
            return Err(DropReason::NoSession);
        }
        let hop = session.next_hop(found.direction);
        rewrite_error_v4(packet.bytes_mut(), flow.place, session, found.direction);
        self.counters.translated += 1;
        self.leave(scene.now, hop, packet, outbox)
    }

    /// Whether a packet claims to come from where it goes to. Any router on the way may send an
    /// error, so more than that cannot be asked of its source (RFC 3704 §2.3).
    fn is_forged(&self, source: Ipv4Addr, ingress: InterfaceId, egress: InterfaceId) -> bool {
        let there = |hop: Hop| hop.interface == egress && egress != ingress;
        self.policy.route(source.into()).is_some_and(there)
    }

    /// ARP or neighbor discovery.
    #[cold]
    fn neighbour(
        &mut self,
        scene: Scene,
        class: Class,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let Scene { now, ingress } = scene;
        let policy = &self.policy;
        let owned = |address: IpAddr| policy.answers_for(ingress, address);
        let outcome = match class {
            Class::Arp => self.neighbours.on_arp(ingress, packet.bytes(), now, owned, outbox),
            _ => self.neighbours.on_ndp(ingress, packet.bytes(), now, owned, outbox),
        };
        match outcome {
            Outcome::Answered | Outcome::Learned => Ok(Verdict::Local),
            Outcome::Conflict(address) => {
                self.counters.conflicts += 1;
                self.neighbours.defend(ingress, address, now, outbox);
                Ok(Verdict::Local)
            }
            Outcome::Ignored(reason) => Err(reason.into()),
        }
    }
}

/// Bytes of the IP packet that the wire will carry: of one segment, for a super-packet.
#[inline]
fn wire_len(packet: &Packet<'_>, flow: &Flow) -> usize {
    match packet.offload.gso_size() {
        0 => usize::from(flow.ip_len),
        size => usize::from(size) + usize::from(flow.headers_len) - HEADER_LEN,
    }
}

/// An address that no packet on a link may have as its source or destination (RFC 1812 §5.3.7).
fn is_martian(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
}

#[cfg(test)]
mod tests;

//! The way in: what happens to the first packet of a flow.
//!
//! In order: probe again, refuse what nobody asked for, route, ask the rules, check the limits, find
//! or make the mapping, insert both directions. Whatever fails, nothing is left behind, and the
//! packet is never forwarded untranslated.

use std::ops::RangeInclusive;

use mooring_policy::{Action, Generation, Hop, InterfaceId, Policy, PoolId, Question};
use mooring_session::{
    Address, Admitted, Direction, FlowKey, InsertError, InsideEnd, Mapping, MappingIndex,
    NextHopIndex, Session, SessionRef, Tick,
};
use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;
use mooring_wire::tcp::Flags;
use rand_core::Rng;

use crate::{Nat, PortLedger, Refusal};

/// A packet without a session.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<A> {
    /// The interface that it came in by.
    pub ingress: InterfaceId,
    /// Its flow.
    pub key: FlowKey<A>,
    /// Hash of the flow, as [`mooring_session::SessionTable::hash`] makes it.
    pub hash: u64,
    /// Flags of a TCP segment.
    pub flags: Option<Flags>,
    /// Hops that are left, this one included.
    pub ttl: u8,
}

/// What admission asks and uses.
pub struct Admission<'a, R, H> {
    /// The rules, routes and pools.
    pub policy: &'a Policy,
    /// Which policy that is.
    pub generation: Generation,
    /// The time.
    pub now: Tick,
    /// Where ports are drawn from.
    pub random: &'a mut R,
    /// The table of neighbours.
    pub hops: &'a mut H,
}

/// The table of next hops, which belongs to the engine.
pub trait NextHops {
    /// The index of a next hop, counting one user more. `None` when the table is full.
    fn acquire(&mut self, hop: Hop, now: Tick) -> Option<NextHopIndex>;

    /// One user less.
    fn release(&mut self, hop: NextHopIndex);
}

impl<A: Address> Nat<A> {
    /// The session of a packet that found none: one that an earlier packet of the batch began, or a
    /// new one.
    ///
    /// # Errors
    /// Why there is none; then nothing has changed.
    pub fn admit<R: Rng, H: NextHops>(
        &mut self,
        arrival: &Arrival<A>,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<SessionRef, Refusal> {
        if let Some(found) = self.sessions.find(arrival.hash, &arrival.key) {
            return Ok(found);
        }
        let destination = arrival.key.destination.into();
        if admission.policy.ownership(destination).is_some() {
            return Err(self.unsolicited(&arrival.key));
        }
        let (rule, pool, hop) = decide(arrival, admission.policy)?;
        if !may_begin(arrival) {
            return Err(Refusal::NoSession);
        }
        let back = way_back(arrival, admission.policy)?;
        // After all that refuses in silence: only who may pass hears that the time ended here.
        if arrival.ttl <= 1 {
            return Err(Refusal::TtlExpired);
        }
        self.check_limits(arrival.key.source, admission.policy)?;
        let (mapping, outside, outside_port) = match pool {
            None => (None, arrival.key.source, arrival.key.source_port),
            Some(pool) => {
                let (index, mapping) = self.map(&arrival.key, pool, admission)?;
                (Some(index), mapping.outside, mapping.outside_port)
            }
        };
        let end = Outside { rule, mapping, address: outside, port: outside_port };
        self.begin(&arrival.key, &end, [hop, back], admission).inspect_err(|_| {
            if let Some(mapping) = mapping {
                self.release_mapping(mapping);
            }
        })
    }

    /// A packet to an address of a pool: mapped for somebody else, or not at all.
    fn unsolicited(&self, key: &FlowKey<A>) -> Refusal {
        match self.mappings.find_outside(key.destination, key.destination_port, key.protocol) {
            Some(_) => Refusal::Filtered,
            None => Refusal::NoSession,
        }
    }

    fn check_limits(&self, source: A, policy: &Policy) -> Result<(), Refusal> {
        if self.sessions.is_full() {
            return Err(Refusal::TableFull);
        }
        if self.sources.sessions(source) >= policy.limits.sessions_per_source {
            return Err(Refusal::SourceLimit);
        }
        Ok(())
    }

    /// The mapping of an inside end in `pool`, with one user more: the one it has (RFC 4787 REQ-1),
    /// or a new one.
    fn map<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        pool: PoolId,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<(MappingIndex, Mapping<A>), Refusal> {
        let index = match self.mappings.find_inside(&inside_end(key, pool)) {
            Some(index) => index,
            None => {
                let mapping = self.lease(key, pool, admission)?;
                self.mappings.insert(mapping).ok_or_else(|| {
                    self.ports.release(mapping.outside, mapping.protocol, mapping.outside_port);
                    Refusal::TableFull
                })?
            }
        };
        self.mappings.acquire(index);
        Ok((index, *self.mappings.mapping(index)))
    }

    /// Leases an outside end for an inside end.
    fn lease<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        id: PoolId,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<Mapping<A>, Refusal> {
        if !PortLedger::<A>::serves(key.protocol) {
            return Err(Refusal::UnsupportedProtocol);
        }
        let pool = admission.policy.pool(id);
        // RFC 4787 REQ-2, "paired": all mappings of an inside host use the same outside address.
        let nth = self.pairing.spread(key.source, pool.address_count());
        let outside = pool.nth_address(nth).and_then(A::from_ip).ok_or(Refusal::PoolEmpty)?;
        let range = lease_range(key.protocol, &pool.ports);
        let outside_port = self
            .ports
            .lease(outside, key.protocol, &range, admission.random)
            .ok_or(Refusal::PortsExhausted)?;
        Ok(Mapping {
            inside: key.source,
            outside,
            inside_port: key.source_port,
            outside_port,
            vrf: key.vrf,
            pool: id.0,
            protocol: key.protocol,
        })
    }

    /// Inserts the session under both keys.
    fn begin<R, H: NextHops>(
        &mut self,
        key: &FlowKey<A>,
        end: &Outside<A>,
        [hop, back]: [Hop; 2],
        admission: &mut Admission<'_, R, H>,
    ) -> Result<SessionRef, Refusal> {
        let now = admission.now;
        let forward_hop = admission.hops.acquire(hop, now).ok_or(Refusal::NeighborTableFull)?;
        let Some(reverse_hop) = admission.hops.acquire(back, now) else {
            admission.hops.release(forward_hop);
            return Err(Refusal::NeighborTableFull);
        };
        let admitted = Admitted {
            outside: end.address,
            outside_port: end.port,
            l4_delta: l4_delta(key, end.address, end.port),
            forward_hop,
            reverse_hop,
            ingress: [back.interface.0, hop.interface.0],
            rule: end.rule,
            generation: admission.generation.0,
        };
        let inserted = self.sessions.insert(Session::new(key, admitted), end.mapping, now);
        let index = inserted.map_err(|error| {
            admission.hops.release(forward_hop);
            admission.hops.release(reverse_hop);
            match error {
                InsertError::Full => Refusal::TableFull,
                // Only untranslated (`bypass`) flows can meet a translated one here.
                InsertError::KeyTaken => Refusal::PortsExhausted,
            }
        })?;
        self.sources.add(key.source);
        Ok(SessionRef { index, direction: Direction::Forward })
    }
}

/// What a session has outside, and by which rule.
struct Outside<A> {
    rule: u16,
    mapping: Option<MappingIndex>,
    address: A,
    port: u16,
}

/// Routes the packet and asks the rules: which one admits it, the pool that it is translated to
/// (`None`: it stays as it is), and where it goes.
fn decide<A: Address>(
    arrival: &Arrival<A>,
    policy: &Policy,
) -> Result<(u16, Option<PoolId>, Hop), Refusal> {
    let key = &arrival.key;
    let hop = policy.route(key.destination.into()).ok_or(Refusal::NoRoute)?;
    let question = Question {
        ingress: arrival.ingress,
        egress: hop.interface,
        source: key.source.into(),
        destination: key.destination.into(),
        protocol: key.protocol,
        source_port: key.source_port,
        destination_port: key.destination_port,
    };
    let rule = policy.decide(&question).ok_or(Refusal::NoRule)?;
    match policy.rule(rule).action {
        Action::SourceNat(pool) => Ok((rule.0, Some(pool), hop)),
        Action::Bypass => Ok((rule.0, None, hop)),
        Action::Drop => Err(Refusal::RuleDrop),
        // Not translated by this version yet: never forwarded as it is.
        Action::Static(_) | Action::PortForward(_) => Err(Refusal::NoRule),
    }
}

/// The route back to the source. It must lead to where the packet came from and not be ours: else
/// the source is forged (RFC 2827, RFC 3704 §2.2 strict reverse path).
fn way_back<A: Address>(arrival: &Arrival<A>, policy: &Policy) -> Result<Hop, Refusal> {
    let source = arrival.key.source.into();
    let back = policy.route(source).ok_or(Refusal::NoRoute)?;
    if back.interface != arrival.ingress || policy.ownership(source).is_some() {
        return Err(Refusal::SpoofedSource);
    }
    Ok(back)
}

/// A TCP session begins with SYN alone and an ICMP session with a query: a reply carries its
/// identifier in the place of the destination port. Everything else may begin one.
fn may_begin<A>(arrival: &Arrival<A>) -> bool {
    match (arrival.key.protocol, arrival.flags) {
        (Protocol::ICMP | Protocol::ICMPV6, _) => arrival.key.destination_port == 0,
        (_, Some(flags)) => {
            flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST | Flags::FIN)
        }
        (_, None) => true,
    }
}

/// The inside end of the flow's mapping in `pool`.
fn inside_end<A: Copy>(key: &FlowKey<A>, pool: PoolId) -> InsideEnd<A> {
    InsideEnd {
        address: key.source,
        port: key.source_port,
        vrf: key.vrf,
        pool: pool.0,
        protocol: key.protocol,
    }
}

/// The pool's ports, but any identifier for ICMP: its space is not that of the ports. Without 0,
/// which would make a query from outside look like the reply to ours (see [`FlowKey`]).
fn lease_range(protocol: Protocol, ports: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => 1..=u16::MAX,
        _ => ports.clone(),
    }
}

/// What the sum that the L4 checksum covers changes by when the session's packets go forward.
fn l4_delta<A: Address>(key: &FlowKey<A>, outside: A, outside_port: u16) -> Delta {
    let port = Delta::of(key.source_port, outside_port);
    match key.protocol {
        // The checksum of ICMPv4 covers no pseudo-header (RFC 792).
        Protocol::ICMP => port,
        _ => key.source.delta_to(outside).plus(port),
    }
}

#[cfg(test)]
mod tests;

//! Outside ends from a pool: a mapping that all sessions of an inside end share, or, endpoint-
//! dependent, a port that only this session's remote end is answered from.
//!
//! What finds no port is refused, and told (RFC 6888 REQ-11 C and REQ-13): nothing is ever taken from
//! another host, and no property of the pool is given up under pressure (RFC 4787 REQ-11).

use std::ops::RangeInclusive;

use mooring_policy::{Allocation, Mapping as Kind, Policy, Pool, PoolId};
use mooring_session::{Address, FlowKey, InsideEnd, Mapping, MappingIndex};
use mooring_wire::Protocol;
use rand_core::Rng;

use crate::choice::{Choice, Parity};
use crate::plan::pool_has;
use crate::{Admission, Event, EventKind, Nat, PortLedger, Refusal};

/// What stands for the inside host of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside<A> {
    pub(crate) mapping: Option<MappingIndex>,
    pub(crate) address: A,
    pub(crate) port: u16,
}

/// A flow that wants an outside end, and the pool that it is to come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a, A> {
    pub(crate) key: &'a FlowKey<A>,
    pub(crate) id: PoolId,
    pub(crate) pool: &'a Pool,
    pub(crate) policy: &'a Policy,
}

impl<A: Address> Nat<A> {
    /// An outside end of `pool` for the flow `key`.
    pub(crate) fn outside_from<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        id: PoolId,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<Outside<A>, Refusal> {
        if !PortLedger::<A>::serves(key.protocol) {
            return Err(Refusal::UnsupportedProtocol);
        }
        let policy = admission.policy;
        let ask = Ask { key, id, pool: policy.pool(id), policy };
        let found = match ask.pool.mapping {
            Kind::EndpointDependent => self.reserve(&ask, admission.random),
            Kind::EndpointIndependent => self.mapped(&ask, admission.random),
        };
        if found.as_ref().is_err_and(|refusal| *refusal == Refusal::PortsExhausted) {
            self.events.write(Event {
                pool: Some(id.0),
                inside: Some(key.source.into()),
                protocol: Some(key.protocol),
                ..Event::new(EventKind::PortsExhausted, admission.now)
            });
        }
        found
    }

    /// RFC 4787 REQ-1: the mapping that the inside end has, or a new one.
    fn mapped(&mut self, ask: &Ask<'_, A>, random: &mut impl Rng) -> Result<Outside<A>, Refusal> {
        let fits = |mapping: &Mapping<A>| {
            let (address, port) = (mapping.outside, mapping.outside_port);
            pool_has(ask.policy, ask.id, address, port, ask.key.protocol)
        };
        let index = match self.mappings.find_inside(&self.inside_end(ask.key, ask.id), fits) {
            Some(index) => index,
            None => self.new_mapping(ask, random)?,
        };
        Ok(self.share(index))
    }

    /// The outside end of a mapping, with one user more.
    pub(crate) fn share(&mut self, index: MappingIndex) -> Outside<A> {
        self.mappings.acquire(index);
        let mapping = self.mappings.mapping(index);
        Outside { mapping: Some(index), address: mapping.outside, port: mapping.outside_port }
    }

    /// Leases a port for an inside end.
    fn new_mapping(
        &mut self,
        ask: &Ask<'_, A>,
        random: &mut impl Rng,
    ) -> Result<MappingIndex, Refusal> {
        let key = ask.key;
        let outside = self.paired(ask)?;
        let choice = self.choice(ask, outside);
        let claimed = |port| ask.policy.claimed_until(outside.into(), key.protocol, port);
        let outside_port = self
            .ports
            .lease(outside, key.protocol, &choice, claimed, random)
            .ok_or(Refusal::PortsExhausted)?;
        let mapping = Mapping {
            inside: key.source,
            outside,
            inside_port: key.source_port,
            outside_port,
            vrf: key.vrf,
            pool: self.pools.number(ask.id),
            protocol: key.protocol,
        };
        self.mappings.insert(mapping).ok_or_else(|| {
            self.ports.release(outside, key.protocol, outside_port);
            Refusal::TableFull
        })
    }

    /// A port that no other flow with this remote end has; inserting the session reserves it. The
    /// preferred ports, random tries, then a bounded sweep from the last of them.
    fn reserve(&mut self, ask: &Ask<'_, A>, random: &mut impl Rng) -> Result<Outside<A>, Refusal> {
        let address = self.paired(ask)?;
        let choice = self.choice(ask, address);
        let free = |port: &u16| choice.has(*port) && self.is_free(ask, address, *port);
        let mut last = *choice.range.start();
        let drawn =
            (0..RANDOM_TRIES).map_while(|_| choice.draw(random)).inspect(|port| last = *port);
        let port = match choice.preferred().chain(drawn).find(free) {
            Some(port) => port,
            None => choice.round(last).take(SWEPT).find(free).ok_or(Refusal::PortsExhausted)?,
        };
        Ok(Outside { mapping: None, address, port })
    }

    /// Whether nobody has the port for this remote end.
    fn is_free(&self, ask: &Ask<'_, A>, address: A, port: u16) -> bool {
        let reverse = FlowKey { source: address, source_port: port, ..*ask.key }.exchanged();
        let protocol = ask.key.protocol;
        self.sessions.find_key(&reverse).is_none()
            && !self.ports.is_leased(address, protocol, port)
            && ask.policy.claimed_until(address.into(), protocol, port).is_none()
    }

    /// The ports of `address` that the flow may get, and those that are tried first.
    fn choice(&self, ask: &Ask<'_, A>, address: A) -> Choice {
        let (key, pool) = (ask.key, ask.pool);
        let has_ports = matches!(key.protocol, Protocol::TCP | Protocol::UDP);
        let own = (pool.allocation == Allocation::Preserve).then_some(key.source_port);
        let [pair, other] = match pool.contiguity && has_ports {
            true => self.neighbours(ask, address),
            false => [None, None],
        };
        Choice {
            // RFC 4787 REQ-4 speaks of the ports of UDP; RFC 5382 does not ask it of TCP.
            parity: (pool.parity && has_ports).then(|| Parity::of(key.source_port)),
            prefers: [own, pair, other],
            ..Choice::of(lease_range(key.protocol, &pool.ports), self.share)
        }
    }

    /// RFC 4787 §4.2.3: the ports of `address` beside those that stand for the host's ports beside
    /// this one. First the other half of the pair that an even port and the next one are.
    fn neighbours(&self, ask: &Ask<'_, A>, address: A) -> [Option<u16>; 2] {
        let end = self.inside_end(ask.key, ask.id);
        let beside = |port: u16, up: bool| match up {
            true => port.checked_add(1),
            false => port.checked_sub(1),
        };
        let up_first = end.port & 1 == 0;
        [up_first, !up_first].map(|up| {
            let neighbour = InsideEnd { port: beside(end.port, up)?, ..end };
            let here = |mapping: &Mapping<A>| mapping.outside == address;
            let index = self.mappings.find_inside(&neighbour, here)?;
            beside(self.mappings.mapping(index).outside_port, !up)
        })
    }

    /// The inside end of the flow's mapping in `pool`.
    pub(crate) fn inside_end(&self, key: &FlowKey<A>, pool: PoolId) -> InsideEnd<A> {
        InsideEnd {
            address: key.source,
            port: key.source_port,
            vrf: key.vrf,
            pool: self.pools.number(pool),
            protocol: key.protocol,
        }
    }

    /// The pool's address for an inside host, always the same: RFC 4787 REQ-2, "paired".
    fn paired(&self, ask: &Ask<'_, A>) -> Result<A, Refusal> {
        let nth = self.pairing.spread(ask.key.source, ask.pool.address_count());
        ask.pool.nth_address(nth).and_then(A::from_ip).ok_or(Refusal::PoolEmpty)
    }
}

/// The pool's ports, but any identifier for ICMP: its space is not that of the ports. Without 0,
/// which would make a query from outside look like the reply to ours (see [`FlowKey`]).
pub(crate) fn lease_range(protocol: Protocol, ports: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => 1..=u16::MAX,
        _ => ports.clone(),
    }
}

/// Random ports that are tried for a session of an endpoint-dependent pool.
const RANDOM_TRIES: u32 = 32;

/// Ports that are tried one after the other when those were taken.
const SWEPT: usize = 256;

#[cfg(test)]
mod tests;

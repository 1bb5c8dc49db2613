//! Outside ends from a pool: a mapping that all sessions of an inside end share, or, endpoint-
//! dependent, a port that only this session's remote end is answered from.
//!
//! What finds no port, or no address, is refused, and told (RFC 6888 REQ-11 C and REQ-13): nothing is ever taken from
//! another host, and no property of the pool is given up under pressure (RFC 4787 REQ-11), but what
//! `overflow_ports` asks for.

use std::ops::RangeInclusive;

use mooring_policy::{Allocation, Mapping as Kind, Policy, Pool, PoolId};
use mooring_session::{Address, FlowKey, InsideEnd, Mapping, MappingIndex, Tick};
use mooring_wire::Protocol;
use rand_core::Rng;

use crate::ahead::Drawn;
use crate::choice::{Choice, Parity};
use crate::port_owners::{PortOwners, goes_round};
use crate::turn::Turn;
use crate::{Admission, Arrival, Event, EventKind, Nat, Owners, PortLedger, Refusal, Share};

/// What stands for the inside host of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside<A> {
    pub(crate) mapping: Option<MappingIndex>,
    pub(crate) address: A,
    pub(crate) port: u16,
    /// It is of a pool, not what a rule says.
    pub(crate) leased: bool,
    /// No session has the flow of answers to it: that was looked up.
    pub(crate) is_unseen: bool,
}

/// A flow that wants an outside end, and the pool that it is to come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a, A> {
    pub(crate) key: &'a FlowKey<A>,
    pub(crate) id: PoolId,
    pub(crate) pool: &'a Pool,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Tick,
    /// The random number that is drawn first, and what was made of it ahead.
    pub(crate) number: u32,
    pub(crate) drawn: Option<Drawn<A>>,
    /// While some worker may still work by another policy.
    moving: Option<&'a Owners>,
    /// How the end is had: as the pool says, but remotes share the overflow of any pool.
    kind: Kind,
}

impl<A: Address> Nat<A> {
    /// An outside end of `pool` for the flow `key` of a packet.
    pub(crate) fn outside_from<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        id: PoolId,
        arrival: &Arrival<A>,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<Outside<A>, Refusal> {
        let moving = Some(admission.owners).filter(|owners| owners.is_moving());
        let drawn = arrival.drawn.filter(|drawn| drawn.pool == id);
        let ask = Ask {
            moving,
            number: arrival.number,
            drawn,
            ..Ask::new(key, id, admission.policy, admission.now)
        };
        if !PortLedger::<A>::serves(key.protocol) {
            return Err(Refusal::UnsupportedProtocol);
        }
        let random = &mut *admission.random;
        let found = match ask.kind {
            Kind::EndpointDependent => self.unmapped(&ask, random),
            Kind::EndpointIndependent => match self.mapped(&ask, random) {
                // The table of mappings is full where the pool is not.
                Err(Refusal::PortsExhausted | Refusal::TableFull) if ask.overflows() => {
                    self.unmapped(&Ask { kind: Kind::EndpointDependent, ..ask }, random)
                }
                found => found,
            },
        };
        let kind = match found {
            Err(Refusal::PortsExhausted) => EventKind::PortsExhausted,
            Err(Refusal::PoolEmpty | Refusal::AddressNotHeld) => EventKind::NoAddress,
            _ => return found,
        };
        self.events.write(Event {
            pool: Some(id.0),
            inside: Some(key.source.into()),
            protocol: Some(key.protocol),
            ..Event::new(kind, admission.now)
        });
        found
    }

    /// RFC 4787 REQ-1: the mapping that the inside end has, or a new one.
    fn mapped(&mut self, ask: &Ask<'_, A>, random: &mut impl Rng) -> Result<Outside<A>, Refusal> {
        let fits = |mapping: &Mapping<A>| self.may_keep_mapping(ask.policy, ask.id, mapping);
        let index = match self.mappings.find_inside(&self.inside_end(ask.key, ask.id), fits) {
            Some(index) => index,
            None => self.new_mapping(ask, random)?,
        };
        Ok(self.share(index, ask.now))
    }

    /// A port that only this remote end is answered from; inserting the session reserves it.
    #[inline]
    fn unmapped(&mut self, ask: &Ask<'_, A>, random: &mut impl Rng) -> Result<Outside<A>, Refusal> {
        let (address, port) = match self.plain_end(ask) {
            Some(end) => end,
            None => self.find_end(ask, self.turn(ask)?, random)?,
        };
        self.enrol(ask.key.source, address, port, ask.now);
        Ok(Outside { mapping: None, address, port, leased: true, is_unseen: true })
    }

    /// The outside end of a mapping, with one user more.
    pub(crate) fn share(&mut self, index: MappingIndex, now: Tick) -> Outside<A> {
        self.mappings.acquire(index);
        let Mapping { inside, outside: address, outside_port: port, .. } =
            *self.mappings.mapping(index);
        self.enrol(inside, address, port, now);
        Outside { mapping: Some(index), address, port, leased: true, is_unseen: false }
    }

    /// Takes back what [`Self::outside_from`] or [`Self::share`] gave to a session of `host`.
    pub(crate) fn let_go(&mut self, outside: &Outside<A>, host: A, now: Tick) {
        if outside.leased {
            self.strike(host, (outside.address, outside.port), u32::MAX, now);
        }
        if let Some(mapping) = outside.mapping {
            self.release_mapping(mapping, now);
        }
    }

    /// Leases a port for an inside end.
    fn new_mapping(
        &mut self,
        ask: &Ask<'_, A>,
        random: &mut impl Rng,
    ) -> Result<MappingIndex, Refusal> {
        let is_full = self.mappings.len() == self.mappings.capacity();
        let plain = if is_full { None } else { self.plain_end(ask) };
        let (outside, outside_port) = match plain {
            Some(end) => end,
            None => {
                let turn = self.turn(ask)?;
                if is_full {
                    return Err(Refusal::TableFull);
                }
                self.find_end(ask, turn, random)?
            }
        };
        let (key, pool) = (ask.key, self.pools.number(ask.id));
        let mapping = Mapping {
            inside: key.source,
            outside,
            inside_port: key.source_port,
            outside_port,
            vrf: key.vrf,
            pool,
            protocol: key.protocol,
        };
        let index = self.mappings.insert(mapping).expect("the table has room: it was asked");
        self.leases.count(pool, true);
        Ok(index)
    }

    /// An address and port for the flow: mapped ones are leased, others not.
    fn find_end(
        &mut self,
        ask: &Ask<'_, A>,
        turn: Turn,
        random: &mut impl Rng,
    ) -> Result<(A, u16), Refusal> {
        self.sweeps.begin();
        for nth in 0..turn.tries {
            let address = turn.address(ask.pool, nth).ok_or(Refusal::PoolEmpty)?;
            if let Some(port) = self.find_port(ask, address, random) {
                return Ok((address, port));
            }
        }
        Err(Refusal::PortsExhausted)
    }

    /// A port of an address for the flow.
    fn find_port(&mut self, ask: &Ask<'_, A>, address: A, random: &mut impl Rng) -> Option<u16> {
        if matches!(ask.pool.allocation, Allocation::PortBlock(_)) {
            return self.port_in_blocks(ask, address, random);
        }
        let range = ask.range(address)?;
        let share = if goes_round(ask.pool) { self.share } else { Share::ALL };
        let choice = self.choice(ask, address, Choice::of(range, share));
        self.port_of(ask, address, &choice, random)
    }

    /// A port of a choice, leased if it is to be mapped.
    pub(crate) fn port_of(
        &mut self,
        ask: &Ask<'_, A>,
        address: A,
        choice: &Choice,
        random: &mut impl Rng,
    ) -> Option<u16> {
        if ask.kind == Kind::EndpointDependent {
            return self.reserve(ask, address, choice, random);
        }
        self.wake(ask);
        if let Some(port) = self.take_back(ask, address, choice, true) {
            return Some(port);
        }
        let numbers = &self.numbers;
        let taken = |port| ask.taken_until(numbers, address, port);
        let port = self.ports.lease(address, ask.key.protocol, choice, taken, random);
        port.or_else(|| self.take_back(ask, address, choice, false))
    }

    /// A port that no other flow with this remote end has: the preferred ones, random tries, then a
    /// sweep from the last of them, which is bounded, and the longer the rarer they are. In a block the
    /// sweep begins at the first random port: all tries are counted, however many blocks a host has.
    fn reserve(
        &mut self,
        ask: &Ask<'_, A>,
        address: A,
        choice: &Choice,
        random: &mut impl Rng,
    ) -> Option<u16> {
        let free = |port: &u16| choice.has(*port) && self.is_free(ask, address, *port);
        let mut last = *choice.range.start();
        let in_block = matches!(ask.pool.allocation, Allocation::PortBlock(_));
        let tries = if in_block { 1 } else { RANDOM_TRIES };
        let drawn = (0..tries).map_while(|_| choice.draw(random)).inspect(|port| last = *port);
        if let Some(port) = choice.preferred().chain(drawn).find(free) {
            return Some(port);
        }
        let (mut looked_at, allowed) = (0, self.sweeps.allowed(ask.now));
        let swept = choice.round(last).take(allowed).inspect(|_| looked_at += 1);
        let found = { swept }.find(|port| self.is_free(ask, address, *port));
        self.sweeps.spend(looked_at);
        found
    }

    /// Whether nobody has the port for this remote end.
    fn is_free(&self, ask: &Ask<'_, A>, address: A, port: u16) -> bool {
        #[cfg(test)]
        crate::fixture::step();
        let reverse = FlowKey { source: address, source_port: port, ..*ask.key }.exchanged();
        self.sessions.find_key(&reverse).is_none()
            && !self.ports.is_leased(address, ask.key.protocol, port)
            && ask.taken_until(&self.numbers, address, port).is_none()
    }

    /// A choice with what the pool says of the ports of a host.
    pub(crate) fn choice(&self, ask: &Ask<'_, A>, address: A, of: Choice) -> Choice {
        let (key, pool) = (ask.key, ask.pool);
        let has_ports = matches!(key.protocol, Protocol::TCP | Protocol::UDP);
        let own = (pool.allocation == Allocation::Preserve).then_some(key.source_port);
        let [pair, other] = match pool.contiguity && has_ports {
            true => self.neighbours(ask, address),
            false => [None, None],
        };
        let choice = Choice {
            // RFC 4787 REQ-4 speaks of the ports of UDP; RFC 5382 does not ask it of TCP.
            parity: (pool.parity && has_ports).then(|| Parity::of(key.source_port)),
            prefers: [own, pair, other],
            ..of
        };
        // RFC 4787 REQ-3a: "If the host's source port was in the range 0-1023, it is RECOMMENDED the NAT's
        // source port be in the same range", and the other range alike.
        match own.filter(|_| has_ports) {
            Some(port) => choice.on_the_side_of(port),
            None => choice,
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
}

impl<'a, A: Address> Ask<'a, A> {
    /// What a flow asks of a pool.
    pub(crate) fn new(key: &'a FlowKey<A>, id: PoolId, policy: &'a Policy, now: Tick) -> Self {
        let pool = policy.pool(id);
        Self {
            key,
            id,
            pool,
            policy,
            now,
            number: 0,
            drawn: None,
            moving: None,
            kind: pool.mapping,
        }
    }

    /// Whether some worker may still work by another policy.
    pub(crate) const fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Whether remotes share ports where mappings find none.
    fn overflows(&self) -> bool {
        self.pool.overflow_ports.is_some()
    }

    /// The ports of `address` that the host may have one of; of a pool with blocks, all there are.
    pub(crate) fn range(&self, address: A) -> Option<RangeInclusive<u16>> {
        let pool = self.pool;
        match (&pool.allocation, &pool.overflow_ports) {
            (Allocation::Deterministic(_), _) => {
                let (its, ports) = pool.deterministic_slice(self.key.source.into())?;
                (its == address.into()).then_some(ports)
            }
            (Allocation::PortBlock(_), _) => Some(pool.ports.clone()),
            (_, Some(overflow)) if self.kind != pool.mapping => Some(overflow.clone()),
            _ => Some(lease_range(self.key.protocol, &pool.ports)),
        }
    }

    /// Up to which port this one, and those after it, are for something else: a rule, the overflow of
    /// the pool, the blocks or hosts of another pool (of identifiers, which have no range), or another
    /// worker that has not yet heard of the reload that takes them from it.
    pub(crate) fn taken_until(&self, numbers: &PortOwners, address: A, port: u16) -> Option<u16> {
        let (pool, protocol) = (self.pool, self.key.protocol);
        let claimed = self.policy.claimed_until(address.into(), protocol, port);
        let overflow = || {
            let overflow = pool.overflow_ports.as_ref().filter(|_| self.kind == pool.mapping)?;
            overflow.contains(&port).then_some(*overflow.end())
        };
        let moves = |owners: &&Owners| {
            let reverse = FlowKey { source: address, source_port: port, ..*self.key }.exchanged();
            !owners.had(&reverse)
        };
        let moves = || self.moving.filter(moves).map(|_| port);
        claimed.or_else(overflow).or_else(moves).or_else(|| {
            let identifier = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
            let other = numbers.pool(self.policy, address.into(), port);
            let other = other.filter(|other| identifier && *other != self.id)?;
            Some(*self.policy.pool(other).ports.end())
        })
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

#[cfg(test)]
mod tests;

//! Which addresses of a pool are tried for a flow (RFC 4787 §4.1).

use mooring_policy::{AddressChoice, Allocation, Mapping as Kind, Pool, Pooling};
use mooring_session::Address;
use mooring_wire::Protocol;

use crate::lease::Ask;
use crate::{Nat, Refusal};

/// Some addresses of a pool, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    first: u32,
    /// How many; at least one.
    pub(crate) tries: u32,
}

impl Turn {
    /// The address whose turn it is, from 0: those that are not held have none.
    pub(crate) fn address<A: Address>(&self, pool: &Pool, nth: u32) -> Option<A> {
        pool.nth_address(pool.nth_held(self.first, nth)?).and_then(A::from_ip)
    }
}

impl<A: Address> Nat<A> {
    /// The addresses that are tried for a flow.
    ///
    /// With paired pooling it is one, RFC 4787 REQ-2: if it has no port the host is refused, however
    /// many others have. Arbitrary pooling goes on with the next ones, up to a bound.
    pub(crate) fn turn(&self, ask: &Ask<'_, A>) -> Result<Turn, Refusal> {
        let (key, pool) = (ask.key, ask.pool);
        let first = pool.addresses.first().map(|prefix| prefix.addr());
        if first.and_then(A::from_ip).is_none() {
            return Err(Refusal::PoolEmpty);
        }
        if pool.holds_none() {
            return Err(Refusal::AddressNotHeld);
        }
        let one = |address: A| pool.index_of(address.into()).map(|first| Turn { first, tries: 1 });
        let is_held = |turn: &Turn| pool.is_held(turn.first);
        let found = match (&pool.allocation, pool.pooling) {
            (Allocation::Deterministic(_), _) => {
                let slice = pool.deterministic_slice(key.source.into());
                let turn = slice.and_then(|(address, _)| one(A::from_ip(address)?));
                if turn.is_some_and(|turn| !is_held(&turn)) {
                    return Err(Refusal::AddressNotHeld);
                }
                turn
            }
            (Allocation::PortBlock(_), _) => {
                let source = self.source_of(key.source);
                let had = self.blocks.any_of(self.pools.number(ask.id), source);
                let had = had.and_then(|block| one(self.blocks.address(block))).filter(is_held);
                had.or_else(|| Some(self.paired(ask, source)))
            }
            (_, Pooling::Paired) => return self.paired_with_memory(ask),
            (_, Pooling::Arbitrary) => Some(self.arbitrary(ask)),
        };
        // A deterministic pool has none for a host of another prefix.
        found.ok_or(Refusal::PoolEmpty)
    }

    /// The address that a host has, else the one that is chosen.
    fn paired_with_memory(&self, ask: &Ask<'_, A>) -> Result<Turn, Refusal> {
        let (host, pool) = (ask.key.source, ask.pool);
        if pool.address_choice == AddressChoice::Hash {
            return Ok(self.paired(ask, host));
        }
        let fits =
            |address: A| pool.index_of(address.into()).is_some_and(|number| pool.is_held(number));
        let has = self.usage.address_of(host, fits);
        if let Some(first) = has.and_then(|address| pool.index_of(address.into())) {
            return Ok(Turn { first, tries: 1 });
        }
        let turn = self.paired(ask, host);
        let address = turn.address(pool, 0).ok_or(Refusal::PoolEmpty)?;
        // Where it cannot be remembered, the host would not keep to it.
        if self.usage.has_room(host, address) { Ok(turn) } else { Err(Refusal::TableFull) }
    }

    /// Chosen by who it is for.
    fn paired(&self, ask: &Ask<'_, A>, whose: A) -> Turn {
        let hashed = || self.spread(whose, ask.pool);
        let first = self.usage.least(ask.id.0.into()).unwrap_or_else(hashed);
        Turn { first, tries: 1 }
    }

    /// The same address for as long as it is held, and that which would be next as long as it is not:
    /// another that comes or goes moves only the hosts whose turn it is.
    fn spread(&self, whose: A, pool: &Pool) -> u32 {
        let count = pool.address_count();
        let first = self.pairing.spread(whose, count);
        if pool.held.is_none() {
            return first;
        }
        let next = |attempt: u16| {
            let hash = self.pairing.end(whose, attempt, Protocol(0), 0);
            ((u64::from(hash as u32) * u64::from(count)) >> 32) as u32
        };
        let drawn = (0..HELD_TRIES).map(next).find(|number| pool.is_held(*number));
        drawn.unwrap_or(first)
    }

    /// Chosen for the inside end, or the flow where remotes share ports.
    fn arbitrary(&self, ask: &Ask<'_, A>) -> Turn {
        let (key, count) = (ask.key, ask.pool.address_count());
        let hashed = || {
            let hash = match ask.pool.mapping {
                Kind::EndpointIndependent => {
                    self.pairing.end(key.source, key.source_port, key.protocol, 0)
                }
                Kind::EndpointDependent => self.pairing.flow(key),
            };
            ((u64::from(hash as u32) * u64::from(count)) >> 32) as u32
        };
        let first = self.usage.least(ask.id.0.into()).unwrap_or_else(hashed);
        Turn { first, tries: ARBITRARY_TRIES.min(ask.pool.held_count()) }
    }
}

/// Addresses that are drawn for a host before it takes the next one that is held: of 16 addresses of
/// which two are held, one host in 5,000 does.
const HELD_TRIES: u16 = 64;

/// Addresses that are tried for one flow when pooling is arbitrary.
const ARBITRARY_TRIES: u32 = 8;

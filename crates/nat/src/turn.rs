//! Which addresses of a pool are tried for a flow (RFC 4787 §4.1).

use mooring_policy::{AddressChoice, Allocation, Mapping as Kind, Pool, Pooling};
use mooring_session::Address;

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
    /// The address whose turn it is, from 0.
    pub(crate) fn address<A: Address>(&self, pool: &Pool, nth: u32) -> Option<A> {
        let at = u64::from(self.first) + u64::from(nth);
        let at = at.checked_rem(pool.address_count().into())?;
        pool.nth_address(at as u32).and_then(A::from_ip)
    }
}

impl<A: Address> Nat<A> {
    /// The addresses that are tried for a flow.
    ///
    /// With paired pooling it is one, RFC 4787 REQ-2: if it has no port the host is refused, however
    /// many others have. Arbitrary pooling goes on with the next ones, up to a bound.
    pub(crate) fn turn(&self, ask: &Ask<'_, A>) -> Result<Turn, Refusal> {
        let (key, pool) = (ask.key, ask.pool);
        if pool.nth_address(0).and_then(A::from_ip).is_none() {
            return Err(Refusal::PoolEmpty);
        }
        let one = |address: A| pool.index_of(address.into()).map(|first| Turn { first, tries: 1 });
        let found = match (&pool.allocation, pool.pooling) {
            (Allocation::Deterministic(_), _) => {
                let slice = pool.deterministic_slice(key.source.into());
                slice.and_then(|(address, _)| one(A::from_ip(address)?))
            }
            (Allocation::PortBlock(_), _) => {
                let source = self.source_of(key.source);
                let had = self.blocks.any_of(self.pools.number(ask.id), source);
                let had = had.and_then(|block| one(self.blocks.address(block)));
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
        let has = self.usage.address_of(host, |address| pool.contains(address.into()));
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
        let hashed = || self.pairing.spread(whose, ask.pool.address_count());
        let first = self.usage.least(ask.id.0.into()).unwrap_or_else(hashed);
        Turn { first, tries: 1 }
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
        Turn { first, tries: ARBITRARY_TRIES.min(count) }
    }
}

/// Addresses that are tried for one flow when pooling is arbitrary.
const ARBITRARY_TRIES: u32 = 8;

//! Outside ends from a pool: a mapping that all sessions of an inside end share, or, endpoint-
//! dependent, a port that only this session's remote end is answered from.

use std::ops::RangeInclusive;

use mooring_policy::{Mapping as Kind, Policy, PoolId};
use mooring_session::{Address, FlowKey, InsideEnd, Mapping, MappingIndex};
use mooring_wire::Protocol;
use rand_core::Rng;

use crate::plan::pool_has;
use crate::ports::random_port;
use crate::{Admission, Nat, PortLedger, Refusal};

/// What stands for the inside host of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside<A> {
    pub(crate) mapping: Option<MappingIndex>,
    pub(crate) address: A,
    pub(crate) port: u16,
}

impl<A: Address> Nat<A> {
    /// An outside end of `pool` for the flow `key`.
    pub(crate) fn outside_from<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        pool: PoolId,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<Outside<A>, Refusal> {
        if !PortLedger::<A>::serves(key.protocol) {
            return Err(Refusal::UnsupportedProtocol);
        }
        if admission.policy.pool(pool).mapping == Kind::EndpointDependent {
            return self.reserve(key, pool, admission);
        }
        let fits = |mapping: &Mapping<A>| {
            let (address, port) = (mapping.outside, mapping.outside_port);
            pool_has(admission.policy, pool, address, port, key.protocol)
        };
        // RFC 4787 REQ-1: the mapping that the inside end has, or a new one.
        let index = match self.mappings.find_inside(&self.inside_end(key, pool), fits) {
            Some(index) => index,
            None => self.new_mapping(key, pool, admission)?,
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
    fn new_mapping<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        pool: PoolId,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<MappingIndex, Refusal> {
        let policy = admission.policy;
        let outside = self.paired(key.source, pool, admission)?;
        let range = lease_range(key.protocol, &policy.pool(pool).ports);
        let claimed = |port| policy.claimed_until(outside.into(), key.protocol, port);
        let outside_port = self
            .ports
            .lease(outside, key.protocol, &range, claimed, admission.random)
            .ok_or(Refusal::PortsExhausted)?;
        let mapping = Mapping {
            inside: key.source,
            outside,
            inside_port: key.source_port,
            outside_port,
            vrf: key.vrf,
            pool: self.pools.number(pool),
            protocol: key.protocol,
        };
        self.mappings.insert(mapping).ok_or_else(|| {
            self.ports.release(outside, key.protocol, outside_port);
            Refusal::TableFull
        })
    }

    /// A port that no other flow with this remote end has; inserting the session reserves it. Random
    /// tries first, then a bounded sweep from the last of them.
    fn reserve<R: Rng, H>(
        &mut self,
        key: &FlowKey<A>,
        pool: PoolId,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<Outside<A>, Refusal> {
        let policy = admission.policy;
        let address = self.paired(key.source, pool, admission)?;
        let range = lease_range(key.protocol, &policy.pool(pool).ports);
        let mut last = *range.start();
        for _ in 0..RANDOM_TRIES {
            last = random_port(&range, admission.random).ok_or(Refusal::PortsExhausted)?;
            if self.is_free(key, address, last, policy) {
                return Ok(Outside { mapping: None, address, port: last });
            }
        }
        let swept = (last..=*range.end()).chain(*range.start()..last).take(SWEPT);
        for port in swept {
            if self.is_free(key, address, port, policy) {
                return Ok(Outside { mapping: None, address, port });
            }
        }
        Err(Refusal::PortsExhausted)
    }

    /// Whether this worker may use the port for this flow, and nobody does.
    fn is_free(&self, key: &FlowKey<A>, address: A, port: u16, policy: &Policy) -> bool {
        let reverse = FlowKey { source: address, source_port: port, ..*key }.exchanged();
        self.share.has(port)
            && self.sessions.find_key(&reverse).is_none()
            && !self.ports.is_leased(address, key.protocol, port)
            && policy.claimed_until(address.into(), key.protocol, port).is_none()
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
    fn paired<R, H>(
        &self,
        source: A,
        pool: PoolId,
        admission: &Admission<'_, R, H>,
    ) -> Result<A, Refusal> {
        let pool = admission.policy.pool(pool);
        let nth = self.pairing.spread(source, pool.address_count());
        pool.nth_address(nth).and_then(A::from_ip).ok_or(Refusal::PoolEmpty)
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

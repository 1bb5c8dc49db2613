//! What admission would do with a flow, without doing it: for people who ask why.
//!
//! It asks the same plan that admission acts on, so the two cannot disagree about rules, routes and
//! filtering. What depends on chance or on what happens until then (the port that is drawn, a table
//! that fills) is left open.

use std::ops::RangeInclusive;

use mooring_policy::{Allocation, Hop, Policy, PoolId, RuleId};
use mooring_session::{Address, Direction, FlowKey, Mapping, Tick};

use crate::lease::Ask;
use crate::plan::{End, Plan};
use crate::{Arrival, Nat, PortLedger, Refusal};

/// A session as it would begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen<A> {
    /// The rule that admits it.
    pub rule: RuleId,
    /// Which way its first packet travels.
    pub began: Direction,
    /// The flow of forward packets.
    pub forward: FlowKey<A>,
    /// What stands for the inside host.
    pub outside: OutsideEnd<A>,
    /// Where forward packets go; `None`: on into the other half of a hairpin.
    pub out: Option<Hop>,
    /// Where reverse packets go.
    pub back: Hop,
}

/// What would stand for an inside host outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutsideEnd<A> {
    /// A mapping that there is already.
    Mapping(A, u16),
    /// One of these ports, drawn when the session begins.
    OneOf(A, RangeInclusive<u16>),
    /// Always this, by the rule.
    Fixed(A, u16),
}

impl<A: Address> OutsideEnd<A> {
    /// The address, which is known in any case.
    #[must_use]
    pub const fn address(&self) -> A {
        match self {
            Self::Mapping(address, _) | Self::OneOf(address, _) | Self::Fixed(address, _) => {
                *address
            }
        }
    }

    /// The port, if it is known.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Mapping(_, port) | Self::Fixed(_, port) => Some(*port),
            Self::OneOf(..) => None,
        }
    }
}

impl<A: Address> Nat<A> {
    /// The session that a packet of a flow without one would begin. Changes nothing.
    ///
    /// # Errors
    /// Why it would begin none, as far as the policy decides.
    pub fn foresee(&self, arrival: &Arrival<A>, policy: &Policy) -> Result<Foreseen<A>, Refusal> {
        let Plan { rule, began, forward, end, out, back } = self.plan(arrival, policy)?;
        let outside = match end {
            End::Fixed(address, port) => OutsideEnd::Fixed(address, port),
            End::Shared(index) => {
                let mapping = self.mappings.mapping(index);
                OutsideEnd::Mapping(mapping.outside, mapping.outside_port)
            }
            End::Lease(pool) => self.foresee_lease(&forward, pool, policy)?,
        };
        Ok(Foreseen { rule, began, forward, outside, out, back })
    }

    fn foresee_lease(
        &self,
        key: &FlowKey<A>,
        id: PoolId,
        policy: &Policy,
    ) -> Result<OutsideEnd<A>, Refusal> {
        if !PortLedger::<A>::serves(key.protocol) {
            return Err(Refusal::UnsupportedProtocol);
        }
        let ask = Ask::new(key, id, policy, Tick::ZERO);
        let fits = |mapping: &Mapping<A>| self.may_keep_mapping(policy, id, mapping);
        if let Some(index) = self.mappings.find_inside(&self.inside_end(key, id), fits) {
            let mapping = self.mappings.mapping(index);
            return Ok(OutsideEnd::Mapping(mapping.outside, mapping.outside_port));
        }
        let address = self.turn(&ask)?.address(ask.pool, 0).ok_or(Refusal::PoolEmpty)?;
        let block = match ask.pool.allocation {
            Allocation::PortBlock(_) => {
                let source = self.source_of(key.source);
                self.blocks.held(self.pools.number(id), source, 0)
            }
            _ => None,
        };
        let ports = match block {
            Some(block) => self.blocks.ports(block),
            None => ask.range(address).ok_or(Refusal::PoolEmpty)?,
        };
        Ok(OutsideEnd::OneOf(address, ports))
    }
}

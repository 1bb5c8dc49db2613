//! A new policy for sessions that live: each goes on if it would be translated the same way, and
//! ends if not.
//!
//! Nothing is done to all sessions at once. A session is checked when its next packet finds that its
//! generation is an old one, and a sweep finds those without packets. Ports stay owned throughout.

use mooring_policy::{
    Action, Generation, InterfaceId, Mapping as Kind, Policy, Pool, PoolId, Standing,
};
use mooring_session::{
    Address, Contact, Direction, InsideEnd, Mapping, MappingIndex, NO_RULE, Renewed, Session,
    SessionIndex,
};
use rand_core::Rng;

use crate::admit::{release, session_flags};
use crate::plan::{End, HAIRPIN_INTERFACE, Plan, question};
use crate::tally::Numbered;
use crate::translator::timeouts;
use crate::{Admission, Arrival, Nat, NextHops};

/// What became of a session under a new policy.
#[derive(Clone, Debug)]
pub enum Rechecked<A> {
    /// It goes on; where its packets go may have changed.
    Kept,
    /// It has ended, and what it held is given back.
    Ended(Session<A>),
    /// Its outside address is not held, but may come back: until then none of its packets passes.
    Suspended,
}

impl<A: Address> Nat<A> {
    /// Makes ready for another policy, the one of `generation`, and begins a sweep. The tables keep their
    /// size, and sessions that live their timeouts until they are checked.
    pub fn adopt(&mut self, policy: &Policy, generation: Generation) {
        let counted = self.contacts.capacity();
        self.make_room(policy, generation.0);
        if counted == 0 {
            self.contacts_since = generation.0;
        }
        self.sessions.set_timeouts(timeouts(policy));
        self.swept = Some(0);
    }

    /// Checks a live session against the policy of `admission`: does nothing if it was admitted or
    /// checked under that one.
    ///
    /// It goes on if the policy would give a packet of it the same ends, outside and inside; its next
    /// hops are those of the new routes. If not it ends, unless its rule said `drain`: then it goes on
    /// as it is until its timeout, as long as nobody else has its outside end: no rule, service or
    /// interface, and no other block or host of a pool. One whose address is not held is suspended while
    /// the policy keeps it, else it ends.
    ///
    /// Whatever goes on is this worker's in both directions, or it would not be found again.
    pub fn recheck<R: Rng, H: NextHops>(
        &mut self,
        index: SessionIndex,
        admission: &mut Admission<'_, R, H>,
    ) -> Rechecked<A> {
        let session = self.sessions.session(index);
        let generation = admission.generation.0;
        if session.generation == generation {
            return Rechecked::Kept;
        }
        match standing(session, admission.policy) {
            Standing::Held { since } if session.generation >= since.0 => {}
            Standing::Kept { since } if session.generation >= since.0 => {
                return Rechecked::Suspended;
            }
            // Somebody else has had the address since, or it will not come back: drain or not.
            _ => return Rechecked::Ended(self.end(index, admission.hops, admission.now)),
        }
        let old = [session.forward_hop, session.reverse_hop];
        let joins = self.joins_contacts(index);
        joins.into_iter().for_each(|contact| self.contacts.add(contact));
        self.follow_rule(index, admission.policy);
        let plan = self.plan_again(index, admission.policy);
        let hops = plan.as_ref().and_then(|plan| plan.acquire(admission.hops, admission.now));
        let (session, held) = (self.sessions.session(index).clone(), self.sessions.held(index));
        let owners = admission.owners;
        let may_go_on = |nat: &mut Self| {
            (hops.is_some() || held.drains && !owners.gives_away(&session))
                && owners.has_both(&session)
                && nat.enrol_again(&session, held, admission.policy, admission.now)
        };
        if !may_go_on(self) {
            joins.into_iter().for_each(|contact| self.contacts.remove(contact));
            hops.into_iter().flatten().for_each(|hop| release(admission.hops, hop));
            return Rechecked::Ended(self.end(index, admission.hops, admission.now));
        }
        if let (Some(plan), Some(hops)) = (plan, hops) {
            if let (End::Lease(pool), Some(mapping)) = (plan.end, held.mapping) {
                self.join(pool, mapping);
            }
            let (rule, ingress) = (plan.rule(), plan.ingress());
            let flags = session_flags(plan.rule, admission.policy);
            let renewed = Renewed { rule, flags, generation, hops, ingress };
            self.sessions.renew(index, renewed, admission.now);
            self.recount(index, self.holder_number(&plan));
            old.into_iter().for_each(|hop| release(admission.hops, hop));
            return Rechecked::Kept;
        }
        let ingress = [session.ingress(Direction::Forward), session.ingress(Direction::Reverse)];
        let flags = session.flags;
        let renewed = Renewed { rule: NO_RULE, flags, generation, hops: old, ingress };
        self.sessions.renew(index, renewed, admission.now);
        match self.sessions.held(index).mapping {
            Some(mapping) => {
                self.follow_end(mapping, admission.policy);
                let pool = self.mappings.mapping(mapping).pool;
                self.recount(index, Some(Numbered::Pool(pool)));
            }
            None => _ = self.recount_state(index),
        }
        Rechecked::Kept
    }

    /// Goes on with the sweep that [`Nat::adopt`] began: the next session that has ended. Looks at no
    /// more than `budget` records and takes what it looked at from it; `None` when the budget is
    /// spent or all are checked.
    pub fn sweep<R: Rng, H: NextHops>(
        &mut self,
        admission: &mut Admission<'_, R, H>,
        budget: &mut u32,
    ) -> Option<Session<A>> {
        let mut at = self.swept?;
        loop {
            let end = at.saturating_add(*budget);
            let Some(index) = self.sessions.first_live(at, end) else {
                let done = end >= self.sessions.records();
                self.swept = (!done).then_some(end);
                if done {
                    // What ended with the old policy has given its ports back.
                    self.ports.close_unused();
                }
                *budget = 0;
                return None;
            };
            let next = index.number() + 1;
            *budget -= next - at;
            at = next;
            self.swept = Some(at);
            if let Rechecked::Ended(session) = self.recheck(index, admission) {
                return Some(session);
            }
        }
    }

    /// Whether a sweep is not done yet.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        self.swept.is_some()
    }

    /// Whether the outside address of a session is not held, or was somebody else's meanwhile.
    pub(crate) fn is_suspended(&self, index: SessionIndex, policy: &Policy) -> bool {
        let session = self.sessions.session(index);
        match standing(session, policy) {
            Standing::Held { since } => session.generation < since.0,
            Standing::Kept { .. } | Standing::Claimed => true,
        }
    }

    /// What a session adds to the contacts, if it began before they were counted.
    fn joins_contacts(&self, index: SessionIndex) -> Option<Contact<A>> {
        let session = self.sessions.session(index);
        let mapping = self.sessions.held(index).mapping?;
        let counted = session.generation >= self.contacts_since;
        (!counted).then_some(Contact { mapping, remote: session.remote })
    }

    /// What the policy makes of a packet like the session's first one, if that leaves the session's
    /// ends as they are.
    fn plan_again(&self, index: SessionIndex, policy: &Policy) -> Option<Plan<A>> {
        let session = self.sessions.session(index);
        let held = self.sessions.held(index);
        let arrival = Arrival {
            ingress: InterfaceId(session.ingress(held.began)),
            key: session.key(held.began),
            hash: 0,
            flags: None,
            ttl: u8::MAX,
            looked_up: false,
            number: 0,
            drawn: None,
        };
        let plan = self.plan(&arrival, policy).ok()?;
        let outside = (session.outside, session.outside_port);
        let same_end = match plan.end {
            End::Lease(pool) => {
                let Pool { mapping, overflow_ports, .. } = policy.pool(pool);
                let overflow = overflow_ports.as_ref().is_some_and(|has| has.contains(&outside.1));
                let same_kind = match held.mapping {
                    Some(_) => *mapping == Kind::EndpointIndependent,
                    None => *mapping == Kind::EndpointDependent || overflow,
                };
                same_kind
                    && held.mapping.is_none_or(|mapping| self.may_join(policy, pool, mapping))
                    && self.may_keep(policy, pool, session.inside, outside, session.protocol)
            }
            End::Fixed(address, port) => held.mapping.is_none() && (address, port) == outside,
            End::Shared(mapping) => held.mapping == Some(mapping),
        };
        let same = plan.began == held.began && plan.forward == session.key(Direction::Forward);
        (same && same_end).then_some(plan)
    }
}

/// Whether the outside address of a session is held.
///
/// What stands for a host and is claimed by nothing any more would be held if the text alone decided:
/// then a rule that drains may keep its sessions. Where somebody gives addresses it may be another
/// instance's by now, and nobody would say so.
fn standing<A: Address>(session: &Session<A>, policy: &Policy) -> Standing {
    let outside = session.outside.into();
    let is_nobodys = || session.outside != session.inside && policy.ownership(outside).is_none();
    if policy.is_given_addresses() && is_nobodys() {
        return Standing::Claimed;
    }
    policy.standing(outside)
}

/// Mappings whose pool has another name, or whose rule names another pool.
impl<A: Address> Nat<A> {
    /// Whether a mapping is one of that pool, or can be: its inside end has no other there (RFC 4787
    /// REQ-1).
    fn may_join(&self, policy: &Policy, pool: PoolId, mapping: MappingIndex) -> bool {
        let (number, mapping) = (self.pools.number(pool), self.mappings.mapping(mapping));
        let end = InsideEnd { pool: number, ..mapping.inside_end() };
        let fits = |other: &Mapping<A>| self.may_keep_mapping(policy, pool, other);
        mapping.pool == number || self.mappings.find_inside(&end, fits).is_none()
    }

    /// What others have begun is wanted by what the pool of its mapping says. If that of the rule for its
    /// host has the mapping now, it is one of that from here on: which of its sessions is asked about
    /// first decides nothing.
    fn follow_rule(&mut self, index: SessionIndex, policy: &Policy) {
        let held = self.sessions.held(index);
        let (Some(mapping), Direction::Reverse) = (held.mapping, held.began) else { return };
        let session = self.sessions.session(index);
        let forward = session.key(Direction::Forward);
        let to = match InterfaceId(session.ingress(Direction::Reverse)) {
            HAIRPIN_INTERFACE => policy.outside_of(session.outside.into()).lowest(),
            link => Some(link),
        };
        let from = policy.route(forward.source.into()).map(|hop| hop.interface);
        let (Some(from), Some(to)) = (from, to) else { return };
        let rule = policy.decide(&question(&forward, from, to));
        let Some(Action::SourceNat(pool)) = rule.map(|rule| &policy.rule(rule).action) else {
            return;
        };
        self.join_if_kept(policy, *pool, mapping);
    }

    /// The same where no rule asks for the mapping any more, and its sessions drain: it is one of the pool
    /// that has its end now.
    fn follow_end(&mut self, index: MappingIndex, policy: &Policy) {
        let mapping = self.mappings.mapping(index);
        let keeps = |pool: &PoolId| self.may_keep_mapping(policy, *pool, mapping);
        if self.pool_of(mapping).is_some_and(|pool| keeps(&pool)) {
            return;
        }
        let pool = (0..policy.pools.len()).map(|place| PoolId(place as u16)).find(keeps);
        pool.into_iter().for_each(|pool| self.join_if_kept(policy, pool, index));
    }

    fn join_if_kept(&mut self, policy: &Policy, pool: PoolId, index: MappingIndex) {
        if self.may_keep_mapping(policy, pool, self.mappings.mapping(index))
            && self.may_join(policy, pool, index)
        {
            self.join(pool, index);
        }
    }

    /// It is one of that pool from now on, and so is the lease of its port.
    fn join(&mut self, pool: PoolId, index: MappingIndex) {
        let Mapping { pool: before, inside, .. } = *self.mappings.mapping(index);
        let number = self.pools.number(pool);
        if number != before {
            // Its session is counted anew after this, and with it the mapping.
            let source = self.sources.find(self.source_of(inside));
            if let (Some(tally), Some(source)) = (&mut self.tally, source) {
                tally.unmap(index, source, before);
            }
            self.mappings.set_pool(index, number);
            self.leases.count(before, false);
            self.leases.count(number, true);
        }
    }
}

#[cfg(test)]
mod tests;

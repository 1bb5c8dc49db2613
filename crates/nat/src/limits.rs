//! How much a source may have, and what makes room in a full table.
//!
//! Sessions belong to a *claimant*: a source inside (a host, or a prefix) and who began them. What
//! others begin with a host counts apart from what it begins itself, so that a flood from outside
//! neither keeps it from the world nor takes its sessions' room; and a part of the tables is kept for
//! what begins inside.

use mooring_policy::{Mapping as Kind, OnFull, Policy, PoolId, PoolLimits, RuleId};
use mooring_session::{
    Address, Direction, FlowKey, Mapping, SessionIndex, SessionRef, SourceIndex, Tick,
};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::plan::{End, HAIRPIN_INTERFACE, Plan};
use crate::tally::{Mark, Numbered, OfSource, Tally};
use crate::{Admission, Arrival, Event, EventKind, Nat, NextHops, Refusal};

/// Whose session one is to be, and what else it counts for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<A> {
    pub(crate) by: Claimant<A>,
    /// Whose limits it meets beside those of its source.
    pub(crate) holder: Option<(Numbered, Holder)>,
    /// It begins with a SYN.
    half_open: bool,
    /// Somebody outside begins it.
    by_others: bool,
}

/// Who has limits beside the source: the pool whose outside end a session has, or a `static` or
/// `port-forward` rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Pool(PoolId),
    Rule(RuleId),
}

/// A source inside, and who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimant<A> {
    pub(crate) source: A,
    /// Forward: the source itself.
    pub(crate) began: Direction,
}

/// What has to end for a new session: nothing, one session, or both halves of a hairpin.
pub(crate) type Victims = [Option<SessionIndex>; 2];

impl<A: Address> Nat<A> {
    /// The number of the pool whose outside end a planned session would have, or of the rule that has
    /// limits.
    pub(crate) fn holder_number(&self, plan: &Plan<A>) -> Option<Numbered> {
        match plan.end {
            End::Lease(pool) => Some(Numbered::Pool(self.pools.number(pool))),
            End::Shared(mapping) => Some(Numbered::Pool(self.mappings.mapping(mapping).pool)),
            End::Fixed(..) => self.rules.number(plan.rule).map(Numbered::Rule),
        }
    }

    /// Who has a number, if he is still there.
    pub(crate) fn holder(&self, number: Numbered) -> Option<Holder> {
        match number {
            Numbered::Pool(number) => self.pools.pool(number).map(Holder::Pool),
            Numbered::Rule(number) => self.rules.rule(number).map(Holder::Rule),
        }
    }

    fn numbered(&self, number: Numbered) -> Option<(Numbered, Holder)> {
        Some((number, self.holder(number)?))
    }

    /// This worker's part of one of the limits of a pool or rule: all of it, where all of it is one host's.
    pub(crate) fn part(
        &self,
        holder: Holder,
        policy: &Policy,
        limit: impl FnOnce(&PoolLimits) -> Option<u32>,
    ) -> Option<u32> {
        let (limits, is_whole) = match holder {
            Holder::Pool(id) => (&policy.pool(id).limits, false),
            Holder::Rule(id) => (&policy.rule(id).limits, policy.rule(id).has_one_host()),
        };
        let part = |limit| if is_whole { limit } else { self.share.part(limit) as u32 };
        limit(limits).map(part)
    }

    /// Whose session a planned one would be.
    pub(crate) fn claim(&self, plan: &Plan<A>, arrival: &Arrival<A>) -> Claim<A> {
        let holder = self.holder_number(plan).and_then(|number| self.numbered(number));
        let source = self.source_of(plan.forward.source);
        let half_open = arrival.key.protocol == Protocol::TCP;
        let by_others = plan.began == Direction::Reverse && arrival.ingress != HAIRPIN_INTERFACE;
        Claim { by: Claimant { source, began: plan.began }, holder, half_open, by_others }
    }

    /// Whether the claimant may have one more (RFC 6888 REQ-4, REQ-5). Its source, if it has sessions.
    pub(crate) fn within_limits<R, H>(
        &self,
        claim: &Claim<A>,
        plan: &Plan<A>,
        admission: &Admission<'_, R, H>,
    ) -> Result<Option<SourceIndex>, Refusal> {
        let limits = &admission.policy.limits;
        let source = self.sources.find(claim.by.source);
        let begins = claim.by.began == Direction::Forward;
        let has = source.map_or(0, |source| self.sources.source(source).sessions(claim.by.began));
        if begins && has >= limits.sessions_per_source {
            return Err(Refusal::SourceLimit);
        }
        let Some(tally) = &self.tally else { return Ok(source) };
        let way = claim.by.began as usize;
        let of_source = source.map_or_else(OfSource::default, |source| *tally.source(source));
        if claim.half_open && reached(of_source.half_open[way], limits.half_open_per_source) {
            return Err(Refusal::HalfOpenLimit);
        }
        let rate = limits.session_rate_per_source.filter(|_| begins);
        if rate.is_some_and(|rate| !of_source.begun.has(rate, admission.now)) {
            return Err(Refusal::SessionRateLimit);
        }
        self.within_holder(tally, claim, admission)?;
        if let End::Lease(pool) = plan.end {
            self.may_map(tally, &plan.forward, pool, admission.policy)?;
        }
        Ok(source)
    }

    /// Whether a TCP segment may do to its session what it would: a SYN that opens a connection again
    /// after its end is one that waits for its answer, and there may be too many of those.
    ///
    /// # Errors
    /// Then the segment must not pass. Nothing has changed.
    pub fn may_turn<R, H>(
        &mut self,
        found: SessionRef,
        flags: Flags,
        admission: &Admission<'_, R, H>,
    ) -> Result<(), Refusal> {
        let Some(tally) = &self.tally else { return Ok(()) };
        let session = self.sessions.session(found.index);
        let after = session.state.after_segment(found.direction, flags).half_open();
        let Some(way) = after.filter(|_| session.state.half_open().is_none()) else {
            return Ok(());
        };
        let policy = admission.policy;
        let source = self.source_of(session.inside);
        let of_source = self
            .sources
            .find(source)
            .map_or(0, |index| tally.source(index).half_open[way as usize]);
        let holder = tally.holder_of(found.index).and_then(|number| self.numbered(number));
        let holder_is_full = holder.is_some_and(|(number, holder)| {
            let half_open = tally.of(number).half_open[way as usize];
            reached(half_open, self.part(holder, policy, |limits| limits.half_open))
        });
        if !holder_is_full && !reached(of_source, policy.limits.half_open_per_source) {
            return Ok(());
        }
        let by = Claimant { source, began: way };
        let claim = Claim { by, holder, half_open: true, by_others: way == Direction::Reverse };
        self.tell(Refusal::HalfOpenLimit, &claim, admission);
        Err(Refusal::HalfOpenLimit)
    }

    /// As [`Self::within_limits`], for this worker's part of what the pool or rule may have. What others
    /// begin with its hosts has as much of its own.
    fn within_holder<R, H>(
        &self,
        tally: &Tally,
        claim: &Claim<A>,
        admission: &Admission<'_, R, H>,
    ) -> Result<(), Refusal> {
        let Some((number, holder)) = claim.holder else { return Ok(()) };
        let (policy, has) = (admission.policy, tally.of(number));
        let way = claim.by.began as usize;
        if reached(has.sessions[way], self.part(holder, policy, |limits| limits.sessions)) {
            return Err(Refusal::PoolLimit);
        }
        let half_open = self.part(holder, policy, |limits| limits.half_open);
        if claim.half_open && reached(has.half_open[way], half_open) {
            return Err(Refusal::HalfOpenLimit);
        }
        match self.part(holder, policy, |limits| limits.session_rate) {
            Some(rate) if !has.begun[way].has(rate, admission.now) => {
                Err(Refusal::SessionRateLimit)
            }
            _ => Ok(()),
        }
    }

    /// Whether a flow may have a mapping of the pool: the one that it has, or one more.
    fn may_map(
        &self,
        tally: &Tally,
        key: &FlowKey<A>,
        id: PoolId,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let pool = policy.pool(id);
        if pool.mapping == Kind::EndpointDependent {
            return Ok(());
        }
        let source = self.sources.find(self.source_of(key.source));
        let of_source = source.map_or(0, |source| tally.source(source).mappings);
        let of_pool = tally.of(Numbered::Pool(self.pools.number(id))).mappings;
        let limit = self.part(Holder::Pool(id), policy, |limits| limits.mappings);
        let refusal = if reached(of_source, policy.limits.mappings_per_source) {
            Refusal::SourceLimit
        } else if reached(of_pool, limit) {
            Refusal::PoolLimit
        } else {
            return Ok(());
        };
        let fits = |mapping: &Mapping<A>| self.may_keep_mapping(policy, id, mapping);
        let known = self.mappings.find_inside(&self.inside_end(key, id), fits);
        known.map(|_| ()).ok_or(refusal)
    }

    /// One session more of the claim's source, which is `known` or not looked up. False when it is new
    /// and there is no room for it.
    #[inline]
    pub(crate) fn enter_source(&mut self, claim: &Claim<A>, known: Option<SourceIndex>) -> bool {
        if let Some(index) = known {
            self.sources.add_to(index, claim.by.began);
            return true;
        }
        let is_full = self.sources.len() >= claim.room_in(self.sources.capacity());
        if is_full && self.sources.find(claim.by.source).is_none() {
            return false;
        }
        let Some(index) = self.sources.add(claim.by.source, claim.by.began) else { return false };
        let source = self.sources.source(index);
        let is_first =
            source.sessions(Direction::Forward) + source.sessions(Direction::Reverse) == 1;
        if let Some(tally) = self.tally.as_mut().filter(|_| is_first) {
            tally.forget_source(index);
        }
        true
    }

    /// A session has begun: it counts.
    pub(crate) fn enter_in_tally(
        &mut self,
        index: SessionIndex,
        claim: &Claim<A>,
        policy: &Policy,
        now: Tick,
    ) {
        if self.tally.is_none() {
            return;
        }
        let number = claim.holder.map(|(number, _)| number);
        self.recount(index, number);
        let its_rate = claim
            .holder
            .and_then(|(_, holder)| self.part(holder, policy, |limits| limits.session_rate));
        let Some(tally) = &mut self.tally else { return };
        let Some(source) = self.sources.find(claim.by.source) else { return };
        let rate = policy.limits.session_rate_per_source;
        tally.take((source, rate), (number, its_rate), claim.by.began, now);
    }

    /// What of a live session counts, and of the mapping that it uses, is counted; `holder` is the number
    /// of its pool or rule.
    pub(crate) fn recount(&mut self, index: SessionIndex, holder: Option<Numbered>) {
        let Some(source) = self.tallied(index) else { return };
        let held = self.sessions.held(index);
        let state = self.sessions.session(index).state;
        let Some(tally) = &mut self.tally else { return };
        tally.mark(index, source, held.began, Mark::new(holder, state));
        if let Some(mapping) = held.mapping {
            tally.map(mapping, source, self.mappings.mapping(mapping).pool);
        }
    }

    /// What of a live session's state counts is counted. True when it is no longer open and was.
    pub(crate) fn recount_state(&mut self, index: SessionIndex) -> bool {
        let Some(source) = self.tallied(index) else { return false };
        let state = self.sessions.session(index).state;
        let began = self.sessions.held(index).began;
        let Some(tally) = &mut self.tally else { return false };
        tally.mark_state(index, source, began, state)
    }

    /// The source of a live session, if there is a tally.
    fn tallied(&self, index: SessionIndex) -> Option<SourceIndex> {
        self.tally.as_ref()?;
        self.sources.find(self.source_of(self.sessions.session(index).inside))
    }

    /// What makes room in a full table. To end a session is a deviation from RFC 6888 REQ-11 D that the
    /// configuration asks for: then one that is not established and not `spared`, of a claimant that
    /// has more than this one, or its own. So a greedy source cannot take the room of another, and what
    /// floods a host's port ends itself.
    pub(crate) fn victims(
        &self,
        claim: &Claim<A>,
        spared: Option<SessionIndex>,
        policy: &Policy,
    ) -> Result<Victims, Refusal> {
        if self.sessions.len() < claim.room_in(self.sessions.capacity()) {
            return Ok([None; 2]);
        }
        if policy.limits.on_full == OnFull::Refuse {
            return Err(Refusal::TableFull);
        }
        let has = self.sources.sessions(claim.by.source, claim.by.began);
        let of_one_with = |least: u32| {
            self.sessions.expendable(|index| {
                let whose = self.claimant_of(index);
                let may =
                    whose == claim.by || self.sources.sessions(whose.source, whose.began) >= least;
                may && Some(index) != spared && self.is_whole(index)
            })
        };
        // Rather of one that keeps as many as this one gets.
        let victim = of_one_with(has + 2).or_else(|| of_one_with(has + 1));
        let victim = victim.ok_or(Refusal::TableFull)?;
        Ok([Some(victim), self.other_half(victim)])
    }

    /// Ends them; true if there are any.
    pub(crate) fn evict(&mut self, victims: Victims, hops: &mut impl NextHops, now: Tick) -> bool {
        for index in victims.into_iter().flatten() {
            self.end(index, hops, now);
            self.evicted += 1;
        }
        victims[0].is_some()
    }

    /// The source of a claim that came to nothing has a session less.
    pub(crate) fn withdraw(&mut self, claim: &Claim<A>) {
        self.sources.remove(claim.by.source, claim.by.began);
    }

    /// Tells a management system of a limit that was met (RFC 6888 REQ-11 C).
    pub(crate) fn tell<R, H>(
        &mut self,
        refusal: Refusal,
        claim: &Claim<A>,
        admission: &Admission<'_, R, H>,
    ) {
        let kind = match refusal {
            Refusal::SourceLimit => EventKind::SourceLimit,
            Refusal::PoolLimit => EventKind::PoolLimit,
            Refusal::HalfOpenLimit => EventKind::HalfOpenLimit,
            Refusal::SessionRateLimit => EventKind::SessionRateLimit,
            Refusal::TableFull | Refusal::NeighborTableFull => EventKind::TableFull,
            _ => return,
        };
        let inside = Some(claim.by.source.into());
        let pool = claim.holder.and_then(|(_, holder)| holder.pool());
        self.events.write(Event { inside, pool, ..Event::new(kind, admission.now) });
    }

    /// Tells of a host that begins something while the address that a rule gives it is not held. That
    /// the *destination* is an address of ours which is not held is no want of anybody's here.
    pub(crate) fn tell_unheld<R, H>(
        &mut self,
        refusal: Refusal,
        arrival: &Arrival<A>,
        admission: &Admission<'_, R, H>,
    ) {
        if refusal != Refusal::AddressNotHeld {
            return;
        }
        let (policy, to) = (admission.policy, arrival.key.destination.into());
        if policy.ownership(to).is_none() || policy.is_held(to) {
            self.events.write(Event {
                inside: Some(arrival.key.source.into()),
                protocol: Some(arrival.key.protocol),
                ..Event::new(EventKind::NoAddress, admission.now)
            });
        }
    }

    /// Whose a live session is.
    pub(crate) fn claimant_of(&self, index: SessionIndex) -> Claimant<A> {
        let source = self.source_of(self.sessions.session(index).inside);
        Claimant { source, began: self.sessions.held(index).began }
    }

    /// Whether a session can be ended with all that belongs to it: half of a hairpin only with the
    /// other half, if that goes on no more than this one.
    pub(crate) fn is_whole(&self, index: SessionIndex) -> bool {
        let other_may = |other| self.sessions.session(other).state.is_expendable();
        !self.sessions.session(index).is_hairpin(Direction::Forward)
            || self.other_half(index).is_some_and(other_may)
    }

    /// The other half of a hairpin, if this session is one and the other is this worker's.
    pub(crate) fn other_half(&self, index: SessionIndex) -> Option<SessionIndex> {
        let session = self.sessions.session(index);
        if !session.is_hairpin(Direction::Forward) {
            return None;
        }
        // What leaves the one, as (outside, remote), arrives at the other; the answers alike.
        let other = self.sessions.find_key(&session.key(Direction::Reverse).exchanged())?.index;
        let is_half = self.sessions.session(other).is_hairpin(Direction::Forward);
        (is_half && other != index).then_some(other)
    }
}

impl Holder {
    /// Its place among the pools, if it is one.
    pub(crate) const fn pool(self) -> Option<u16> {
        match self {
            Self::Pool(id) => Some(id.0),
            Self::Rule(_) => None,
        }
    }
}

impl<A> Claim<A> {
    /// How full a table of this capacity may be for it to be let in.
    const fn room_in(&self, capacity: usize) -> usize {
        if self.by_others { capacity - capacity / KEPT } else { capacity }
    }
}

/// One in so many places of a table is kept for what begins inside: a flood from outside, whose senders
/// may be forged and so cannot be told apart, fills the rest and shuts nobody in. More would be taken
/// from servers that do nothing but answer; less is soon used up while a flood lasts.
const KEPT: usize = 4;

/// Whether as many as the limit, if there is one, are there.
fn reached(count: u32, limit: Option<u32>) -> bool {
    limit.is_some_and(|limit| count >= limit)
}

#[cfg(test)]
mod tests;

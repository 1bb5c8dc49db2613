//! How much a source may have, and what makes room in a full table.
//!
//! Sessions belong to a *claimant*: a source inside (a host, or a prefix) and who began them. What
//! others begin with a host counts apart from what it begins itself, so that a flood from outside
//! neither keeps it from the world nor takes its sessions' room.

use mooring_policy::{OnFull, Policy};
use mooring_session::{Address, Direction, SessionIndex, Tick};

use crate::plan::Plan;
use crate::{Admission, Event, EventKind, Nat, NextHops, Refusal};

/// Whose session one is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim<A> {
    /// The source inside.
    pub(crate) source: A,
    /// Forward: it begins the session itself.
    pub(crate) began: Direction,
}

/// What has to end for a new session: nothing, one session, or both halves of a hairpin.
pub(crate) type Victims = [Option<SessionIndex>; 2];

impl<A: Address> Nat<A> {
    /// Whose session a planned one would be.
    pub(crate) fn claim(&self, plan: &Plan<A>) -> Claim<A> {
        Claim { source: self.source_of(plan.forward.source), began: plan.began }
    }

    /// Whether the claimant may have one more.
    pub(crate) fn within_limits<R, H>(
        &self,
        claim: &Claim<A>,
        admission: &Admission<'_, R, H>,
    ) -> Result<(), Refusal> {
        let limits = &admission.policy.limits;
        let source = self.sources.find(claim.source);
        // RFC 6888 REQ-4, REQ-5.
        let has = source.map_or(0, |index| self.sources.source(index).sessions(claim.began));
        if claim.began == Direction::Forward && has >= limits.sessions_per_source {
            return Err(Refusal::SourceLimit);
        }
        Ok(())
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
        if !self.sessions.is_full() {
            return Ok([None; 2]);
        }
        if policy.limits.on_full == OnFull::Refuse {
            return Err(Refusal::TableFull);
        }
        let has = self.sources.sessions(claim.source, claim.began);
        let of_one_with = |least: u32| {
            self.sessions.expendable(|index| {
                let whose = self.claim_of(index);
                let may =
                    whose == *claim || self.sources.sessions(whose.source, whose.began) >= least;
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
        self.sources.remove(claim.source, claim.began);
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
            Refusal::TableFull => EventKind::TableFull,
            _ => return,
        };
        let inside = Some(claim.source.into());
        self.events.write(Event { inside, ..Event::new(kind, admission.now) });
    }

    /// Whose a live session is.
    fn claim_of(&self, index: SessionIndex) -> Claim<A> {
        let source = self.source_of(self.sessions.session(index).inside);
        Claim { source, began: self.sessions.held(index).began }
    }

    /// Whether a session can be ended with all that belongs to it: half of a hairpin only with the
    /// other half, if that goes on no more than this one.
    fn is_whole(&self, index: SessionIndex) -> bool {
        let other_may = |other| self.sessions.session(other).state.is_expendable();
        !self.sessions.session(index).is_hairpin(Direction::Forward)
            || self.other_half(index).is_some_and(other_may)
    }

    /// The other half of a hairpin, if this session is one and the other is this worker's.
    fn other_half(&self, index: SessionIndex) -> Option<SessionIndex> {
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

#[cfg(test)]
mod tests;

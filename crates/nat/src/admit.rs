//! The way in: what happens to the first packet of a flow.
//!
//! In order: probe again, ask the policy what is to become of the flow (`plan.rs`), refuse what
//! may not begin a session, check the limits (`limits.rs`), find or make what stands for the inside host outside
//! (`lease.rs`), insert both directions. Whatever fails, nothing is left behind, and the packet
//! is never forwarded untranslated.

use mooring_policy::{Action, Generation, Hop, InterfaceId, Policy, Refresh, RuleId};
use mooring_session::{
    Address, Admitted, Contact, Direction, FlowKey, Held, InsertError, NextHopIndex,
    OUTBOUND_REFRESH, Session, SessionIndex, SessionRef, Tick,
};
use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;
use mooring_wire::tcp::Flags;
use rand_core::Rng;

use crate::ahead::Drawn;
use crate::lease::Outside;
use crate::limits::Claim;
use crate::plan::{End, HAIRPIN_INTERFACE, Plan};
use crate::rewrite::Shape;
use crate::{Nat, Owners, Refusal};

/// A packet without a session.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<A> {
    /// The interface that it came in by; [`HAIRPIN_INTERFACE`] for what the first half of a hairpin
    /// has translated.
    pub ingress: InterfaceId,
    /// Its flow.
    pub key: FlowKey<A>,
    /// Hash of the flow, as [`mooring_session::SessionTable::hash`] makes it.
    pub hash: u64,
    /// Flags of a TCP segment.
    pub flags: Option<Flags>,
    /// Hops that are left, this one included.
    pub ttl: u8,
    /// The table has been asked, and has no session of it.
    pub looked_up: bool,
    /// A random number: what it draws first, if it draws.
    pub number: u32,
    /// What was made ahead of the number that it would have ([`Nat::draw_ahead`]).
    pub drawn: Option<Drawn<A>>,
}

/// What admission asks and uses.
pub struct Admission<'a, R, H> {
    /// The rules, routes and pools.
    pub policy: &'a Policy,
    /// Which worker has what.
    pub owners: &'a Owners,
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

    /// The same for what somebody outside begins: to him a part of the table is closed, so that what
    /// he makes us look for takes no host's way to the world.
    fn acquire_for_others(&mut self, hop: Hop, now: Tick) -> Option<NextHopIndex>;

    /// One user less.
    fn release(&mut self, hop: NextHopIndex);
}

impl<A: Address> Nat<A> {
    /// The session of a packet that found none: one that an earlier packet of the batch began, or a
    /// new one.
    ///
    /// The session of a packet from inside to an address of ours is the first half of a hairpin
    /// ([`Session::is_hairpin`]): translated, the packet is looked up again, and admitted again with
    /// the ingress [`HAIRPIN_INTERFACE`]. If that is refused, [`Nat::end`] takes the first half back.
    ///
    /// # Errors
    /// Why there is none; then nothing has changed (but that a full table may have lost a session
    /// that is expendable, if the configuration says so).
    pub fn admit<R: Rng, H: NextHops>(
        &mut self,
        arrival: &Arrival<A>,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<SessionRef, Refusal> {
        if !arrival.looked_up
            && let Some(found) = self.sessions.find(arrival.hash, &arrival.key)
        {
            return match self.is_suspended(found.index, admission.policy) {
                true => Err(Refusal::AddressNotHeld),
                false => Ok(found),
            };
        }
        let plan = self.plan(arrival, admission.policy);
        let plan = plan.inspect_err(|refusal| self.tell_unheld(*refusal, arrival, admission))?;
        if !may_begin(arrival, plan.began, admission.policy.tcp.pick_up) {
            return Err(Refusal::NoSession);
        }
        // After all that refuses in silence: only who may pass hears that the time ended here. The
        // second half of a hairpin is on the same hop.
        if arrival.ttl <= 1 && arrival.ingress != HAIRPIN_INTERFACE {
            return Err(Refusal::TtlExpired);
        }
        if let End::Lease(pool) = plan.end {
            self.expect_more(arrival.ingress, pool, admission.policy);
        }
        let claim = self.claim(&plan, arrival);
        let begun = self.enter(plan, &claim, arrival, admission);
        if let Ok(found) = begun
            && arrival.flags.is_some_and(|flags| !flags.contains(Flags::SYN))
        {
            self.sessions.pick_up(found.index);
        }
        begun.inspect_err(|refusal| self.tell(*refusal, &claim, admission))
    }

    /// What is left once the policy has no objection: limits, room, an outside end, the session.
    fn enter<R: Rng, H: NextHops>(
        &mut self,
        mut plan: Plan<A>,
        claim: &Claim<A>,
        arrival: &Arrival<A>,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<SessionRef, Refusal> {
        let victims = self.victims(claim, self.first_half(arrival), admission.policy)?;
        let source = self.within_limits(claim, &plan, admission)?;
        // First of all, so that a source whose last session makes room stays one and the same.
        let known = self.enter_source(claim, source);
        if !known && victims[0].is_none() {
            return Err(Refusal::TableFull);
        }
        let evicted = self.evict(victims, admission.hops, admission.now);
        if !known && !self.enter_source(claim, None) {
            return Err(Refusal::TableFull);
        }
        if evicted {
            // The mapping that the plan was to share may have ended with its last session.
            plan = self.plan(arrival, admission.policy).inspect_err(|_| self.withdraw(claim))?;
        }
        let begun = self.outside_of(&plan, arrival, admission).and_then(|outside| {
            self.begin(&plan, &outside, arrival, admission)
                .inspect_err(|_| self.let_go(&outside, plan.forward.source, admission.now))
        });
        let index = begun.inspect_err(|_| self.withdraw(claim))?;
        self.enter_in_tally(index, claim, admission.policy, admission.now);
        Ok(SessionRef { index, direction: plan.began })
    }

    /// What stands for the inside host, found or made.
    fn outside_of<R: Rng, H: NextHops>(
        &mut self,
        plan: &Plan<A>,
        arrival: &Arrival<A>,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<Outside<A>, Refusal> {
        match plan.end {
            End::Lease(pool) => self.outside_from(&plan.forward, pool, arrival, admission),
            End::Fixed(address, port) => {
                Ok(Outside { mapping: None, address, port, leased: false, is_unseen: false })
            }
            End::Shared(index) => Ok(self.share(index, admission.now)),
        }
    }

    /// Of the second half of a hairpin, the first, if it is ours: the packet is in the midst of it.
    fn first_half(&self, arrival: &Arrival<A>) -> Option<SessionIndex> {
        if arrival.ingress != HAIRPIN_INTERFACE {
            return None;
        }
        self.sessions.find_key(&arrival.key.exchanged()).map(|first| first.index)
    }

    /// Inserts the session under both keys.
    fn begin<R, H: NextHops>(
        &mut self,
        plan: &Plan<A>,
        outside: &Outside<A>,
        arrival: &Arrival<A>,
        admission: &mut Admission<'_, R, H>,
    ) -> Result<SessionIndex, Refusal> {
        let forward = &plan.forward;
        // What translation cannot write (the ports of SCTP, whose checksum covers all of the packet)
        // has to stay.
        if outside.port != forward.source_port && Shape::of(forward.protocol).is_none() {
            return Err(Refusal::UnsupportedProtocol);
        }
        let now = admission.now;
        let translated = FlowKey { source: outside.address, source_port: outside.port, ..*forward };
        let drawn =
            |drawn: &Drawn<A>| (drawn.address, drawn.port) == (outside.address, outside.port);
        let hashes = match (plan.began, arrival.drawn.filter(drawn)) {
            (Direction::Forward, Some(drawn)) => [arrival.hash, drawn.answers],
            (Direction::Forward, None) => {
                [arrival.hash, self.sessions.hash(&translated.exchanged())]
            }
            (Direction::Reverse, _) => [self.sessions.hash(forward), arrival.hash],
        };
        hashes.into_iter().for_each(|hash| self.sessions.prefetch_bucket(hash));
        let hops = plan.acquire(admission.hops, now).ok_or(Refusal::NeighborTableFull)?;
        let admitted = Admitted {
            outside: outside.address,
            outside_port: outside.port,
            l4_delta: l4_delta(forward, outside.address, outside.port),
            forward_hop: hops[0],
            reverse_hop: hops[1],
            ingress: plan.ingress(),
            rule: plan.rule(),
            flags: session_flags(plan.rule, admission.policy),
            generation: admission.generation.0,
            began: plan.began,
        };
        let drains = admission.policy.rule(plan.rule).drain;
        let held = Held { mapping: outside.mapping, began: plan.began, drains };
        let session = Session::new(forward, admitted);
        // The packet's own key was looked up first of all.
        let answer = plan.began.opposite();
        let is_taken =
            || self.sessions.find(hashes[answer as usize], &session.key(answer)).is_some();
        // Another worker may still pass packets of it, by the policy before.
        let inserted = match admission.owners.is_settled(&session) {
            true if outside.is_unseen || !is_taken() => {
                self.sessions.insert_unseen(session, hashes, held, now)
            }
            _ => Err(InsertError::KeyTaken),
        };
        let index = inserted.map_err(|error| {
            hops.into_iter().for_each(|hop| release(admission.hops, hop));
            match error {
                InsertError::Full => Refusal::TableFull,
                // Where the outside end is not leased: two flows would look alike. No pool is short, so
                // no event says so.
                InsertError::KeyTaken => Refusal::PortsExhausted,
            }
        })?;
        self.created += 1;
        if let Some(mapping) = outside.mapping {
            self.contacts.add(Contact { mapping, remote: forward.destination });
        }
        Ok(index)
    }
}

impl<A: Address> Plan<A> {
    /// One user more for both next hops, forward and reverse. `None`, and nothing taken, when the
    /// table of neighbours is full.
    #[inline]
    pub(crate) fn acquire(&self, hops: &mut impl NextHops, now: Tick) -> Option<[NextHopIndex; 2]> {
        // The second half of a hairpin has begun inside.
        let by_others = self.began == Direction::Reverse && self.out.is_some();
        let acquire = |hops: &mut _, hop| match by_others {
            true => NextHops::acquire_for_others(hops, hop, now),
            false => NextHops::acquire(hops, hop, now),
        };
        let forward = match self.out {
            Some(hop) => acquire(hops, hop)?,
            None => NextHopIndex::HAIRPIN,
        };
        let Some(reverse) = acquire(hops, self.back) else {
            release(hops, forward);
            return None;
        };
        Some([forward, reverse])
    }
}

/// One user less for a next hop, if it is one.
pub(crate) fn release(hops: &mut impl NextHops, hop: NextHopIndex) {
    if hop != NextHopIndex::HAIRPIN {
        hops.release(hop);
    }
}

/// A TCP session begins with SYN alone and an ICMP session with a query: a reply carries its
/// identifier in the place of the destination port. Everything else may begin one.
///
/// With `pick_up`, so does a segment of a connection that is older than we are, if a host inside has
/// sent it; of a hairpin the other half cannot be found again.
fn may_begin<A>(arrival: &Arrival<A>, began: Direction, pick_up: bool) -> bool {
    match (arrival.key.protocol, arrival.flags) {
        (Protocol::ICMP | Protocol::ICMPV6, _) => arrival.key.destination_port == 0,
        (_, Some(flags)) if !flags.contains(Flags::SYN) => {
            let is_of_one = flags.contains(Flags::ACK) && !flags.contains(Flags::RST);
            pick_up && began == Direction::Forward && is_of_one
        }
        (_, Some(flags)) => {
            flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST | Flags::FIN)
        }
        (_, None) => true,
    }
}

/// What the policy says of a session that is not as with most: [`mooring_session::Session::flags`].
pub(crate) fn session_flags(rule: RuleId, policy: &Policy) -> u16 {
    match policy.rule(rule).action {
        Action::SourceNat(pool) if policy.pool(pool).refresh == Refresh::Outbound => {
            OUTBOUND_REFRESH
        }
        _ => 0,
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

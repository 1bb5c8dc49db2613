//! Another policy while packets pass: what it owns is taken up at once, sessions are asked about when
//! their next packet comes, and a sweep finds the silent ones.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mooring_nat::{Admission, Nat, Rechecked, Share, Stock};
use mooring_packet::Packet;
use mooring_policy::{Generation, InterfaceId, Policy};
use mooring_session::{FlowKey, SessionRef, Tick};
use rand_chacha::ChaCha8Rng;

use crate::classify::Flow;
use crate::engine::Hops;
use crate::family::{Family, Nats};
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine, Link, Verdict};

/// What the policy of now makes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes on.
    Current,
    /// It goes on when its address is held again; none of its packets passes before.
    Suspended,
    /// It has ended.
    Ended,
}

/// Memory for another policy, made beside the engine that is to adopt it.
pub struct Supplies {
    v4: Stock<Ipv4Addr>,
    v6: Stock<Ipv6Addr>,
}

/// Memory that an engine has no use for, to be freed beside it.
pub struct Leftovers([Stock<Ipv4Addr>; 2], [Stock<Ipv6Addr>; 2]);

impl Supplies {
    /// None: the engine makes what it needs.
    #[must_use]
    pub const fn none() -> Self {
        Self { v4: Stock::empty(), v6: Stock::empty() }
    }

    /// What the worker with this share will need for `after` beside what it has for `before`. Takes as
    /// long as the memory is large.
    #[must_use]
    pub fn between(before: &Policy, after: &Policy, share: Share) -> Self {
        Self { v4: Stock::between(before, after, share), v6: Stock::between(before, after, share) }
    }

    /// How many addresses of pools there is memory for.
    #[must_use]
    pub const fn addresses(&self) -> usize {
        self.v4.addresses() + self.v6.addresses()
    }
}

impl Leftovers {
    /// How many addresses of pools there is memory for.
    #[must_use]
    pub fn addresses(&self) -> usize {
        let v4: usize = self.0.iter().map(Stock::addresses).sum();
        v4 + self.1.iter().map(Stock::addresses).sum::<usize>()
    }
}

impl fmt::Debug for Supplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supplies").finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes memory for the policy that comes next: [`Engine::set_policy`] then makes nothing that is
    /// large, but blocks of ports and the tables of `hold_down` and `address_choice`.
    pub fn supply(&mut self, supplies: Supplies) {
        self.nats.v4.supply(supplies.v4);
        self.nats.v6.supply(supplies.v6);
    }

    /// Gives back what [`Engine::set_policy`] left of that, and what is needed no more.
    pub fn give_back(&mut self) -> Leftovers {
        Leftovers(self.nats.v4.give_back(), self.nats.v6.give_back())
    }

    /// From now on `policy` decides, whose generation is `generation`. Its interfaces are those of the
    /// policy before, in number and order; tables keep their size. Ports stay owned.
    ///
    /// A session that the new policy would not begin, or would translate otherwise, ends with its next
    /// packet, or before long without one; one whose rule said `drain` goes on until its timeout.
    ///
    /// # Panics
    /// When there are not as many links as interfaces, or not as many interfaces as before.
    pub fn set_policy(
        &mut self,
        policy: Arc<Policy>,
        generation: Generation,
        links: &[Link],
        now: Tick,
        outbox: &mut Outbox,
    ) {
        assert_eq!(policy.interfaces.len(), self.policy.interfaces.len(), "they are the same");
        self.set_links(links);
        // What happened under the policy before speaks of its pools.
        self.collect_events();
        self.history.follow(&policy);
        let dropped = self.neighbours.change_policy((&self.policy, &policy), now, outbox);
        self.counters.drops[DropReason::AddressNotHeld as usize] += dropped;
        let Nats { v4, v6 } = &mut self.nats;
        v4.adopt(&policy, generation);
        v6.adopt(&policy, generation);
        self.owners.follow(Arc::clone(&policy));
        self.unsolicited.follow(&policy);
        self.fragments.follow(&policy.limits, self.share);
        let errors = self.share.part(policy.limits.icmp_error_rate) as u32;
        self.error_limit.set_rate(errors);
        self.too_big_limit.set_rate(errors);
        self.echo_limit.set_rate(self.share.part(policy.limits.echo_reply_rate) as u32);
        (self.policy, self.generation) = (policy, generation);
    }

    /// Every worker works by the policy of this generation: what it has moved from one worker to another
    /// may begin from now on. To be called after [`Engine::set_policy`] where there are
    /// several workers; a word about another generation does nothing.
    pub fn all_follow(&mut self, generation: Generation) {
        if generation == self.generation {
            self.owners.all_follow();
        }
    }

    /// Follows what the devices say of themselves. The MAC addresses are those of the start.
    ///
    /// # Panics
    /// When there are not as many links as interfaces.
    pub fn set_links(&mut self, links: &[Link]) {
        assert_eq!(links.len(), self.links.len(), "every interface has a link");
        for (index, (ours, link)) in self.links.iter_mut().zip(links).enumerate() {
            ours.mtu = link.mtu;
            self.neighbours.set_mtu(InterfaceId(index as u8), link.mtu);
        }
    }

    /// A packet that its session did not expect: admitted by an older policy, or by the wrong side.
    #[cold]
    pub(crate) fn unexpected<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        if self.is_current::<A>(found) {
            return Err(DropReason::SpoofedSource);
        }
        match self.recheck::<A>(scene.now, found) {
            Standing::Current => self.forward(scene, found, flow, packet, outbox),
            Standing::Ended => self.miss(scene, (flow, false), packet, outbox),
            Standing::Suspended => Err(DropReason::AddressNotHeld),
        }
    }

    /// The session that knows a flow, if the policy of now still wants it and its address is held.
    pub(crate) fn session_of<A: Family>(
        &mut self,
        now: Tick,
        key: &FlowKey<A>,
    ) -> Option<SessionRef> {
        let found = A::nat(&self.nats).sessions.find_key(key)?;
        let is_current = self.is_current::<A>(found);
        (is_current || self.recheck::<A>(now, found) == Standing::Current).then_some(found)
    }

    /// Whether a session was admitted, or checked, under the policy of now.
    #[inline]
    pub(crate) fn is_current<A: Family>(&self, found: SessionRef) -> bool {
        A::nat(&self.nats).sessions.session(found.index).generation == self.generation.0
    }

    /// Asks the policy about a session.
    pub(crate) fn recheck<A: Family>(&mut self, now: Tick, found: SessionRef) -> Standing {
        let rechecked = self.ask::<A, _>(now, |nat, admission| nat.recheck(found.index, admission));
        match rechecked {
            Rechecked::Kept => Standing::Current,
            Rechecked::Suspended => Standing::Suspended,
            Rechecked::Ended(_) => {
                self.counters.sessions_ended += 1;
                Standing::Ended
            }
        }
    }

    /// Goes on with the sweep after a reload, as far as the budget goes.
    pub(crate) fn sweep<A: Family>(&mut self, now: Tick, budget: &mut u32) {
        while *budget > 0 && A::nat(&self.nats).is_sweeping() {
            let ended =
                self.ask::<A, _>(now, |nat, admission| nat.sweep(admission, budget).is_some());
            self.counters.sessions_ended += u64::from(ended);
        }
    }

    /// Lets the family's part ask the policy, with all that it uses.
    pub(crate) fn ask<A: Family, T>(
        &mut self,
        now: Tick,
        question: impl FnOnce(&mut Nat<A>, &mut Admission<'_, ChaCha8Rng, Hops<'_>>) -> T,
    ) -> T {
        let mut admission = Admission {
            policy: &self.policy,
            owners: &self.owners,
            generation: self.generation,
            now,
            random: &mut self.random,
            hops: &mut Hops(&mut self.neighbours),
        };
        question(A::nat_mut(&mut self.nats), &mut admission)
    }
}

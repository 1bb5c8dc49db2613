//! Limits (`docs/limits.md`), and who makes room in a full table.

use std::net::IpAddr;

use super::plan::{Plan, Stands};
use super::{Judged, Model, Reason, Seen, Session};
use crate::packet::{Key, TCP};
use crate::spec::{Action, Limits, NO_LIMITS, Pool, Side, Spec};
use crate::tracking::{State, Way};

/// Whose new sessions count against a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spender {
    Source(IpAddr),
    Of(Holder, bool, Way),
}

/// Who has limits beside the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Pool(&'static str),
    Rule(&'static str),
}

/// What of a family's sessions is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    any: bool,
    /// Which have begun to close, once a policy has asked.
    closing: bool,
}

impl Counts {
    /// What a policy asks for.
    pub(super) fn of(spec: &Spec, v4: bool) -> Self {
        let pools = spec.pools.iter().filter(|pool| !pool.empty);
        let pools = pools.filter(|pool| pool.addresses.iter().any(|one| one.is_ipv4() == v4));
        let rules = spec.rules.iter().filter(|rule| match rule.action {
            Action::Static(_, ours) | Action::PortForward(ours, ..) => ours.is_ipv4() == v4,
            _ => false,
        });
        let limits = pools.map(|pool| pool.limits).chain(rules.map(|rule| rule.limits));
        let all: Vec<Limits> = limits.chain([spec.of_source]).collect();
        Self {
            any: all.iter().any(Limits::any),
            closing: all.iter().any(|limits| limits.transitory.is_some()),
        }
    }
}

impl Model {
    /// Which limit keeps a session from beginning; `spared`: the flow of a first half.
    pub(super) fn limit(
        &mut self,
        plan: &Plan,
        worker: usize,
        (spared, seen): (Option<Key>, &Seen),
    ) -> Judged<Option<Reason>> {
        let (claim, v4) = ((plan.inside.0, plan.began), plan.inside.0.is_ipv4());
        let of_claim = |(inside, began): (IpAddr, Way)| {
            let same = |s: &&Session| (s.worker, s.inside.0, s.began) == (worker, inside, began);
            self.sessions.iter().filter(same).count()
        };
        let family = |s: &&Session| s.worker == worker && s.inside.0.is_ipv4() == v4;
        // A quarter is kept for what begins inside.
        let by_others = plan.began == Way::Reverse && plan.sides[1] == Side::Outside;
        let kept = if by_others { self.capacity() / 4 } else { 0 };
        let full = self.sessions.iter().filter(family).count() >= self.capacity() - kept;
        // Of whom one may be ended: not to take the room of those who have no more than this one.
        let has = of_claim(claim);
        let may_go = |s: &Session, least: usize| {
            let whose = (s.inside.0, s.began);
            s.worker == worker
                && s.inside.0.is_ipv4() == v4
                && s.is_expendable()
                && Some(s.key(Way::Forward)) != spared
                && (whose == claim || of_claim(whose) >= least)
                && self.may_go_whole(s)
        };
        let any = |least| self.sessions.iter().any(|session| may_go(session, least));
        if full && !(self.spec.evict && any(has + 1)) {
            return Ok(Some("table_full"));
        }
        if plan.began == Way::Forward && has >= self.spec.per_source {
            return Ok(Some("source_limit"));
        }
        if let Some(reason) =
            self.limit_of_source(plan, worker).or(self.limit_of_holder(plan, worker))
        {
            return Ok(Some(reason));
        }
        if let Some(reason) = self.limit_of_mappings(plan, worker) {
            return Ok(Some(reason));
        }
        if full {
            let least = if any(has + 2) { has + 2 } else { has + 1 };
            let gone: Vec<Key> = seen.gone.clone();
            let victim = |s: &&Session| gone.contains(&s.key(Way::Forward)) && may_go(s, least);
            let Some(victim) = self.sessions.iter().find(victim) else {
                return Err(format!("the wrong session had to go: {gone:?} for {claim:?}"));
            };
            let halves = [Some(victim.key(Way::Forward)), self.other_half(victim)];
            for key in halves.into_iter().flatten() {
                let (at, _) = self.find(&key).ok_or("half of a victim")?;
                self.end(at);
            }
        }
        Ok(None)
    }

    /// The forward flow of the other half of a hairpin in the same worker.
    fn other_half(&self, half: &Session) -> Option<Key> {
        if half.side(Way::Reverse) != Side::Hairpin {
            return None;
        }
        let (at, _) = self.find(&half.key(Way::Reverse).turned())?;
        let other = &self.sessions[at];
        let same = other.key(Way::Forward) == half.key(Way::Forward);
        let is_half = other.side(Way::Reverse) == Side::Hairpin && other.worker == half.worker;
        (is_half && !same).then(|| other.key(Way::Forward))
    }

    /// Whether a session can end with all that belongs to it.
    fn may_go_whole(&self, session: &Session) -> bool {
        let other = || {
            let key = self.other_half(session)?;
            self.find(&key).map(|(at, _)| self.sessions[at].is_expendable())
        };
        session.side(Way::Reverse) != Side::Hairpin || other().unwrap_or(false)
    }

    /// Half-open connections and new sessions a second of one source.
    fn limit_of_source(&self, plan: &Plan, worker: usize) -> Option<Reason> {
        let limits = &self.spec.of_source;
        let of_host = |s: &&Session| (s.worker, s.inside.0) == (worker, plan.inside.0);
        let counted = self.sessions.iter().filter(of_host).filter(|s| s.counted);
        let half_open = counted.filter(|s| is_half_open(s, plan.began));
        let tcp = plan.key.protocol == TCP;
        if tcp && limits.half_open.is_some_and(|limit| half_open.count() >= limit) {
            return Some("half_open_limit");
        }
        // Without a session a source is forgotten, and what it has spent.
        let known = self.sessions.iter().any(|session| of_host(&session));
        let spender = Spender::Source(plan.inside.0);
        let spent = if known { self.spent(worker, spender, limits.rate) } else { 0 };
        let over = limits.rate.is_some_and(|rate| spent + SESSION > rate * SESSION);
        (plan.began == Way::Forward && over).then_some("session_rate_limit")
    }

    /// Whether a segment would open a connection again of which too many wait for an answer.
    pub(super) fn reopens_too_many(&self, at: usize, way: Way, flags: Option<u8>) -> bool {
        let session = &self.sessions[at];
        let (state, _) = session.state.after(way, flags, session.outbound);
        let again = Session { state, ..session.clone() };
        let is =
            |s: &Session| [Way::Forward, Way::Reverse].into_iter().find(|w| is_half_open(s, *w));
        let (None, Some(way)) = (is(session), is(&again)) else { return false };
        let counted = || self.sessions.iter().filter(|s| s.counted);
        let half_open = || counted().filter(|s| is_half_open(s, way));
        let (worker, host) = (session.worker, session.inside.0);
        let of_host = half_open().filter(|s| (s.worker, s.inside.0) == (worker, host)).count();
        let at_holder = |s: &&Session| {
            s.worker == worker
                && s.holder == session.holder
                && s.inside.0.is_ipv4() == host.is_ipv4()
        };
        let of_holder = half_open().filter(at_holder).count();
        self.spec.of_source.half_open.is_some_and(|limit| of_host >= limit)
            || session
                .holder
                .and_then(|holder| self.limits_of(holder).half_open)
                .is_some_and(|limit| of_holder >= limit)
    }

    /// Where a connection begins to close and there are too many of those, the one of the same host, begun
    /// by the same side, that has been closing longest ends for it: of the pool, if that has too many.
    pub(super) fn closes(&mut self, at: usize) {
        let session = &mut self.sessions[at];
        let closes = session.protocol == TCP && session.state.closes();
        if !closes || session.closing.is_some() {
            session.closing = session.closing.filter(|_| closes);
            return;
        }
        if !self.counts[usize::from(session.inside.0.is_ipv4())].closing {
            return;
        }
        self.closed += 1;
        session.closing = Some(self.closed);
        let session = &self.sessions[at];
        let (worker, began, v4) = (session.worker, session.began, session.inside.0.is_ipv4());
        let all = || {
            let here = |s: &&Session| {
                (s.worker, s.began, s.inside.0.is_ipv4()) == (worker, began, v4)
                    && s.closing.is_some()
            };
            self.sessions.iter().filter(here)
        };
        let of_host = || all().filter(|s| s.inside.0 == session.inside.0);
        let at_holder = |s: &&Session| s.holder == session.holder;
        let limit = session.holder.and_then(|holder| self.limits_of(holder).transitory);
        let of_holder = limit.is_some_and(|limit| all().filter(at_holder).count() > limit);
        let of_source =
            self.spec.of_source.transitory.is_some_and(|limit| of_host().count() > limit);
        // Neither it nor the half of a hairpin that closes with it.
        let own = self.other_half(session);
        let may = |s: &&Session| {
            let other = s.closing != session.closing && Some(s.key(Way::Forward)) != own;
            other && self.may_go_whole(s)
        };
        // Of those that one sweep has begun to count nobody knows which is first: the one that went was.
        let first = |s: &&Session| (s.closing, !self.gone.contains(&s.key(Way::Forward)));
        let mut victim = None;
        if of_holder {
            victim = of_host().filter(at_holder).filter(may).min_by_key(first);
        }
        if victim.is_none() && of_source {
            victim = of_host().filter(may).min_by_key(first);
        }
        let Some(victim) = victim else { return };
        for key in [Some(victim.key(Way::Forward)), self.other_half(victim)].into_iter().flatten() {
            if let Some((at, _)) = self.find(&key) {
                self.end(at);
            }
        }
    }

    /// What all hosts of a pool may have, or all sessions of a rule.
    fn limit_of_holder(&self, plan: &Plan, worker: usize) -> Option<Reason> {
        let holder = self.holder_of(plan)?;
        let v4 = plan.inside.0.is_ipv4();
        let at_holder = |s: &&Session| {
            s.counted
                && s.worker == worker
                && s.inside.0.is_ipv4() == v4
                && s.holder == Some(holder)
        };
        let all = || self.sessions.iter().filter(at_holder);
        let begun = all().filter(|s| s.began == plan.began).count();
        let half_open = all().filter(|s| is_half_open(s, plan.began)).count();
        let limits = self.limits_of(holder);
        let spent = self.spent(worker, Spender::Of(holder, v4, plan.began), limits.rate);
        if limits.sessions.is_some_and(|limit| begun >= limit) {
            Some("pool_limit")
        } else if plan.key.protocol == TCP && limits.half_open.is_some_and(|n| half_open >= n) {
            Some("half_open_limit")
        } else {
            let over = limits.rate.is_some_and(|rate| spent + SESSION > rate * SESSION);
            over.then_some("session_rate_limit")
        }
    }

    /// Whether a mapping more may be made, if one is needed.
    fn limit_of_mappings(&self, plan: &Plan, worker: usize) -> Option<Reason> {
        let Stands::Pool(name) = plan.stands else { return None };
        self.spec.pool(name).filter(|pool| !pool.endpoint_dependent)?;
        let known = self.mappings.iter().any(|m| {
            (m.pool, m.protocol, m.inside) == (name, plan.key.protocol, plan.inside)
                && self.spec.has_end(name, m.protocol, m.outside)
        });
        let all = self.mappings.iter().filter(|m| m.counted && m.worker == worker);
        let of_source = all.clone().filter(|mapping| mapping.inside.0 == plan.inside.0).count();
        let of_pool = all.filter(|mapping| mapping.pool == name).count();
        if known {
            None
        } else if self.spec.of_source.mappings.is_some_and(|limit| of_source >= limit) {
            Some("source_limit")
        } else {
            let limit = self.limits_of(Holder::Pool(name)).mappings;
            limit.is_some_and(|limit| of_pool >= limit).then_some("pool_limit")
        }
    }

    /// The pool whose end a session has.
    pub(super) fn pool_of(&self, plan: &Plan) -> Option<&Pool> {
        let name = match plan.stands {
            Stands::Pool(name) => Some(name),
            Stands::Mapping(id) => {
                self.mappings.iter().find(|mapping| mapping.id == id).map(|mapping| mapping.pool)
            }
            Stands::Fixed(_) => None,
        };
        self.spec.pool(name?)
    }

    /// Whose limits a session would meet beside those of its source: those of the pool of its outside end,
    /// or of the rule that has one for itself.
    pub(super) fn holder_of(&self, plan: &Plan) -> Option<Holder> {
        match plan.stands {
            Stands::Fixed(_) => {
                let rule = self.spec.rules.iter().find(|rule| rule.name == plan.rule)?;
                rule.limits.any().then_some(Holder::Rule(rule.name))
            }
            _ => self.pool_of(plan).map(|pool| Holder::Pool(pool.name)),
        }
    }

    /// The same of a session whose rule is gone: its mapping is still a pool's.
    pub(super) fn holder_without_rule(&self, at: usize) -> Option<Holder> {
        let session = &self.sessions[at];
        let mapping = self.mappings.iter().find(|m| Some(m.id) == session.mapping);
        mapping.map(|mapping| Holder::Pool(mapping.pool)).or(session.holder)
    }

    /// A worker's part of what a pool may have; a rule of one host has all of its own in one worker.
    fn limits_of(&self, holder: Holder) -> Limits {
        let pool = match holder {
            Holder::Pool(name) => self.spec.pool(name).map(|pool| &pool.limits),
            Holder::Rule(name) => {
                let rule = self.spec.rules.iter().find(|rule| rule.name == name);
                return rule.map_or(NO_LIMITS, |rule| rule.limits);
            }
        };
        let Some(limits) = pool else { return NO_LIMITS };
        let part = |limit: Option<usize>| limit.map(|limit| limit.div_ceil(self.workers));
        Limits {
            sessions: part(limits.sessions),
            mappings: part(limits.mappings),
            half_open: part(limits.half_open),
            transitory: part(limits.transitory),
            rate: limits.rate.map(|rate| rate.div_ceil(self.workers as u64)),
        }
    }

    /// Limits count a session from now on, and the mapping that it uses, if there are any.
    pub(super) fn count(&mut self, at: usize, holder: Option<Holder>) {
        let session = &mut self.sessions[at];
        let counts = self.counts[usize::from(session.inside.0.is_ipv4())];
        if !counts.any {
            return;
        }
        (session.counted, session.holder) = (true, holder);
        let closes = session.protocol == TCP && session.state.closes();
        if closes && counts.closing && session.closing.is_none() {
            self.closed += 1;
            session.closing = Some(self.closed);
        }
        let id = session.mapping;
        self.mappings.iter_mut().filter(|m| Some(m.id) == id).for_each(|m| m.counted = true);
    }

    /// A sweep has begun to count connections that close, after so many others: in an order of its own.
    pub(super) fn closed_at_once(&mut self, before: u64) {
        for session in &mut self.sessions {
            session.closing = session.closing.map(|order| order.min(before + 1));
        }
        self.closed = self.closed.min(before + 1);
    }

    /// Another policy: where none limited anything, nothing of what lives is counted yet; where none does
    /// any more, all is forgotten. At what rate sessions have begun is forgotten of whom this policy does not
    /// know, nor the one before, and nothing lives.
    pub(super) fn follow_limits(&mut self, before: &Spec) {
        let known = |holder, worker, v4| {
            let lives = |s: &Session| {
                (s.worker, s.inside.0.is_ipv4(), s.holder) == (worker, v4, Some(holder))
            };
            before.has(holder) || self.spec.has(holder) || self.sessions.iter().any(lives)
        };
        let mut spent = std::mem::take(&mut self.spent);
        spent.retain(|(worker, spender), _| match *spender {
            Spender::Source(_) => true,
            Spender::Of(holder, v4, _) => known(holder, *worker, v4),
        });
        self.spent = spent;
        for v4 in [false, true] {
            let (counts, needs) = (&mut self.counts[usize::from(v4)], Counts::of(&self.spec, v4));
            counts.closing |= needs.closing;
            counts.any |= needs.any;
            if needs.any {
                continue;
            }
            *counts = needs;
            for session in self.sessions.iter_mut().filter(|s| s.inside.0.is_ipv4() == v4) {
                (session.counted, session.holder, session.closing) = (false, None, None);
            }
            let mappings = self.mappings.iter_mut().filter(|m| m.inside.0.is_ipv4() == v4);
            mappings.for_each(|mapping| mapping.counted = false);
            self.spent.retain(|(_, spender), _| match spender {
                Spender::Source(host) => host.is_ipv4() != v4,
                Spender::Of(_, of, _) => *of != v4,
            });
        }
    }

    /// What is left of what was spent: it comes back at the rate.
    fn spent(&self, worker: usize, spender: Spender, rate: Option<u64>) -> u64 {
        let (spent, at) = self.spent.get(&(worker, spender)).copied().unwrap_or((0, 0));
        spent.saturating_sub((self.now - at) * rate.unwrap_or(0))
    }

    /// A session has begun: it counts.
    pub(super) fn spend(&mut self, plan: &Plan, worker: usize) {
        let host = plan.inside.0;
        let known = self.sessions.iter().any(|s| (s.worker, s.inside.0) == (worker, host));
        if !known {
            self.spent.remove(&(worker, Spender::Source(host)));
        }
        let mut all = Vec::new();
        if plan.began == Way::Forward {
            all.push((Spender::Source(host), self.spec.of_source.rate));
        }
        if let Some(holder) = self.holder_of(plan) {
            let spender = Spender::Of(holder, host.is_ipv4(), plan.began);
            all.push((spender, self.limits_of(holder).rate));
        }
        for (spender, rate) in all {
            // Where nothing limits it, it is not counted.
            if rate.is_some() {
                let spent = self.spent(worker, spender, rate) + SESSION;
                self.spent.insert((worker, spender), (spent, self.now));
            }
        }
    }
}

impl Limits {
    fn any(&self) -> bool {
        let Self { sessions, mappings, half_open, transitory, rate } = self;
        rate.is_some()
            || [sessions, mappings, half_open, transitory].into_iter().any(Option::is_some)
    }
}

impl Spec {
    /// Whether a pool is there, or a rule that has limits.
    fn has(&self, holder: Holder) -> bool {
        match holder {
            Holder::Pool(name) => self.pool(name).is_some(),
            Holder::Rule(name) => {
                self.rules.iter().any(|rule| rule.name == name && rule.limits.any())
            }
        }
    }
}

/// Whether a SYN that travelled `way` waits for its answer.
fn is_half_open(session: &Session, way: Way) -> bool {
    session.protocol == TCP
        && match session.state {
            State::Begun(first) => first == way,
            State::Reopening => way == Way::Reverse,
            State::PickedUp => way == Way::Forward,
            _ => false,
        }
}

/// One session, in the thousandths that come back in a millisecond at one a second.
const SESSION: u64 = 1000;

//! Another policy: sessions that it would translate the same way go on, the others end.

use super::limits::Holder;
use super::plan::Stands;
use super::{Mapping, Model, Session};
use crate::packet::Key;
use crate::spec::{Action, Side, Spec};
use crate::tracking::Way;

impl Model {
    pub(crate) fn reload(&mut self, spec: Spec) {
        let before = std::mem::replace(&mut self.spec, spec);
        self.pending.push(before.timeouts);
        self.follow_blocks(&before);
        self.follow_limits(&before);
        self.owners.follow(&self.spec);
        self.rests.extend(self.spec.pools.iter().map(|pool| (pool.name, pool.clone())));
        self.generation += 1;
        if self.contacts_since.is_none() && self.spec.filters_by_address() {
            self.contacts_since = Some(self.generation);
        }
        self.paired.clear();
    }

    /// Asks the policy of now about a session; false when it has ended.
    pub(super) fn recheck(&mut self, at: usize) -> bool {
        if self.sessions[at].generation == self.generation {
            return true;
        }
        self.sessions[at].generation = self.generation;
        self.follow_rule(at);
        let session = &self.sessions[at];
        let here = self.is_at_home(session);
        let again = self.wants(session).filter(|_| here);
        let drains = here && session.drains && self.may_drain(session);
        let session = &mut self.sessions[at];
        session.renewed = self.now;
        match again {
            Some((rule, outbound, holder)) => {
                (session.rule, session.outbound) = (rule, outbound);
                self.join(at, holder);
                self.count(at, holder);
                true
            }
            None if drains => {
                session.rule = "";
                self.follow_end(at);
                let holder = self.holder_without_rule(at);
                self.count(at, holder);
                true
            }
            None => {
                self.end(at);
                false
            }
        }
    }

    /// The session of a flow was met by a packet that nobody has seen.
    pub(crate) fn notice(&mut self, key: &Key) {
        if let Some((at, _)) = self.find(key) {
            self.recheck(at);
        }
    }

    /// After the sweep: every session has been asked about.
    pub(crate) fn recheck_all(&mut self) {
        let mut at = 0;
        let closed = self.closed;
        while at < self.sessions.len() {
            at += usize::from(self.recheck(at));
        }
        self.closed_at_once(closed);
        self.pending.clear();
    }

    /// The shortest and the longest time that a session may be silent: of its policy, or of those since.
    fn timeouts(&self, session: &Session) -> [u64; 2] {
        let all = self.pending.iter().chain([&self.spec.timeouts]);
        let all = all.map(|timeouts| session.state.timeout(session.protocol, timeouts));
        let all: Vec<u64> = all.collect();
        [all.iter().min(), all.iter().max()].map(|timeout| *timeout.expect("one at least"))
    }

    /// The rule by which the policy would begin the session again, as it is, and whose limits count it.
    fn wants(&self, session: &Session) -> Option<(&'static str, bool, Option<Holder>)> {
        let plan = self.plan(&session.key(session.began), session.side(session.began)).ok()?;
        let same = match plan.stands {
            Stands::Pool(name) => {
                let pool = self.spec.pool(name)?;
                pool.endpoint_dependent == session.mapping.is_none()
                    && self.may_join(session.mapping, name)
                    && self.spec.has_end(name, session.protocol, session.outside)
                    && pool.slice_has(session.inside.0, session.outside)
            }
            Stands::Fixed(end) => session.mapping.is_none() && end == session.outside,
            Stands::Mapping(id) => session.mapping == Some(id),
        };
        let ends = (plan.began, plan.inside, plan.remote);
        (same && ends == (session.began, session.inside, session.remote))
            .then(|| (plan.rule, self.refreshes_outbound(&plan), self.holder_of(&plan)))
    }

    /// Whether a mapping, if there is one, is one of that pool, or may become so: its inside end has no other
    /// there (RFC 4787 REQ-1).
    fn may_join(&self, id: Option<u64>, pool: &str) -> bool {
        let mine = self.mappings.iter().find(|mapping| Some(mapping.id) == id);
        mine.is_none_or(|mine| {
            let same = |m: &Mapping| {
                (m.pool, m.protocol, m.inside) == (pool, mine.protocol, mine.inside)
                    && self.spec.has_end(pool, m.protocol, m.outside)
            };
            mine.pool == pool || !self.mappings.iter().any(same)
        })
    }

    /// What others have begun with a mapping goes by the pool that the rule for its host names now.
    fn follow_rule(&mut self, at: usize) {
        let session = &self.sessions[at];
        let (Some(id), Way::Reverse) = (session.mapping, session.began) else { return };
        let rule = self.spec.through(&session.key(Way::Forward), Side::Inside, Side::Outside);
        let Some(Action::SourceNat(name)) = rule.map(|rule| rule.action.clone()) else { return };
        if self.has(session, name) {
            self.join_mapping(id, name);
        }
    }

    /// What drains goes by the pool that has its end now.
    fn follow_end(&mut self, at: usize) {
        let session = &self.sessions[at];
        let mapping = self.mappings.iter().find(|mapping| Some(mapping.id) == session.mapping);
        let Some(Mapping { id, pool, .. }) = mapping.cloned() else { return };
        let other =
            self.spec.pools.iter().map(|pool| pool.name).find(|name| self.has(session, name));
        if let (false, Some(name)) = (self.has(session, pool), other) {
            self.join_mapping(id, name);
        }
    }

    /// Whether a pool has the outside end of a session for a mapping.
    fn has(&self, session: &Session, pool: &str) -> bool {
        self.spec.pool(pool).is_some_and(|pool| {
            !pool.endpoint_dependent
                && self.spec.has_end(pool.name, session.protocol, session.outside)
                && pool.slice_has(session.inside.0, session.outside)
        })
    }

    /// A mapping is one of this pool, if its inside end has no other there.
    fn join_mapping(&mut self, id: u64, pool: &'static str) {
        let Some(at) = self.mappings.iter().position(|mapping| mapping.id == id) else { return };
        if self.mappings[at].pool != pool && self.may_join(Some(id), pool) {
            // Limits count it anew, if the session goes on.
            (self.mappings[at].pool, self.mappings[at].counted) = (pool, false);
        }
    }

    /// A session, and with it its mapping, is of the pool of this name from now on.
    fn join(&mut self, at: usize, holder: Option<Holder>) {
        let Some(Holder::Pool(name)) = holder else { return };
        let session = &mut self.sessions[at];
        session.pool = Some(name);
        let id = session.mapping;
        self.mappings.iter_mut().filter(|m| Some(m.id) == id).for_each(|m| m.pool = name);
    }

    /// Asserts that a session which is not there any more had to go: its time was over.
    pub(crate) fn may_end(&self, session: &Session) -> Result<(), String> {
        match self.is_asked(session) {
            true => Err(format!("ended unasked: {session:?}")),
            false => self.may_end_by_time(session),
        }
    }

    /// Asserts that the time of a session is over.
    pub(super) fn may_end_by_time(&self, session: &Session) -> Result<(), String> {
        let silent = self.now - session.last;
        let [timeout, _] = self.timeouts(session);
        match silent >= timeout {
            true => Ok(()),
            false => Err(format!("ended after {silent} ms of {timeout}: {session:?}")),
        }
    }

    /// Asserts that no session has outlived its timeout by more than two seconds; one that another policy
    /// shortened, counted from when that was noticed.
    pub(crate) fn check_age(&self, session: &Session) -> Result<(), String> {
        let silent = self.now - session.last;
        let [_, timeout] = self.timeouts(session);
        match silent <= timeout + 2_000 || self.now - session.renewed <= 2_000 {
            true => Ok(()),
            false => Err(format!("lives after {silent} ms of {timeout}: {session:?}")),
        }
    }
}

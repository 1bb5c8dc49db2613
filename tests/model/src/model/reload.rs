//! Another policy: sessions that it would translate the same way go on, the others end.

use super::plan::Stands;
use super::{Model, Session};
use crate::packet::Key;
use crate::spec::Spec;

impl Model {
    pub(crate) fn reload(&mut self, spec: Spec) {
        let before = std::mem::replace(&mut self.spec, spec);
        self.pending.push(before.timeouts);
        self.follow_blocks(&before);
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
        let session = &self.sessions[at];
        let here = self.is_at_home(session);
        let again = self.wants(session).filter(|_| here);
        let drains = here && session.drains && self.may_drain(session);
        let session = &mut self.sessions[at];
        session.renewed = self.now;
        match again {
            Some((rule, outbound)) => {
                (session.rule, session.outbound) = (rule, outbound);
                true
            }
            None if drains => {
                session.rule = "";
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
        while at < self.sessions.len() {
            at += usize::from(self.recheck(at));
        }
        self.pending.clear();
    }

    /// The shortest and the longest time that a session may be silent: of its policy, or of those since.
    fn timeouts(&self, session: &Session) -> [u64; 2] {
        let all = self.pending.iter().chain([&self.spec.timeouts]);
        let all = all.map(|timeouts| session.state.timeout(session.protocol, timeouts));
        let all: Vec<u64> = all.collect();
        [all.iter().min(), all.iter().max()].map(|timeout| *timeout.expect("one at least"))
    }

    /// The rule by which the policy would begin the session again, as it is.
    fn wants(&self, session: &Session) -> Option<(&'static str, bool)> {
        let plan = self.plan(&session.key(session.began), session.side(session.began)).ok()?;
        let same = match plan.stands {
            Stands::Pool(name) => {
                let pool = self.spec.pool(name)?;
                pool.endpoint_dependent == session.mapping.is_none()
                    && self.spec.has_end(name, session.protocol, session.outside)
                    && pool.slice_has(session.inside.0, session.outside)
            }
            Stands::Fixed(end) => session.mapping.is_none() && end == session.outside,
            Stands::Mapping(id) => session.mapping == Some(id),
        };
        let ends = (plan.began, plan.inside, plan.remote);
        (same && ends == (session.began, session.inside, session.remote))
            .then(|| (plan.rule, self.refreshes_outbound(&plan)))
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

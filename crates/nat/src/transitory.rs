//! How many connections a source or pool may have that are no longer open.
//!
//! That one closes cannot be refused: its ends have decided it. So at the limit the one of the same
//! claimant that has been closing longest ends in its place, at once instead of after its timeout.
//! It is found without a search: they stand in a list, in the order in which they left the open states.

use mooring_policy::Policy;
use mooring_session::{Direction, SessionIndex, SourceIndex};

use crate::limits::Holder;
use crate::queue::{Link, Queue};
use crate::{Admission, Event, EventKind, Nat, NextHops};

/// The transitory sessions of each source, the longest so first: those that it began, and those that
/// others began with it.
#[derive(Debug)]
pub(crate) struct Closing {
    /// By number of session.
    links: Box<[Link]>,
    /// By number of source.
    queues: Box<[[Queue; 2]]>,
}

impl Closing {
    /// None yet, for tables of these sizes.
    pub(crate) fn new(sessions: usize, sources: usize) -> Self {
        Self {
            links: vec![Link::NONE; sessions].into(),
            queues: vec![[Queue::EMPTY; 2]; sources].into(),
        }
    }

    /// Whether it is for tables of these sizes.
    pub(crate) fn is_for(&self, sessions: usize, sources: usize) -> bool {
        (self.links.len(), self.queues.len()) == (sessions, sources)
    }

    /// A session of this claimant is transitory from now on, or no longer.
    pub(crate) fn set(
        &mut self,
        session: SessionIndex,
        (source, began): (SourceIndex, Direction),
        is_transitory: bool,
    ) {
        let queue = &mut self.queues[source.number() as usize][began as usize];
        if is_transitory {
            queue.push(session.number(), &mut self.links);
        } else {
            queue.remove(session.number(), &mut self.links);
        }
    }

    /// The numbers of a claimant's sessions, the one that has been transitory longest first.
    pub(crate) fn oldest(
        &self,
        source: SourceIndex,
        began: Direction,
    ) -> impl Iterator<Item = u32> + '_ {
        self.queues[source.number() as usize][began as usize].iter(&self.links)
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        size_of_val::<[Link]>(&self.links) + size_of_val::<[[Queue; 2]]>(&self.queues)
    }
}

impl<A: mooring_session::Address> Nat<A> {
    /// The state of a session has changed: whether it is open counts. If it is one too many of those that
    /// are no longer open, another one ends; how many sessions that were: both halves of a hairpin.
    #[cold]
    #[inline(never)]
    pub fn state_changed<R, H: NextHops>(
        &mut self,
        index: SessionIndex,
        admission: &mut Admission<'_, R, H>,
    ) -> u64 {
        if !self.recount_state(index) {
            return 0;
        }
        let Some(victim) = self.closing_longest(index, admission.policy) else { return 0 };
        let holder = self.tally.as_ref().and_then(|tally| tally.holder_of(index));
        let pool = holder.and_then(|number| self.holder(number)).and_then(Holder::pool);
        let inside = Some(self.source_of(self.sessions.session(index).inside).into());
        let event = Event::new(EventKind::TransitoryLimit, admission.now);
        self.events.write(Event { inside, pool, ..event });
        let all = [Some(victim), self.other_half(victim)].into_iter().flatten();
        all.map(|index| _ = self.end(index, admission.hops, admission.now)).count() as u64
    }

    /// Of a session that has just become transitory, the one that has to end for it, if there are too
    /// many: of the same claimant, so that no source ends the sessions of another. The first of its list
    /// that can end whole; if the pool or rule has too many, one of it. Where the claimant has no other,
    /// the newcomer stays: a forged RST would else end a connection at once.
    fn closing_longest(&self, index: SessionIndex, policy: &Policy) -> Option<SessionIndex> {
        let tally = self.tally.as_ref()?;
        let by = self.claimant_of(index);
        let source = self.sources.find(by.source)?;
        let way = by.began as usize;
        let over = |count: u32, limit: Option<u32>| limit.is_some_and(|limit| count > limit);
        let of_source = tally.source(source).transitory[way];
        let source_is_over = over(of_source, policy.limits.transitory_per_source);
        let number = tally.holder_of(index);
        let holder_is_over = number.is_some_and(|number| {
            let holder = self.holder(number);
            let part =
                holder.and_then(|holder| self.part(holder, policy, |limits| limits.transitory));
            over(tally.of(number).transitory[way], part)
        });
        if !source_is_over && !holder_is_over {
            return None;
        }
        let spared = self.other_half(index);
        let first = |may: &dyn Fn(SessionIndex) -> bool| {
            let oldest = tally.closing_longest(source, by.began).take(LOOKS);
            let mut live = oldest.filter_map(|at| self.sessions.first_live(at, at + 1));
            live.find(|at| *at != index && Some(*at) != spared && self.is_whole(*at) && may(*at))
        };
        let of_holder =
            holder_is_over.then(|| first(&|at| tally.holder_of(at) == number)).flatten();
        of_holder.or_else(|| source_is_over.then(|| first(&|_| true)).flatten())
    }
}

/// Records that are looked at for one that can end: nearly always the first or second can.
const LOOKS: usize = 64;

//! What the options among the limits count: mappings, connections that are not open yet or no longer,
//! sessions in a second; by source, and by pool.
//!
//! It stands beside the tables, by the numbers of their records, and is made when a policy first has
//! such a limit, and given back when none has; by rule, too. A session's *mark* says what of it is
//! counted, so nothing is counted twice or taken back twice, whenever its counting began: sessions that
//! are older than the tally get their mark when the reload rechecks them.

use mooring_session::{Direction, MappingIndex, SessionIndex, SourceIndex, State, Tick};

use crate::bucket::Bucket;
use crate::transitory::Closing;

/// The counts of one worker and family.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By number of session.
    marks: Box<[Mark]>,
    /// By number of mapping: whether it is counted.
    mapped: Box<[bool]>,
    /// By number of source.
    sources: Box<[OfSource]>,
    /// By number of pool.
    pools: Vec<OfPool>,
    /// By number of rule.
    rules: Vec<OfPool>,
    /// Those that are no longer open, made when a policy first limits them: until then none is marked so.
    closing: Option<Closing>,
}

/// What of a session is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// One more than the number of its pool or rule; 0 without one.
    holder: u16,
    of_rule: bool,
    phase: Phase,
}

/// How far a connection is, as far as that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Whose SYN has no answer.
    HalfOpen(Direction),
    /// It is no longer open, and among those that close.
    Over,
}

/// The number of a pool or a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    Pool(u16),
    Rule(u16),
}

/// Of a source. Two numbers are: by its own SYN, and by those of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfSource {
    pub(crate) mappings: u32,
    pub(crate) half_open: [u32; 2],
    /// By who began them.
    pub(crate) transitory: [u32; 2],
    pub(crate) begun: Bucket,
}

/// Of a pool or rule. Two numbers are: begun by its hosts, and by others with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfPool {
    pub(crate) sessions: [u32; 2],
    pub(crate) mappings: u32,
    pub(crate) half_open: [u32; 2],
    pub(crate) transitory: [u32; 2],
    pub(crate) begun: [Bucket; 2],
}

impl Mark {
    /// Of a session in this state of the pool or rule with this number.
    pub(crate) fn new(holder: Option<Numbered>, state: State) -> Self {
        let (holder, of_rule) = match holder {
            Some(Numbered::Pool(number)) => (number + 1, false),
            Some(Numbered::Rule(number)) => (number + 1, true),
            None => (0, false),
        };
        Self { holder, of_rule, phase: Phase::Open }.in_state(state)
    }

    /// Of the same session in this state.
    fn in_state(self, state: State) -> Self {
        let phase = match state.half_open() {
            Some(way) => Phase::HalfOpen(way),
            None if state.is_over() => Phase::Over,
            None => Phase::Open,
        };
        Self { phase, ..self }
    }

    fn holder(self) -> Option<Numbered> {
        let number = self.holder.checked_sub(1)?;
        Some(if self.of_rule { Numbered::Rule(number) } else { Numbered::Pool(number) })
    }
}

impl Tally {
    /// For tables of these sizes.
    pub(crate) fn new(sessions: usize, sources: usize) -> Self {
        Self {
            marks: vec![Mark::default(); sessions].into(),
            mapped: vec![false; sessions].into(),
            sources: vec![OfSource::default(); sources].into(),
            pools: Vec::new(),
            rules: Vec::new(),
            closing: None,
        }
    }

    /// Whether it is for tables of these sizes.
    pub(crate) fn is_for(&self, sessions: usize, sources: usize) -> bool {
        (self.marks.len(), self.sources.len()) == (sessions, sources)
    }

    /// Room for pools with numbers below `pools`, and for rules.
    pub(crate) fn follow(&mut self, pools: usize, rules: usize) {
        for (counts, most) in [(&mut self.pools, pools), (&mut self.rules, rules)] {
            if counts.len() < most {
                counts.resize(most, OfPool::default());
            }
        }
    }

    /// Sessions that are no longer open are counted from now on, once they are marked anew; `made` may be
    /// taken for it.
    pub(crate) fn count_closing(&mut self, made: &mut Option<Closing>) {
        let (sessions, sources) = (self.marks.len(), self.sources.len());
        self.closing.get_or_insert_with(|| {
            let made = made.take().filter(|made| made.is_for(sessions, sources));
            made.unwrap_or_else(|| Closing::new(sessions, sources))
        });
    }

    /// Whether it counts them.
    #[cfg(test)]
    pub(crate) fn counts_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// The numbers of a claimant's sessions that are no longer open, the one that has been so longest
    /// first.
    pub(crate) fn closing_longest(
        &self,
        source: SourceIndex,
        began: Direction,
    ) -> impl Iterator<Item = u32> + '_ {
        self.closing.iter().flat_map(move |closing| closing.oldest(source, began))
    }

    /// Another pool or rule has this number now: at what rate sessions began is not told of it.
    pub(crate) fn begin(&mut self, holder: Numbered) {
        if let Some(counts) = self.of_mut(holder) {
            counts.begun = Default::default();
        }
    }

    /// Whether anything that lives is counted for the pool or rule with this number.
    pub(crate) fn counts(&self, holder: Numbered) -> bool {
        let OfPool { sessions, mappings, half_open, transitory, begun: _ } = self.of(holder);
        mappings > 0 || [sessions, half_open, transitory] != [[0; 2]; 3]
    }

    pub(crate) fn source(&self, index: SourceIndex) -> &OfSource {
        &self.sources[index.number() as usize]
    }

    /// Of the pool or rule with this number.
    pub(crate) fn of(&self, holder: Numbered) -> OfPool {
        let (all, number) = match holder {
            Numbered::Pool(number) => (&self.pools, number),
            Numbered::Rule(number) => (&self.rules, number),
        };
        all.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// The number of the pool or rule that a session counts for.
    pub(crate) fn holder_of(&self, session: SessionIndex) -> Option<Numbered> {
        self.marks[session.number() as usize].holder()
    }

    fn of_mut(&mut self, holder: Numbered) -> Option<&mut OfPool> {
        match holder {
            Numbered::Pool(number) => self.pools.get_mut(usize::from(number)),
            Numbered::Rule(number) => self.rules.get_mut(usize::from(number)),
        }
    }

    /// A source of this number comes into being: what the one before had is gone.
    pub(crate) fn forget_source(&mut self, index: SourceIndex) {
        self.sources[index.number() as usize] = OfSource::default();
    }

    /// A session of this source, which went `began` first, begins under the rates that are given.
    pub(crate) fn take(
        &mut self,
        (source, rate): (SourceIndex, Option<u32>),
        (holder, its_rate): (Option<Numbered>, Option<u32>),
        began: Direction,
        now: Tick,
    ) {
        if let (Some(rate), Direction::Forward) = (rate, began) {
            self.sources[source.number() as usize].begun.take(rate, now);
        }
        if let (Some(rate), Some(holder)) = (its_rate, holder)
            && let Some(counts) = self.of_mut(holder)
        {
            counts.begun[began as usize].take(rate, now);
        }
    }

    /// From now on `mark` says what of a session is counted. True when it is one of those that close
    /// and was not.
    pub(crate) fn mark(
        &mut self,
        session: SessionIndex,
        source: SourceIndex,
        began: Direction,
        mark: Mark,
    ) -> bool {
        let is_counted = mark.phase != Phase::Over || self.closing.is_some();
        let mark = Mark { phase: if is_counted { mark.phase } else { Phase::Open }, ..mark };
        let transitory = mark.phase == Phase::Over;
        let before = std::mem::replace(&mut self.marks[session.number() as usize], mark);
        self.count(before, source, began, |count| *count = count.saturating_sub(1));
        self.count(mark, source, began, |count| *count += 1);
        // Who stays in the list keeps his place.
        let changed = (before.phase == Phase::Over) != transitory;
        if let Some(closing) = self.closing.as_mut().filter(|_| changed) {
            closing.set(session, (source, began), transitory);
        }
        changed && transitory
    }

    /// As [`Self::mark`], when the state of the session has changed and its pool has not.
    pub(crate) fn mark_state(
        &mut self,
        session: SessionIndex,
        source: SourceIndex,
        began: Direction,
        state: State,
    ) -> bool {
        let mark = self.marks[session.number() as usize].in_state(state);
        self.mark(session, source, began, mark)
    }

    /// A mapping of this source and pool is there; it is counted once.
    pub(crate) fn map(&mut self, mapping: MappingIndex, source: SourceIndex, pool: u16) {
        if !std::mem::replace(&mut self.mapped[mapping.number() as usize], true) {
            self.count_mapping(source, pool, |count| *count += 1);
        }
    }

    /// It has ended.
    pub(crate) fn unmap(&mut self, mapping: MappingIndex, source: SourceIndex, pool: u16) {
        if std::mem::take(&mut self.mapped[mapping.number() as usize]) {
            self.count_mapping(source, pool, |count| *count = count.saturating_sub(1));
        }
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        size_of_val::<[Mark]>(&self.marks)
            + size_of_val::<[bool]>(&self.mapped)
            + size_of_val::<[OfSource]>(&self.sources)
            + self.closing.as_ref().map_or(0, Closing::allocated)
    }

    fn count(
        &mut self,
        mark: Mark,
        source: SourceIndex,
        began: Direction,
        step: impl Fn(&mut u32),
    ) {
        if let Some(holder) = mark.holder().and_then(|holder| self.of_mut(holder)) {
            step(&mut holder.sessions[began as usize]);
            match mark.phase {
                Phase::Open => {}
                Phase::HalfOpen(way) => step(&mut holder.half_open[way as usize]),
                Phase::Over => step(&mut holder.transitory[began as usize]),
            }
        }
        let source = &mut self.sources[source.number() as usize];
        match mark.phase {
            Phase::Open => {}
            Phase::HalfOpen(way) => step(&mut source.half_open[way as usize]),
            Phase::Over => step(&mut source.transitory[began as usize]),
        }
    }

    fn count_mapping(&mut self, source: SourceIndex, pool: u16, step: impl Fn(&mut u32)) {
        step(&mut self.sources[source.number() as usize].mappings);
        if let Some(pool) = self.pools.get_mut(usize::from(pool)) {
            step(&mut pool.mappings);
        }
    }
}

const _: () = assert!(size_of::<Mark>() == 4);

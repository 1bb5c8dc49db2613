//! Questions to a worker and its answers. The worker looks at its channel once per loop and answers
//! at most a page of records, so a question never holds up packets for long.

use mooring_engine::explain::Explanation;
use mooring_engine::neighbours::{Conflict, EntryView};
use mooring_engine::view::{MappingView, PAGE, PoolUsage, SessionView};
use mooring_engine::{Counters, Engine, EventPage, Occupancy, SilentHop};
use mooring_session::Tick;

use crate::explain::Resolved;

/// What is asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// The page of a list that starts at this record.
    Page(List, u32),
    /// All counters.
    Counters,
    /// The page of events from this number on; `None`: the newest page.
    Events(Option<u64>),
    /// How much of each pool is used.
    Pools,
    /// Who else uses addresses of ours, and who does not answer.
    Trouble,
    /// What would happen to a packet, or who holds an outside end.
    Explain(Resolved),
}

/// What a worker has more of than it can tell at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Live sessions.
    Sessions,
    /// Endpoint-independent mappings.
    Mappings,
    /// The neighbour table.
    Neighbours,
}

/// What a worker answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A page.
    Page(Page),
    /// Counters, and how full the tables are.
    Counters(Box<Counters>, Occupancy),
    /// A page of events.
    Events(EventPage),
    /// In the order of the policy.
    Pools(Vec<PoolUsage>),
    /// That of the last minutes.
    Trouble(Trouble),
    /// An explanation.
    Explained(Box<Explanation>),
}

/// What a worker would have people know.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// It speaks for all: others know of no conflicts.
    pub speaks: bool,
    /// Who else uses addresses of ours.
    pub conflicts: Vec<Conflict>,
    /// The same, and whom it may be that we will not hear again.
    pub signs: Vec<Conflict>,
    /// Next hops that did not answer.
    pub silent: Vec<SilentHop>,
}

/// Those of [`PAGE`] records of a list that are in use.
#[derive(Clone, Debug)]
pub struct Page {
    /// Copies of them.
    pub records: Records,
    /// The record to go on from; `None` after the last.
    pub next: Option<u32>,
}

/// Copies of records of one kind.
#[derive(Clone, Debug)]
pub enum Records {
    /// Of [`List::Sessions`].
    Sessions(Vec<SessionView>),
    /// Of [`List::Mappings`].
    Mappings(Vec<MappingView>),
    /// Of [`List::Neighbours`], with the time of the answer.
    Neighbours(Vec<EntryView>, Tick),
}

/// Answers a question, on the worker's own thread.
#[must_use]
pub fn answer(engine: &Engine, now: Tick, query: Query) -> Answer {
    match query {
        Query::Page(list, start) => Answer::Page(page(engine, now, list, start)),
        Query::Counters => Answer::Counters(Box::new(engine.counters.clone()), engine.occupancy()),
        Query::Events(number) => Answer::Events(engine.events(number)),
        Query::Pools => Answer::Pools(engine.pools()),
        Query::Trouble => Answer::Trouble(Trouble {
            speaks: engine.speaks(),
            conflicts: engine.neighbours().conflicts(now).copied().collect(),
            signs: engine.neighbours().signs(now).copied().collect(),
            silent: engine.silent_hops().to_vec(),
        }),
        Query::Explain(asked) => Answer::Explained(Box::new(asked.answer(engine))),
    }
}

fn page(engine: &Engine, now: Tick, list: List, start: u32) -> Page {
    match list {
        List::Sessions => {
            let (sessions, next) = engine.sessions(now, start);
            Page { records: Records::Sessions(sessions), next }
        }
        List::Mappings => {
            let (mappings, next) = engine.mappings(start);
            Page { records: Records::Mappings(mappings), next }
        }
        List::Neighbours => {
            let (neighbours, next) = engine.neighbours().page(start, PAGE);
            Page { records: Records::Neighbours(neighbours.collect(), now), next }
        }
    }
}

//! Questions to a worker and its answers. The worker looks at its channel once per loop and answers
//! at most a page of records, so a question never holds up packets for long.

use mooring_engine::neighbours::EntryView;
use mooring_engine::view::{MappingView, SessionView};
use mooring_engine::{Counters, Engine, Occupancy};
use mooring_session::Tick;

/// What is asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// A page of sessions, from this record on.
    Sessions(u32),
    /// A page of mappings, from this record on.
    Mappings(u32),
    /// All counters.
    Counters,
    /// The neighbour table.
    Neighbours,
}

/// What a worker answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Sessions, and the record to go on from.
    Sessions(Vec<SessionView>, Option<u32>),
    /// Mappings, and the record to go on from.
    Mappings(Vec<MappingView>, Option<u32>),
    /// Counters, and how full the tables are.
    Counters(Box<Counters>, Occupancy),
    /// Neighbours, with the time of the answer.
    Neighbours(Vec<EntryView>, Tick),
}

/// Answers a question, on the worker's own thread.
#[must_use]
pub fn answer(engine: &Engine, now: Tick, query: Query) -> Answer {
    match query {
        Query::Sessions(start) => {
            let (sessions, next) = engine.sessions(now, start);
            Answer::Sessions(sessions, next)
        }
        Query::Mappings(start) => {
            let (mappings, next) = engine.mappings(start);
            Answer::Mappings(mappings, next)
        }
        Query::Counters => Answer::Counters(Box::new(engine.counters.clone()), engine.occupancy()),
        Query::Neighbours => Answer::Neighbours(engine.neighbours().entries().collect(), now),
    }
}

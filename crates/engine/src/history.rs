//! The events of a worker in one row, each with its number: whoever wants to know reads from where he
//! was, and takes nothing from others.
//!
//! Bounded: the oldest make room. A reader sees by the numbers that he came too late.

use std::collections::VecDeque;
use std::sync::Arc;

use mooring_nat::Event;
use mooring_policy::Policy;

use crate::Engine;
use crate::family::Nats;

/// An event and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Counted from 0 since the start of the worker.
    pub number: u64,
    /// Name of the pool, as it was called then.
    pub pool: Option<Arc<str>>,
    /// What happened.
    pub event: Event,
}

/// Some events in the order that they happened in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// At most [`EVENTS_PAGE`].
    pub events: Vec<Told>,
    /// Events that were asked for and are no longer remembered.
    pub missed: u64,
    /// The number to go on from.
    pub next: u64,
    /// There are more already.
    pub more: bool,
}

/// The last events of a worker.
#[derive(Debug)]
pub(crate) struct History {
    told: VecDeque<Told>,
    /// The number of the next one.
    next: u64,
    /// Names of the pools of the policy at work, in their order.
    pools: Box<[Arc<str>]>,
}

impl History {
    pub(crate) fn new(policy: &Policy) -> Self {
        let told = VecDeque::with_capacity(REMEMBERED);
        Self { told, next: 0, pools: names(policy) }
    }

    /// From now on events speak of the pools of this policy.
    pub(crate) fn follow(&mut self, policy: &Policy) {
        self.pools = names(policy);
    }

    fn add(&mut self, event: Event) {
        if self.told.len() == REMEMBERED {
            self.told.pop_front();
        }
        let pool = event.pool.and_then(|pool| self.pools.get(usize::from(pool))).cloned();
        self.told.push_back(Told { number: self.next, pool, event });
        self.next += 1;
    }

    fn first(&self) -> u64 {
        self.next - self.told.len() as u64
    }
}

impl Engine {
    /// The events from `number` on, a page of them; `None`: the newest page.
    #[must_use]
    pub fn events(&self, number: Option<u64>) -> EventPage {
        let History { told, next, .. } = &self.history;
        let newest = next.saturating_sub(EVENTS_PAGE as u64);
        let asked = number.unwrap_or(newest.max(self.history.first()));
        let from = asked.max(self.history.first()).min(*next);
        let skipped = (from - self.history.first()) as usize;
        let events: Vec<Told> = told.iter().skip(skipped).take(EVENTS_PAGE).cloned().collect();
        let after = from + events.len() as u64;
        EventPage { events, missed: from.saturating_sub(asked), next: after, more: after < *next }
    }

    /// Puts what the two families have to tell into the row, as every poll does. Allocates nothing.
    pub fn collect_events(&mut self) {
        let Nats { v4, v6 } = &mut self.nats;
        while let Some(event) = v4.events.read() {
            self.history.add(event);
        }
        while let Some(event) = v6.events.read() {
            self.history.add(event);
        }
        for (sum, (one, other)) in
            self.counters.events.iter_mut().zip(v4.events.counts.iter().zip(&v6.events.counts))
        {
            *sum = one + other;
        }
        self.counters.events_lost = v4.events.lost + v6.events.lost;
    }
}

fn names(policy: &Policy) -> Box<[Arc<str>]> {
    policy.pools.iter().map(|pool| Arc::from(pool.name.as_str())).collect()
}

/// Events that are remembered: of blocks, some seconds of a carrier's busiest hour.
const REMEMBERED: usize = 8_192;

/// Events of a page: what a worker looks at between two batches.
pub const EVENTS_PAGE: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooring_nat::{Event, EventKind};
    use mooring_policy::Generation;
    use mooring_session::Tick;

    use super::{EVENTS_PAGE, REMEMBERED};
    use crate::test_bench::{Bench, config_with};

    fn block(at: u64) -> Event {
        Event { pool: Some(0), ..Event::new(EventKind::BlockAllocated, Tick::from_millis(at)) }
    }

    #[test]
    fn readers_take_nothing_from_each_other() {
        let mut bench = Bench::ready_with(&config_with(""));
        for at in 0..3 {
            bench.engine.nats.v4.events.write(block(at));
        }
        bench.engine.nats.v6.events.write(Event::new(EventKind::TableFull, Tick::ZERO));
        bench.engine.collect_events();
        let (one, other) = (bench.engine.events(Some(0)), bench.engine.events(None));
        assert_eq!(one, other);
        let numbers: Vec<u64> = one.events.iter().map(|told| told.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(one.events[0].pool.as_deref(), Some(&*bench.engine.policy.pools[0].name));
        assert_eq!(bench.engine.events(Some(one.next)).events, []);
        let counts = bench.engine.counters.events;
        assert_eq!(counts[EventKind::BlockAllocated as usize], 3);
        assert_eq!(counts[EventKind::TableFull as usize], 1);
    }

    #[test]
    fn who_reads_too_late_is_told_how_many_he_missed() {
        let mut bench = Bench::ready_with(&config_with(""));
        let all = REMEMBERED as u64 + 7;
        for at in 0..all {
            bench.engine.nats.v4.events.write(block(at));
            bench.engine.collect_events();
        }
        let (mut from, mut read, mut missed) = (0, 0, 0);
        loop {
            let page = bench.engine.events(Some(from));
            (from, read, missed) = (page.next, read + page.events.len(), missed + page.missed);
            assert!(page.events.len() <= EVENTS_PAGE);
            if !page.more {
                break;
            }
        }
        assert_eq!((from, read, missed), (all, REMEMBERED, 7));
        let newest = bench.engine.events(None);
        assert_eq!((newest.next, newest.missed, newest.events.len()), (all, 0, EVENTS_PAGE));
        assert_eq!(newest.events.last().map(|told| told.number), Some(all - 1));
    }

    #[test]
    fn an_event_keeps_the_name_that_its_pool_had() {
        let config = config_with("");
        let mut bench = Bench::ready_with(&config);
        bench.engine.nats.v4.events.write(block(0));
        let name = bench.engine.policy.pools[0].name.clone();
        let renamed = config.replace(&format!("\"{name}\""), "\"other\"");
        let policy = Arc::new(mooring_policy::load(&renamed).expect("it is as valid").policy);
        let links = bench.engine.links().to_vec();
        let (now, outbox) = (bench.now, &mut bench.outbox);
        bench.engine.set_policy(policy, Generation(2), &links, now, outbox);
        bench.engine.nats.v4.events.write(block(1));
        bench.engine.collect_events();
        let names = bench.engine.events(None).events;
        let names: Vec<_> = names.iter().map(|told| told.pool.as_deref()).collect();
        assert_eq!(names, [Some(name.as_str()), Some("other")]);
    }
}

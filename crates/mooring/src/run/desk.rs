//! The desk: takes the questions of `show`, asks the workers, answers.
//!
//! Each client has a short-lived thread of its own, so that a slow one holds up nobody. A worker is
//! asked for the next page of a list when the last one is on its way: the desk never has more than
//! a page for each client, however many sessions there are.

mod shown;

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::channel::{Sender, bounded};
use mio::Waker;
use mooring_engine::neighbours::Conflict;
use mooring_engine::{Counters, Occupancy, Told};
use mooring_observe::events::EventRow;
use mooring_observe::explain::{self, Explain};
use mooring_observe::metrics::Scrape;
use mooring_observe::query::{Answer, List, Query, Records, Trouble};
use mooring_observe::report::Report;
use mooring_observe::socket::{Question, Reply, Topic, Unanswered, serve, turn_away};
use serde_json::Value;

pub use self::shown::{Shown, Since};
use super::clock::Clock;
use super::worker::Command;
use crate::VERSION;

/// How to reach a worker.
#[derive(Clone)]
pub struct WorkerLine {
    /// Its channel.
    pub commands: Sender<Command>,
    /// Ends its sleep.
    pub waker: Arc<Waker>,
}

/// Everything that answering takes.
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    shown: ArcSwap<Shown>,
    clock: Clock,
    workers: Vec<WorkerLine>,
    clients: AtomicUsize,
    /// Events that the log came too late for.
    missed_events: AtomicU64,
    /// Events of Kubernetes that no route has.
    untold_events: AtomicU64,
}

impl Desk {
    /// A desk for these workers.
    #[must_use]
    pub fn new(shown: Shown, clock: Clock, workers: Vec<WorkerLine>) -> Self {
        let (shown, clients) = (ArcSwap::from_pointee(shown), AtomicUsize::new(0));
        let [missed_events, untold_events] = [0, 0].map(AtomicU64::new);
        let inner = Inner { shown, clock, workers, clients, missed_events, untold_events };
        Self { inner: Arc::new(inner) }
    }

    /// What is shown now.
    #[must_use]
    pub fn shown(&self) -> Arc<Shown> {
        self.inner.shown.load_full()
    }

    /// Shows this from now on.
    pub fn show(&self, shown: Shown) {
        self.inner.shown.store(Arc::new(shown));
    }

    /// Counts events that the log came too late for.
    pub fn miss_events(&self, missed: u64) {
        self.inner.missed_events.fetch_add(missed, Ordering::Relaxed);
    }

    /// So many Events of Kubernetes were not told since the start.
    pub fn leave_untold(&self, events: u64) {
        self.inner.untold_events.store(events, Ordering::Relaxed);
    }

    /// Takes every client that waits at `listener`; more than 16 at a time are told that they are too
    /// many.
    pub fn accept(&self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            let inner = Arc::clone(&self.inner);
            if inner.clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
                inner.clients.fetch_sub(1, Ordering::Relaxed);
                turn_away(&stream, "too many ask at a time: try again");
                continue;
            }
            let spawned = thread::Builder::new().name("show".to_owned()).spawn(move || {
                inner.attend(&stream);
                inner.clients.fetch_sub(1, Ordering::Relaxed);
            });
            if spawned.is_err() {
                self.inner.clients.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// What `/metrics` tells, from all workers.
    ///
    /// # Errors
    /// When a worker does not answer within a second.
    pub fn scrape(&self) -> Result<Scrape, Unanswered> {
        self.inner.scrape()
    }
}

impl Inner {
    fn attend(&self, stream: &UnixStream) {
        if stream.set_nonblocking(false).is_ok() {
            // What the client could be told it was told; nobody else asked.
            let _ = serve(stream, |question, reply| match question {
                Question::Show(topic) => self.answer(topic, reply),
                Question::Explain(question) => reply.object(&self.explain(&question)?),
            });
        }
    }

    fn answer(&self, topic: Topic, reply: &mut Reply<'_>) -> Result<(), Unanswered> {
        let Shown { report, .. } = &*self.shown.load_full();
        match topic {
            Topic::Addresses => self.addresses(reply),
            Topic::Counters => reply.object(&report.counters(&self.counters()?)),
            Topic::Events => reply.rows(self.events()?),
            Topic::Drops => reply.object(&Report::drops(&self.counters()?)),
            Topic::Interfaces => reply.rows(report.interfaces(&self.counters()?)),
            Topic::Mappings => self.pages(List::Mappings, reply),
            Topic::Neighbors => self.pages(List::Neighbours, reply),
            Topic::Sessions => self.pages(List::Sessions, reply),
        }
    }

    /// The addresses that are held, and who else uses them by the word of the first worker.
    fn addresses(&self, reply: &mut Reply<'_>) -> Result<(), Unanswered> {
        let Some(speaker) = self.workers.first() else { return Ok(()) };
        let Answer::Trouble(Trouble { conflicts, .. }) = speaker.ask(Query::Trouble)? else {
            return Err(misunderstood());
        };
        let shown = self.shown.load_full();
        let state_of = |interface, address| {
            let here = |conflict: &&Conflict| {
                (conflict.interface, conflict.address) == (interface, address)
            };
            match conflicts.iter().find(here) {
                Some(conflict) => ("conflict", Some(self.clock.date(conflict.since))),
                None => ("held", shown.since.of(interface, address)),
            }
        };
        let rows = shown.report.addresses(&shown.policy, &shown.not_taken, state_of);
        reply.rows(rows.map(|row| shown.with_reason(row)).chain(shown.refused()))
    }

    /// The newest page of each worker, in the order of time.
    fn events(&self) -> Result<Vec<EventRow>, Unanswered> {
        let mut rows = Vec::new();
        for (at, worker) in self.workers.iter().enumerate() {
            let Answer::Events(page) = worker.ask(Query::Events(None))? else {
                return Err(misunderstood());
            };
            let row = |told: &Told| EventRow::new(at, told, self.clock.date(told.event.at));
            rows.extend(page.events.iter().map(row));
        }
        // Those of one millisecond stay in the order of their worker.
        rows.sort_by(|one, other| one.at().cmp(other.at()));
        Ok(rows)
    }

    /// The answer of the worker that has the session or the mapping, else of the first.
    fn explain(&self, question: &Explain) -> Result<Value, Unanswered> {
        let asked = question.resolve(&self.shown.load().policy).map_err(Unanswered::Refused)?;
        let mut first = None;
        for worker in &self.workers {
            let Answer::Explained(explanation) = worker.ask(Query::Explain(asked))? else {
                return Err(misunderstood());
            };
            if explain::is_of_the_owner(&explanation) {
                return Ok(explain::json(&explanation));
            }
            first.get_or_insert(explanation);
        }
        first.map(|explanation| explain::json(&explanation)).ok_or_else(misunderstood)
    }

    fn scrape(&self) -> Result<Scrape, Unanswered> {
        let Shown { report, policy, .. } = &*self.shown.load_full();
        let pools = policy.pools.iter();
        let mut scrape = Scrape {
            version: VERSION,
            generation: report.generation.0,
            interfaces: report.interfaces.iter().map(|port| port.name.clone()).collect(),
            pools: pools.map(|pool| (pool.name.clone(), pool.address_count())).collect(),
            session_limit: policy.limits.sessions,
            workers: self.counters_within(SCRAPE_PATIENCE)?,
            events_unwritten: self.missed_events.load(Ordering::Relaxed),
            kubernetes_events_untold: self.untold_events.load(Ordering::Relaxed),
            usage: Vec::new(),
            neighbours: Vec::new(),
        };
        for worker in &self.workers {
            let Answer::Pools(pools) = worker.ask_within(Query::Pools, SCRAPE_PATIENCE)? else {
                return Err(misunderstood());
            };
            scrape.add_usage(&pools);
            let mut start = Some(0);
            while let Some(from) = start {
                let query = Query::Page(List::Neighbours, from);
                let Answer::Page(page) = worker.ask_within(query, SCRAPE_PATIENCE)? else {
                    return Err(misunderstood());
                };
                if let Records::Neighbours(views, _) = &page.records {
                    scrape.count_neighbours(views);
                }
                start = page.next;
            }
        }
        Ok(scrape)
    }

    fn counters(&self) -> Result<Vec<(Counters, Occupancy)>, Unanswered> {
        self.counters_within(PATIENCE)
    }

    fn counters_within(
        &self,
        patience: Duration,
    ) -> Result<Vec<(Counters, Occupancy)>, Unanswered> {
        let ask = |worker: &WorkerLine| worker.ask_within(Query::Counters, patience);
        let answers = self.workers.iter().map(|worker| match ask(worker)? {
            Answer::Counters(counters, occupancy) => Ok((*counters, occupancy)),
            _ => Err(misunderstood()),
        });
        answers.collect()
    }

    /// All records of all workers, a page at a time.
    fn pages(&self, list: List, reply: &mut Reply<'_>) -> Result<(), Unanswered> {
        let shown = self.shown.load_full();
        for (at, worker) in self.workers.iter().enumerate() {
            let mut start = Some(0);
            while let Some(from) = start {
                let Answer::Page(page) = worker.ask(Query::Page(list, from))? else {
                    return Err(misunderstood());
                };
                match &page.records {
                    Records::Sessions(views) => reply.rows(Report::sessions(at, views))?,
                    Records::Mappings(views) => reply.rows(Report::mappings(at, views))?,
                    Records::Neighbours(views, now) => {
                        reply.rows(shown.report.neighbours(at, views, *now))?;
                    }
                }
                start = page.next;
            }
        }
        Ok(())
    }
}

impl WorkerLine {
    /// Tells the worker something and waits for no answer. One that has ended needs no telling, and
    /// one that cannot take more within a second has ended.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send_timeout(command, Duration::from_secs(1));
        let _ = self.waker.wake();
    }

    fn ask(&self, query: Query) -> Result<Answer, Unanswered> {
        self.ask_within(query, PATIENCE)
    }

    fn ask_within(&self, query: Query, patience: Duration) -> Result<Answer, Unanswered> {
        let (reply, answer) = bounded(1);
        let silent = || Unanswered::Refused("the worker does not answer".to_owned());
        self.commands.send_timeout(Command::Ask(query, reply), patience).map_err(|_| silent())?;
        self.waker.wake().map_err(|error| Unanswered::Refused(error.to_string()))?;
        answer.recv_timeout(patience).map_err(|_| silent())
    }
}

fn misunderstood() -> Unanswered {
    Unanswered::Refused("the worker answered another question".to_owned())
}

/// Clients at a time.
const MAX_CLIENTS: usize = 16;

/// How long a worker may take for one page.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for a scrape: who scrapes comes again soon.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;

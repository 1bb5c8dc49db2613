//! The desk: takes the questions of `show`, asks the workers, answers.
//!
//! Each client has a short-lived thread of its own, so that a slow one holds up nobody.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use mio::Waker;
use mooring_engine::{Counters, Occupancy};
use mooring_observe::query::{Answer, Query};
use mooring_observe::report::Report;
use mooring_observe::socket::{Topic, serve};
use mooring_policy::Policy;
use serde_json::Value;

use super::worker::Command;

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
    report: Report,
    policy: Arc<Policy>,
    workers: Vec<WorkerLine>,
    clients: AtomicUsize,
}

impl Desk {
    /// A desk for these workers.
    #[must_use]
    pub fn new(report: Report, policy: Arc<Policy>, workers: Vec<WorkerLine>) -> Self {
        let clients = AtomicUsize::new(0);
        Self { inner: Arc::new(Inner { report, policy, workers, clients }) }
    }

    /// Takes every client that waits at `listener`; more than 16 at a time are turned
    /// away by closing the connection.
    pub fn accept(&self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            let inner = Arc::clone(&self.inner);
            if inner.clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
                inner.clients.fetch_sub(1, Ordering::Relaxed);
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

    /// Tells all workers to stop.
    pub fn stop(&self) {
        for worker in &self.inner.workers {
            // A worker that has ended needs no telling.
            let _ = worker.commands.send(Command::Stop);
            let _ = worker.waker.wake();
        }
    }
}

impl Inner {
    fn attend(&self, stream: &UnixStream) {
        // A client that went away or was too slow gets no answer; there is nobody to tell.
        let _ =
            stream.set_nonblocking(false).and_then(|()| serve(stream, |topic| self.answer(topic)));
    }

    fn answer(&self, topic: Topic) -> Result<Value, String> {
        match topic {
            Topic::Addresses => Ok(self.report.addresses(&self.policy).into()),
            Topic::Counters => Ok(self.report.counters(&self.counters()?)),
            Topic::Drops => Ok(Report::drops(&self.counters()?)),
            Topic::Interfaces => Ok(self.report.interfaces(&self.counters()?).into()),
            Topic::Mappings => self.pages(Query::Mappings, |worker, answer| match answer {
                Answer::Mappings(page, next) => {
                    Some((Report::mappings(worker, &page).collect(), next))
                }
                _ => None,
            }),
            Topic::Neighbors => self.neighbours(),
            Topic::Sessions => self.pages(Query::Sessions, |worker, answer| match answer {
                Answer::Sessions(page, next) => {
                    Some((Report::sessions(worker, &page).collect(), next))
                }
                _ => None,
            }),
        }
    }

    fn counters(&self) -> Result<Vec<(Counters, Occupancy)>, String> {
        let answers = self.workers.iter().map(|worker| match worker.ask(Query::Counters)? {
            Answer::Counters(counters, occupancy) => Ok((*counters, occupancy)),
            _ => Err(MISUNDERSTOOD.to_owned()),
        });
        answers.collect()
    }

    fn neighbours(&self) -> Result<Value, String> {
        let mut rows = Vec::new();
        for worker in &self.workers {
            let Answer::Neighbours(entries, now) = worker.ask(Query::Neighbours)? else {
                return Err(MISUNDERSTOOD.to_owned());
            };
            rows.extend(self.report.neighbours(&entries, now));
        }
        Ok(rows.into())
    }

    /// All records of all workers, a page at a time.
    fn pages(
        &self,
        query: impl Fn(u32) -> Query,
        rows_of: impl Fn(usize, Answer) -> Option<(Vec<Value>, Option<u32>)>,
    ) -> Result<Value, String> {
        let mut rows = Vec::new();
        for (at, worker) in self.workers.iter().enumerate() {
            let mut start = Some(0);
            while let Some(from) = start {
                let answer = worker.ask(query(from))?;
                let (page, next) = rows_of(at, answer).ok_or(MISUNDERSTOOD)?;
                rows.extend(page);
                start = next;
            }
        }
        Ok(rows.into())
    }
}

impl WorkerLine {
    fn ask(&self, query: Query) -> Result<Answer, String> {
        let (reply, answer) = bounded(1);
        let gone = || "the worker does not answer".to_owned();
        self.commands.send_timeout(Command::Ask(query, reply), PATIENCE).map_err(|_| gone())?;
        self.waker.wake().map_err(|error| error.to_string())?;
        answer.recv_timeout(PATIENCE).map_err(|_| gone())
    }
}

/// Clients at a time.
const MAX_CLIENTS: usize = 16;

/// How long a worker may take for one page.
const PATIENCE: Duration = Duration::from_secs(5);

const MISUNDERSTOOD: &str = "the worker answered another question";

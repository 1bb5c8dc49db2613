//! What probes are told: whether the workers turn (`/healthz`), whether packets are forwarded
//! (`/readyz`).
//!
//! A worker only writes the time of its last turn, with a relaxed store of its own number; everything
//! else happens when somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mooring_http::{Request, Response, Status};
use mooring_session::Tick;

/// The time of a worker's last turn. One worker writes, others read.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Notes a turn.
    #[inline]
    pub fn beat(&self, now: Tick) {
        self.0.store(now.as_millis(), Ordering::Relaxed);
    }

    /// The time of the last turn.
    #[must_use]
    pub fn last(&self) -> Tick {
        Tick::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// How far the start is, and whether the end has begun.
#[derive(Debug)]
pub struct Health {
    interfaces_open: AtomicBool,
    draining: AtomicBool,
    /// A control plane says which addresses are ours, and has not said it yet.
    unassigned: AtomicBool,
    workers: OnceLock<Vec<Heartbeat>>,
}

impl Health {
    /// Of an appliance that has only just begun to start.
    #[must_use]
    pub fn starting() -> Self {
        Self {
            interfaces_open: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            unassigned: AtomicBool::new(false),
            workers: OnceLock::new(),
        }
    }

    /// Every interface is open.
    pub fn interfaces_are_open(&self) {
        self.interfaces_open.store(true, Ordering::Relaxed);
    }

    /// The workers run, and these are their heartbeats, in their order. Only the first call counts.
    pub fn workers_run(&self, heartbeats: Vec<Heartbeat>) {
        // There is one start.
        let _ = self.workers.set(heartbeats);
    }

    /// A control plane says which addresses are ours. Until it has said so once, nobody should count on
    /// us.
    pub fn awaits_assignments(&self) {
        self.unassigned.store(true, Ordering::Relaxed);
    }

    /// It has. What it says afterwards, or that it says nothing, is no reason to be less ready: who
    /// holds nothing is ready to.
    pub fn is_assigned(&self) {
        self.unassigned.store(false, Ordering::Relaxed);
    }

    /// The end has begun: no new traffic should come here.
    pub fn drains(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What is wrong with the process, one line each: workers that did not turn for 5 s. A restart
    /// would help.
    #[must_use]
    pub fn ills(&self, now: Tick) -> Vec<String> {
        let workers = self.workers.get().into_iter().flatten().enumerate();
        let still = workers.map(|(at, heartbeat)| (at, now.since(heartbeat.last())));
        still
            .filter(|(_, silence)| *silence > LONGEST_TURN)
            .map(|(at, silence)| format!("worker {at} did not turn for {} s", silence / 1_000))
            .collect()
    }

    /// What is missing before packets are forwarded, one line each.
    #[must_use]
    pub fn missing(&self, now: Tick) -> Vec<String> {
        let mut missing = Vec::new();
        let mut demand = |met: bool, line: &str| {
            if !met {
                missing.push(line.to_owned());
            }
        };
        demand(self.interfaces_open.load(Ordering::Relaxed), "not all interfaces are open");
        demand(self.workers.get().is_some(), "the workers do not run");
        demand(!self.unassigned.load(Ordering::Relaxed), "the routes were not listed yet");
        demand(!self.draining.load(Ordering::Relaxed), "draining");
        missing.extend(self.ills(now));
        missing
    }

    /// The answer to a request for `/healthz` or `/readyz`.
    #[must_use]
    pub fn respond(&self, now: Tick, request: Request<'_>) -> Response {
        let (word, problems) = match request.path {
            "/healthz" => ("ok\n", self.ills(now)),
            "/readyz" => ("ready\n", self.missing(now)),
            _ => return Response::bare(Status::NotFound),
        };
        match problems.is_empty() {
            true => Response::text(Status::Ok, word),
            false => Response::text(Status::ServiceUnavailable, problems.join("\n") + "\n"),
        }
    }
}

/// Milliseconds without a turn after which a worker counts as stuck. An idle one turns ten times a
/// second.
const LONGEST_TURN: u64 = 5_000;

#[cfg(test)]
mod tests {
    use mooring_http::{Method, Request, Status};
    use mooring_session::Tick;

    use super::{Health, Heartbeat};

    fn ask(health: &Health, millis: u64, path: &str) -> (Status, String) {
        let request = Request { method: Method::Get, path };
        let response = health.respond(Tick::from_millis(millis), request);
        (response.status, String::from_utf8_lossy(&response.body).into_owned())
    }

    #[test]
    fn ready_only_when_nothing_is_missing() {
        let health = Health::starting();
        let (status, body) = ask(&health, 1, "/readyz");
        assert_eq!(status, Status::ServiceUnavailable);
        assert_eq!(body, "not all interfaces are open\nthe workers do not run\n");
        assert_eq!(ask(&health, 1, "/healthz").0, Status::Ok, "starting is not an illness");
        health.interfaces_are_open();
        health.workers_run(vec![Heartbeat::default()]);
        assert_eq!(ask(&health, 1, "/readyz"), (Status::Ok, "ready\n".to_owned()));
        health.drains();
        assert_eq!(ask(&health, 1, "/readyz").1, "draining\n");
        assert_eq!(ask(&health, 1, "/healthz").0, Status::Ok);
    }

    #[test]
    fn with_a_control_plane_ready_once_it_has_said_what_is_ours_and_for_ever() {
        let health = Health::starting();
        health.awaits_assignments();
        health.interfaces_are_open();
        health.workers_run(vec![Heartbeat::default()]);
        assert_eq!(ask(&health, 1, "/readyz").1, "the routes were not listed yet\n");
        assert_eq!(ask(&health, 1, "/healthz").0, Status::Ok);
        health.is_assigned();
        assert_eq!(ask(&health, 1, "/readyz").0, Status::Ok);
    }

    #[test]
    fn a_worker_that_stands_still_is_named() {
        let health = Health::starting();
        let (good, stuck) = (Heartbeat::default(), Heartbeat::default());
        health.workers_run(vec![good.clone(), stuck]);
        assert_eq!(ask(&health, 5_000, "/healthz").0, Status::Ok);
        good.beat(Tick::from_millis(7_000));
        let told = ask(&health, 7_001, "/healthz");
        assert_eq!(
            told,
            (Status::ServiceUnavailable, "worker 1 did not turn for 7 s\n".to_owned())
        );
        assert!(ask(&health, 7_001, "/readyz").1.contains("worker 1"));
        assert_eq!(ask(&health, 7_001, "/metrics").0, Status::NotFound);
    }
}

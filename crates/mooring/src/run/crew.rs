//! The workers' threads: started together, ended together.

use std::io;
use std::num::NonZeroU8;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::bounded;
use mio::Waker;
use mooring_control::usable_cores;
use mooring_engine::Engine;
use mooring_observe::health::Heartbeat;
use mooring_packet::{Receive, Transmit};
use mooring_policy::Settings;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::clock::Clock;
use super::desk::WorkerLine;
use super::worker::exchange::{MAX_WORKERS, between};
use super::worker::{Ports, Worker};
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// Workers that run.
pub struct Crew {
    lines: Vec<WorkerLine>,
    heartbeats: Vec<Heartbeat>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Crew {
    /// Starts a worker for each engine and its ports. When one ends, for whatever reason, `ended` is
    /// woken; one that sees somebody else use an address of ours writes into `ear`.
    ///
    /// # Errors
    /// When the system has no more threads or descriptors. Workers that run already end by
    /// themselves then.
    pub fn start<R, T>(
        members: Vec<(Engine, Ports<R, T>)>,
        clock: Clock,
        ended: &Arc<Waker>,
        ear: &UnixStream,
    ) -> Result<Self, Failure>
    where
        R: Receive + AsRawFd + Send + 'static,
        T: Transmit + Send + 'static,
    {
        let (mut workers, mut lines) = (Vec::new(), Vec::new());
        for (engine, ports) in members {
            let (commands, inbox) = bounded(COMMANDS);
            let (worker, waker) =
                Worker::new(engine, ports, inbox, clock).map_err(|error| failed(&error, None))?;
            let ear = ear.try_clone().map_err(|error| failed(&error, None))?;
            workers.push(worker.heard_by(ear));
            lines.push(WorkerLine { commands, waker: Arc::new(waker) });
        }
        let heartbeats = workers.iter().map(Worker::heartbeat).collect();
        if workers.len() > 1 {
            let wakers: Vec<_> = lines.iter().map(|line| Arc::clone(&line.waker)).collect();
            let pairs = workers.into_iter().zip(between(&wakers));
            workers = pairs.map(|(worker, sides)| worker.among_others(sides)).collect();
        }
        let cores = cores_for(workers.len());
        let mut threads = Vec::new();
        for (at, worker) in workers.into_iter().enumerate() {
            let wake = WakeOnDrop(Arc::clone(ended));
            let core = cores.get(at).copied();
            let run = move || {
                let _wake = wake;
                core.inspect(|core| pin(at, *core));
                worker.run()
            };
            let thread = thread::Builder::new().name(format!("worker-{at}")).spawn(run);
            threads.push(thread.map_err(|error| failed(&error, None))?);
        }
        Ok(Self { lines, heartbeats, threads })
    }

    /// How to reach the workers, in their order.
    #[must_use]
    pub fn lines(&self) -> &[WorkerLine] {
        &self.lines
    }

    /// What tells that they still turn, in their order.
    #[must_use]
    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        self.heartbeats.clone()
    }

    /// Waits until all have ended, as somebody has told them, but not for ever: `None` when one goes on.
    ///
    /// # Errors
    /// Why the first of them ended that was not told to, and which it is. (In a release build a panic ends the
    /// process before anybody could be asked: [`crate::panic`].)
    pub fn join(self) -> Result<Option<()>, Failure> {
        let mut pauses = 0..PAUSES;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if pauses.next().is_none() {
                return Ok(None);
            }
            thread::sleep(PATIENCE / PAUSES);
        }
        let ended = self.threads.into_iter().enumerate().map(|(at, thread)| match thread.join() {
            Ok(ended) => ended.map_err(|error| format!("worker {at}: {error}")),
            Err(_) => Err(format!("worker {at} has panicked")),
        });
        let ended: Vec<Result<(), String>> = ended.collect();
        let ended = ended.into_iter().collect::<Result<(), String>>();
        ended.map(Some).map_err(|error| failed(&error, None))
    }
}

/// How many workers the settings ask for.
#[must_use]
pub fn size(settings: &Settings) -> NonZeroU8 {
    let wanted = settings.workers.min(MAX_WORKERS as u16) as u8;
    NonZeroU8::new(wanted).unwrap_or_else(usable_cores)
}

/// A core for each of several workers, if there are enough that we may use. One worker goes where the
/// system puts it.
fn cores_for(workers: usize) -> Vec<usize> {
    let Ok(usable) = sched_getaffinity(None) else { return Vec::new() };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core)).collect();
    if workers > 1 && workers <= cores.len() { cores[..workers].to_vec() } else { Vec::new() }
}

/// Keeps the calling thread on one core.
fn pin(worker: usize, core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    if let Err(error) = sched_setaffinity(None, &only) {
        say(&format!("mooring: warning: worker {worker} is not kept on core {core}: {error}"));
    }
}

/// Tells the main thread that a worker has ended, also when it panicked.
struct WakeOnDrop(Arc<Waker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        // The main thread may be gone already; then nobody needs to know.
        let _ = self.0.wake();
    }
}

/// How long workers may take to end. They do so in their next turn; one that does not stands still.
const PATIENCE: Duration = Duration::from_secs(3);

/// It is waited for in so many parts: time in which the whole process was stopped does not count.
const PAUSES: u32 = 1_000;

/// Commands that may wait for a worker.
const COMMANDS: usize = 64;

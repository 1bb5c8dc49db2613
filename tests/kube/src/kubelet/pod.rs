//! One Pod: a thread that starts it, asks its probes, follows its object and ends it.

mod program;
mod sandbox;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_lab::Namespace;
use mooring_lab::clock::Stopwatch;
use rustix::process::Signal;
use serde_json::Value;

use self::program::Program;
use self::sandbox::Sandbox;
use super::Node;
use super::probe::Probe;
use super::status::{self, State, Status};
use crate::api::Api;

/// What a Pod's thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Its object is like this now.
    Pod(Box<Value>),
    /// A ConfigMap of its namespace is like this now.
    ConfigMap(Box<Value>),
    RotateToken,
    Signal(Signal),
}

/// The thread of a Pod.
#[derive(Debug)]
pub(super) struct Running {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
    shared: Arc<program::Shared>,
}

/// A Pod whose program was started.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its network namespace.
    pub namespace: Namespace,
    log: PathBuf,
    shared: Arc<program::Shared>,
}

/// The thread's own.
struct Life {
    api: Api,
    pod: Value,
    orders: Receiver<Order>,
    sandbox: Sandbox,
    program: Option<Program>,
    /// Since the program's start.
    age: Stopwatch,
    probes: [Option<Probe>; 3],
    restarts: u32,
    /// Time left until it is killed, and since when.
    ending: Option<(Stopwatch, Duration)>,
    status: Status,
}

impl Running {
    /// Begins to start a Pod.
    pub(super) fn start(place: (Api, Arc<Node>, PathBuf), maps: Vec<Value>, pod: Value) -> Self {
        let (orders, inbox) = mpsc::channel();
        let shared = Arc::new(program::Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let name = pod["metadata"]["name"].clone();
            let mut status = Status::new(&pod);
            let api = place.0.clone();
            if let Err(error) = live(place, &maps, pod, inbox, own) {
                eprintln!("kubelet: the Pod {name}: {error:?}");
                status.tell(&api, &refused(format!("{error:#}")));
            }
        });
        Self { orders, thread, shared }
    }

    /// A thread that has ended needs no orders.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// The Pod, once its program was started.
    pub(super) fn started(&self) -> Option<Pod> {
        let (namespace, log) = self.shared.place()?;
        Some(Pod { namespace, log, shared: Arc::clone(&self.shared) })
    }

    pub(super) fn is_ending(&self) -> bool {
        self.shared.is_ending()
    }

    /// Ends it without grace; if it was not `told` to, its last words are printed.
    pub(super) fn end(self, name: &str, told: bool) {
        let started = self.started();
        drop(self.orders);
        let _ = self.thread.join();
        if let Some(pod) = started.filter(|_| !told) {
            eprintln!("--- the Pod {name} was stopped early; it said:\n{}---", pod.log());
        }
    }
}

impl Pod {
    /// All that its containers have written to standard output and standard error.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What a command prints that runs inside, with all rights.
    ///
    /// # Errors
    /// When it fails; the message holds its standard error.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let process = self.shared.process().context("the Pod's program does not run")?;
        let mut enter = std::process::Command::new("nsenter");
        enter.args(["--mount", "--net", "--pid", "--target", &process.to_string(), "--"]);
        crate::tools::output(enter.args(command), b"")
    }

    /// The process of its program.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.shared.process()
    }
}

fn live(
    (api, node, authority): (Api, Arc<Node>, PathBuf),
    maps: &[Value],
    pod: Value,
    orders: Receiver<Order>,
    shared: Arc<program::Shared>,
) -> Result<()> {
    let status = Status::new(&pod);
    let sandbox = Sandbox::make(&api, &node, &authority, maps, &pod, shared)?;
    let container = sandbox.container()?.clone();
    let probe = |name| Probe::of(&container, name);
    let probes = [probe("startupProbe")?, probe("livenessProbe")?, probe("readinessProbe")?];
    let mut life = Life {
        api,
        pod,
        orders,
        sandbox,
        program: None,
        age: Stopwatch::start(),
        probes,
        restarts: 0,
        ending: None,
        status,
    };
    life.sandbox.run_init_containers()?;
    life.begin()?;
    while life.turn()? {}
    life.sandbox.remove()
}

impl Life {
    fn begin(&mut self) -> Result<()> {
        self.program = Some(self.sandbox.start_program()?);
        self.age = Stopwatch::start();
        let container = self.sandbox.container()?;
        for (probe, name) in self.probes.iter_mut().zip(PROBES) {
            *probe = Probe::of(container, name)?;
        }
        Ok(())
    }

    /// Whether it goes on.
    fn turn(&mut self) -> Result<bool> {
        match self.orders.recv_timeout(TICK) {
            Ok(order) => self.obey(order)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
        let over = self.ending.is_some_and(|(since, grace)| since.elapsed() > grace);
        if over && let Some(program) = &self.program {
            program.signal(Signal::KILL);
        }
        if let Some(program) = &mut self.program
            && program.has_ended()?
        {
            self.program = None;
            self.tell();
            if self.ending.is_some() {
                return Ok(!self.finish());
            }
            self.restarts += 1;
            thread::sleep(RESTART);
            self.begin()?;
        }
        self.probe();
        self.tell();
        Ok(true)
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Pod(pod) => {
                self.pod = *pod;
                self.sandbox.volumes.follow_pod(&self.pod)?;
                if !self.pod["metadata"]["deletionTimestamp"].is_null() && self.ending.is_none() {
                    let grace = self.pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
                    let grace = Duration::from_secs(grace.unwrap_or(0));
                    self.ending = Some((Stopwatch::start(), grace));
                    self.sandbox.shared.set_ending();
                    self.signal(Signal::TERM);
                }
            }
            Order::ConfigMap(map) => self.sandbox.volumes.follow_map(&map)?,
            Order::RotateToken => self.sandbox.volumes.rotate_token(&self.api)?,
            Order::Signal(signal) => self.signal(signal),
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(program) = &self.program {
            program.signal(signal);
        }
    }

    fn probe(&mut self) {
        let (now, address) = (self.age.elapsed(), self.sandbox.address);
        let [startup, liveness, readiness] = &mut self.probes;
        if let Some(startup) = startup
            && startup.verdict != Some(true)
        {
            startup.ask(now, address);
            if startup.verdict == Some(false) {
                self.signal(Signal::KILL);
            }
            return;
        }
        if let Some(readiness) = readiness {
            readiness.ask(now, address);
        }
        if let Some(liveness) = liveness.as_mut().filter(|_| self.ending.is_none()) {
            liveness.ask(now, address);
            if liveness.verdict == Some(false) {
                self.signal(Signal::KILL);
            }
        }
    }

    fn tell(&mut self) {
        let [startup, _, readiness] = &self.probes;
        let started = startup.as_ref().is_none_or(|probe| probe.verdict == Some(true));
        let well = readiness.as_ref().is_none_or(|probe| probe.verdict == Some(true));
        let state = State {
            phase: "Running",
            initialized: true,
            ready: self.program.is_some() && started && well,
            restarts: self.restarts,
            address: Some(self.sandbox.address),
            waiting: String::new(),
        };
        self.status.tell(&self.api, &state);
    }

    /// Tells the server that nothing of it is left; whether that is known now.
    fn finish(&mut self) -> bool {
        let path = status::path(&self.pod, "");
        match self.api.delete_now(&path, &self.pod["metadata"]["uid"]) {
            Ok(_) => true,
            Err(refused) => matches!(refused.code(), 404 | 409),
        }
    }
}

fn refused(waiting: String) -> State {
    State {
        phase: "Pending",
        initialized: false,
        ready: false,
        restarts: 0,
        address: None,
        waiting,
    }
}

const PROBES: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];
/// How soon the end of a process is seen.
const TICK: Duration = Duration::from_millis(10);
/// Kubernetes' own waits 10 s and more from the second time on.
const RESTART: Duration = Duration::from_millis(100);

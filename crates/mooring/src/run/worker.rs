//! The loop of a worker: receive, walk, transmit; wait when there is nothing to do.
//!
//! The worker owns its engine and its ports. Others reach it by a bounded channel, which it looks at
//! once per turn, and other workers by the rings of their [`exchange`].

mod core;
pub mod exchange;

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use mooring_engine::{Engine, Leftovers, Link, Supplies};
use mooring_io::tsc;
use mooring_observe::health::Heartbeat;
use mooring_observe::query::{Answer, Query, answer};
use mooring_packet::{Batch, Receive, Transmit};
use mooring_policy::{Generation, InterfaceId, Policy};
use mooring_session::Tick;
use mooring_wire::Mac;

use self::core::Core;
use self::exchange::{Giving, Taking};
use super::clock::Clock;
use super::services::Services;

/// What others may tell a worker.
#[derive(Debug)]
pub enum Command {
    /// Answer a question.
    Ask(Query, Sender<Answer>),
    /// Work by another policy from now on, and say so.
    Adopt(Adoption, Box<Supplies>, Sender<Adopted>),
    /// All workers work by the policy of this generation.
    AllFollow(Generation),
    /// The links are these now.
    Links(Arc<[Link]>),
    /// The kernel's own addresses are these now.
    KernelAddresses(Vec<IpAddr>),
    /// End.
    Stop,
}

/// A policy to work by. Whoever made it keeps the one before until every worker has answered, so that
/// no worker takes the time to free it.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// Its interfaces are those of the policy before.
    pub policy: Arc<Policy>,
    /// Above that of the policy before.
    pub generation: Generation,
    /// One for each interface.
    pub links: Arc<[Link]>,
}

/// A worker works by another policy.
pub struct Adopted {
    /// What it listens to from now on.
    pub groups: Groups,
    /// What it has no use for; to be dropped by whoever gets it, which takes time.
    pub leftovers: Leftovers,
}

/// What a worker listens to by multicast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The Ethernet addresses of the groups, each with its interface.
    pub groups: Vec<(InterfaceId, Mac)>,
    /// The interfaces on which they are too many to be named.
    pub all: Vec<InterfaceId>,
}

/// The two halves of a port, one of each for every interface, in their order.
pub struct Ports<R, T> {
    /// The receiving halves.
    pub rx: Vec<R>,
    /// The transmitting halves.
    pub tx: Vec<T>,
}

/// A worker, before it runs.
pub struct Worker<R, T> {
    rx: Vec<R>,
    core: Core<T>,
    /// What other workers have for this one, if there are any.
    taking: Option<Taking>,
    commands: Receiver<Command>,
    clock: Clock,
    poll: Poll,
    events: Events,
    /// When the engine was last asked what is due.
    aged: Tick,
    /// When it began to turn, by the time-stamp counter.
    began: u64,
    heartbeat: Heartbeat,
    /// Who hears it when somebody else uses an address of ours, and how often that was seen.
    ear: Option<UnixStream>,
    conflicts: u64,
}

impl Groups {
    /// Those of an engine.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let neighbours = engine.neighbours();
        let interfaces = (0..engine.links().len()).map(|at| InterfaceId(at as u8));
        Self {
            groups: neighbours.groups().collect(),
            all: interfaces.filter(|id| neighbours.needs_all_groups(*id)).collect(),
        }
    }
}

impl<R: Receive + AsRawFd, T: Transmit> Worker<R, T> {
    /// A worker that waits for its ports and for the waker that this returns.
    ///
    /// # Errors
    /// The operating system's, when it has no more file descriptors.
    pub fn new(
        engine: Engine,
        ports: Ports<R, T>,
        commands: Receiver<Command>,
        clock: Clock,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let Ports { rx, tx } = ports;
        for (at, rx) in rx.iter().enumerate() {
            let fd = rx.as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), Token(at), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), WAKER)?;
        let services = Services::of(&engine)?;
        let events = Events::with_capacity(rx.len() + 1);
        let heartbeat = Heartbeat::default();
        heartbeat.beat(clock.now());
        let core = Core::new(engine, services, tx);
        let aged = Tick::ZERO;
        let (taking, ear, conflicts) = (None, None, 0);
        let worker = Self {
            rx,
            core,
            taking,
            commands,
            clock,
            poll,
            events,
            aged,
            began: 0,
            heartbeat,
            ear,
            conflicts,
        };
        Ok((worker, waker))
    }

    /// Makes it one of several, which exchange packets.
    #[must_use]
    pub fn among_others(mut self, (giving, taking): (Giving, Taking)) -> Self {
        self.core.join(giving);
        self.taking = Some(taking);
        self
    }

    /// Writes into `ear`, which does not block, when it sees somebody else use an address of ours.
    #[must_use]
    pub fn heard_by(mut self, ear: UnixStream) -> Self {
        self.ear = Some(ear);
        self
    }

    /// What tells others that it still turns.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Runs until it is told to stop, or nobody is left who could tell it.
    ///
    /// # Errors
    /// The operating system's, when a port is broken.
    pub fn run(mut self) -> io::Result<()> {
        let mut awake_since = self.clock.micros();
        self.began = tsc::read();
        let mut since = self.began;
        loop {
            let micros = self.clock.micros();
            let now = Tick::from_millis(micros / 1_000);
            self.heartbeat.beat(now);
            let busy = self.turn(now)?;
            let turned = tsc::read();
            if busy {
                awake_since = micros;
                self.core.engine.counters.work.busy_clocks += turned.wrapping_sub(since);
            }
            since = turned;
            if !self.obey(now) {
                self.core.engine.farewell(now, &mut self.core.outbox);
                self.core.flush();
                return Ok(());
            }
            if micros - awake_since > SPIN_MICROS {
                self.wait(now)?;
                awake_since = self.clock.micros();
                since = tsc::read();
            } else if !busy {
                // Whoever has work for this core may do it: it may be what we wait for.
                thread::yield_now();
                since = tsc::read();
            }
        }
    }

    /// One turn: what time asks for, then a batch from each port and from each worker. True when there
    /// is more to do.
    fn turn(&mut self, now: Tick) -> io::Result<bool> {
        let mut busy = self.age(now);
        for at in 0..self.rx.len() {
            busy |= self.turn_port(now, at)?;
        }
        let busy = self.turn_others(now) | busy;
        if !busy {
            self.core.settle();
        }
        self.tell_conflicts();
        Ok(busy)
    }

    /// Once a turn at most, however many there are.
    fn tell_conflicts(&mut self) {
        let conflicts = self.core.engine.counters.conflicts;
        if let Some(ear) = self.ear.as_mut().filter(|_| conflicts != self.conflicts) {
            self.conflicts = conflicts;
            // One that is full will be read as well.
            let _ = ear.write(&[0]);
        }
    }

    /// Lets the engine do what time asks for; true when there is more. After a pause of the whole
    /// process all of it comes first: a packet must not find a session that has ended meanwhile.
    fn age(&mut self, now: Tick) -> bool {
        let paused = now.since(self.aged) > PAUSE_MILLIS;
        self.aged = now;
        let Core { engine, services, outbox, .. } = &mut self.core;
        services.poll(now, engine, outbox);
        loop {
            let more = self.core.engine.poll(now, &mut self.core.outbox);
            self.core.flush();
            if !(more && paused) {
                return more;
            }
        }
    }

    /// The five hops for what waits at one port.
    fn turn_port(&mut self, now: Tick, at: usize) -> io::Result<bool> {
        let ingress = InterfaceId(at as u8);
        let mut batch = Batch::new();
        let received = self.rx[at].receive(&mut batch).map_err(|error| {
            let interface = self.core.engine.policy().0.interface(ingress);
            io::Error::other(format!("device `{}` is broken: {error}", interface.device))
        })?;
        self.core.engine.counters.received(ingress, received);
        if batch.is_empty() {
            // Frames that could not be read were taken all the same: there may be more behind them.
            return Ok(received.truncated > 0);
        }
        self.core.walk(now, ingress, &mut batch);
        Ok(true)
    }

    /// The same for what other workers have given: a batch from each at most.
    fn turn_others(&mut self, now: Tick) -> bool {
        let Some(taking) = &mut self.taking else { return false };
        let mut busy = false;
        for _ in 0..taking.givers() {
            let Some(from) = taking.take() else { break };
            self.core.walk_handed(now, from, &mut taking.batch());
            busy = true;
        }
        busy
    }

    /// Does what others ask for; false when that is to stop.
    fn obey(&mut self, now: Tick) -> bool {
        loop {
            match self.commands.try_recv() {
                // Whoever asked may have lost patience: then nobody wants the answer.
                Ok(Command::Ask(query, reply)) => {
                    match query {
                        Query::Counters => self.look_up(),
                        // Those of this turn as well: it may be the last one.
                        Query::Events(_) => self.core.engine.collect_events(),
                        _ => {}
                    }
                    let _ = reply.try_send(answer(&self.core.engine, now, query));
                }
                Ok(Command::Adopt(adoption, supplies, reply)) => {
                    let _ = reply.try_send(self.adopt(adoption, *supplies, now));
                }
                Ok(Command::AllFollow(generation)) => self.core.engine.all_follow(generation),
                Ok(Command::Links(links)) => self.core.engine.set_links(&links),
                Ok(Command::KernelAddresses(addresses)) => {
                    self.core.engine.set_kernel_addresses(addresses);
                }
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn adopt(&mut self, adoption: Adoption, supplies: Supplies, now: Tick) -> Adopted {
        let Adoption { policy, generation, links } = adoption;
        let Core { engine, services, outbox, .. } = &mut self.core;
        engine.supply(supplies);
        engine.set_policy(policy, generation, &links, now, outbox);
        services.follow(engine);
        let (groups, leftovers) = (Groups::of(engine), engine.give_back());
        self.core.flush();
        Adopted { groups, leftovers }
    }

    /// What is counted only when somebody wants to know: the time, and what the ports have lost, which
    /// is a system call each.
    fn look_up(&mut self) {
        self.core.engine.counters.work.clocks = tsc::read().wrapping_sub(self.began);
        for (at, rx) in self.rx.iter_mut().enumerate() {
            self.core.engine.counters.lost(InterfaceId(at as u8), rx.lost());
        }
    }

    /// Sleeps until a packet arrives, somebody calls, or time asks for something.
    ///
    /// Readiness is edge-triggered: every port was read until it was empty before this is called, so
    /// a packet that came since is an edge that ends the sleep at once.
    fn wait(&mut self, now: Tick) -> io::Result<()> {
        let deadlines = [self.core.engine.next_deadline(), self.core.services.next_deadline()];
        let due =
            deadlines.into_iter().flatten().min().map(|due| Duration::from_millis(due.since(now)));
        let timeout = due.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let may_sleep = self.taking.as_ref().is_none_or(Taking::may_sleep);
        let timeout = if may_sleep { timeout } else { Duration::ZERO };
        let slept = self.poll.poll(&mut self.events, Some(timeout));
        self.taking.iter().for_each(Taking::awake);
        match slept {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }
}

/// How long the worker looks for packets before it sleeps. Falling asleep and being woken costs as
/// much as a packet's whole way: answers that come within this time are not kept waiting by it.
const SPIN_MICROS: u64 = 50;

/// A worker that slept longer than this did not sleep, it was stopped.
const PAUSE_MILLIS: u64 = 1_000;

/// The worker looks after its sessions this often, at least.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

const WAKER: Token = Token(usize::MAX);

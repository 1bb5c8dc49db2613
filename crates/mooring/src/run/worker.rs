//! The loop of a worker: receive, walk, transmit; wait when there is nothing to do.
//!
//! The worker owns its engine and its ports. Others reach it by a bounded channel only, which it
//! looks at once per turn.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use mooring_engine::{Engine, Outbox, Verdict};
use mooring_observe::health::Heartbeat;
use mooring_observe::query::{Answer, Query, answer};
use mooring_packet::{Batch, BufferPool, Receive, Transmit};
use mooring_policy::InterfaceId;
use mooring_session::Tick;

use super::clock::Clock;
use super::services::Services;

/// What others may tell a worker.
#[derive(Debug)]
pub enum Command {
    /// Answer a question.
    Ask(Query, Sender<Answer>),
    /// The kernel's own addresses are these now.
    KernelAddresses(Vec<IpAddr>),
    /// End.
    Stop,
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
    engine: Engine,
    ports: Ports<R, T>,
    services: Services,
    outbox: Outbox,
    commands: Receiver<Command>,
    clock: Clock,
    poll: Poll,
    events: Events,
    /// When the engine was last asked what is due.
    aged: Tick,
    heartbeat: Heartbeat,
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
        for (at, rx) in ports.rx.iter().enumerate() {
            let fd = rx.as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), Token(at), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), WAKER)?;
        let services = Services::of(&engine)?;
        let outbox = Outbox::new(BufferPool::new(SMALL_BUFFERS, LARGE_BUFFERS));
        let events = Events::with_capacity(ports.rx.len() + 1);
        let heartbeat = Heartbeat::default();
        heartbeat.beat(clock.now());
        Ok((
            Self {
                engine,
                ports,
                services,
                outbox,
                commands,
                clock,
                poll,
                events,
                aged: Tick::ZERO,
                heartbeat,
            },
            waker,
        ))
    }

    /// What tells others that it still turns.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// The operating system's, when a port is broken.
    pub fn run(mut self) -> io::Result<()> {
        let mut awake_since = self.clock.micros();
        loop {
            let micros = self.clock.micros();
            let now = Tick::from_millis(micros / 1_000);
            self.heartbeat.beat(now);
            if self.turn(now)? {
                awake_since = micros;
            }
            if !self.obey(now) {
                return Ok(());
            }
            if micros - awake_since > SPIN_MICROS {
                self.wait(now)?;
                awake_since = self.clock.micros();
            }
        }
    }

    /// One turn: what time asks for, then a batch from each port. True when there is more to do.
    fn turn(&mut self, now: Tick) -> io::Result<bool> {
        let mut busy = self.age(now);
        for at in 0..self.ports.rx.len() {
            busy |= self.turn_port(now, at)?;
        }
        Ok(busy)
    }

    /// Lets the engine do what time asks for; true when there is more. After a pause of the whole
    /// process all of it comes first: a packet must not find a session that has ended meanwhile.
    fn age(&mut self, now: Tick) -> bool {
        let paused = now.since(self.aged) > PAUSE_MILLIS;
        self.aged = now;
        self.services.poll(now, &mut self.engine, &mut self.outbox);
        loop {
            let more = self.engine.poll(now, &mut self.outbox);
            self.flush();
            if !(more && paused) {
                return more;
            }
        }
    }

    /// The five hops for what waits at one port.
    fn turn_port(&mut self, now: Tick, at: usize) -> io::Result<bool> {
        let ingress = InterfaceId(at as u8);
        let rx = &mut self.ports.rx[at];
        let mut batch = Batch::new();
        let received = rx.receive(&mut batch).map_err(|error| {
            let interface = self.engine.policy().0.interface(ingress);
            io::Error::other(format!("device `{}` is broken: {error}", interface.device))
        })?;
        self.engine.counters.received(ingress, received);
        if batch.is_empty() {
            // Frames that could not be read were taken all the same: there may be more behind them.
            return Ok(received.truncated > 0);
        }
        let verdicts = self.engine.process(now, ingress, &mut batch, &mut self.outbox);
        for (to, tx) in self.ports.tx.iter_mut().enumerate() {
            let egress = InterfaceId(to as u8);
            let verdicts = batch.packets().iter().zip(&verdicts);
            let leaving = verdicts.filter(|(_, verdict)| **verdict == Verdict::Tx(egress));
            let sent = tx.transmit(leaving.map(|(packet, _)| packet));
            self.engine.counters.transmitted(egress, sent);
        }
        for (packet, verdict) in batch.packets().iter().zip(&verdicts) {
            let packet = (packet, *verdict);
            self.services.take(now, packet, &mut self.engine, &mut self.outbox);
        }
        drop(batch);
        self.flush();
        Ok(true)
    }

    /// Transmits what the engine has to say and what has waited for its neighbour.
    fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        for (to, tx) in self.ports.tx.iter_mut().enumerate() {
            let egress = InterfaceId(to as u8);
            for packet in self.outbox.ready_for(egress) {
                let sent = tx.transmit(std::iter::once(&packet.as_packet()));
                self.engine.counters.transmitted(egress, sent);
            }
        }
        self.outbox.clear();
    }

    /// Does what others ask for; false when that is to stop.
    fn obey(&mut self, now: Tick) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                // Whoever asked may have lost patience: then nobody wants the answer.
                Command::Ask(query, reply) => {
                    self.count_losses();
                    let _ = reply.try_send(answer(&self.engine, now, query));
                }
                Command::KernelAddresses(addresses) => self.engine.set_kernel_addresses(addresses),
                Command::Stop => return false,
            }
        }
        true
    }

    /// Asks the ports what they have lost: a system call each, so only when somebody wants to know.
    fn count_losses(&mut self) {
        for (at, rx) in self.ports.rx.iter_mut().enumerate() {
            self.engine.counters.lost(InterfaceId(at as u8), rx.lost());
        }
    }

    /// Sleeps until a packet arrives, somebody calls, or time asks for something.
    ///
    /// Readiness is edge-triggered: every port was read until it was empty before this is called, so
    /// a packet that came since is an edge that ends the sleep at once.
    fn wait(&mut self, now: Tick) -> io::Result<()> {
        let deadlines = [self.engine.next_deadline(), self.services.next_deadline()];
        let due =
            deadlines.into_iter().flatten().min().map(|due| Duration::from_millis(due.since(now)));
        let timeout = due.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        match self.poll.poll(&mut self.events, Some(timeout)) {
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

/// Buffers for packets that wait, and for what the engine says: 2 KB each.
const SMALL_BUFFERS: usize = 4_096;

/// The same for super-packets: 64 KB each.
const LARGE_BUFFERS: usize = 64;

const WAKER: Token = Token(usize::MAX);

//! The client: many connections at a time, none of which it waits for.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::{Failures, Load, Outcome};
use crate::clock;
use crate::pacing::Pacer;
use crate::timeline::Span;

/// Connects, asks, reads, closes.
pub(super) struct Client<'l> {
    load: &'l Load,
    poll: Poll,
    slots: Vec<Slot>,
    free: Vec<usize>,
    request: Vec<u8>,
    /// Connections that were begun.
    begun: u64,
    span: Span,
    outcome: Outcome,
}

/// Room for one connection at a time.
#[derive(Default)]
struct Slot {
    /// Counts connections, so that an event of one that has gone is not one of the next.
    turn: usize,
    connection: Option<Connection>,
}

struct Connection {
    stream: TcpStream,
    begun: u64,
    is_connected: bool,
    written: usize,
    read: usize,
}

impl<'l> Client<'l> {
    pub(super) fn new(load: &'l Load) -> Result<Self> {
        let count = load.concurrent as usize;
        let times = Histogram::new_with_bounds(1, LONGEST, 3).context("a histogram")?;
        Ok(Self {
            load,
            poll: Poll::new()?,
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count).rev().collect(),
            request: vec![b'?'; load.request],
            begun: 0,
            span: Span { start: 0, length: load.interval.as_nanos() as u64 },
            outcome: Outcome {
                time: Duration::ZERO,
                done: 0,
                failed: Failures::default(),
                unfinished: 0,
                connecting: times.clone(),
                whole: times,
                intervals: Vec::new(),
            },
        })
    }

    /// Connects for as long as was asked for; says now and then how many are done.
    pub(super) fn run(mut self, mut progress: impl FnMut(u64)) -> Result<Outcome> {
        let start = clock::now();
        self.span.start = start;
        let end = start + self.load.time.as_nanos() as u64;
        let mut pacer = Pacer::new(self.load.rate, start);
        let mut events = Events::with_capacity(1_024);
        let mut looked = start;
        loop {
            let now = clock::now();
            if now >= end {
                break;
            }
            let room = self.free.len() as u64;
            let due = if room == 0 { 0 } else { pacer.due(now, room) };
            (0..due).for_each(|_| self.begin(now));
            pacer.took(due);
            // With a rate the next connection may be due before the next event.
            let wait = if self.free.is_empty() { LOOK } else { pacer.pause(now).min(LOOK) };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            for event in &events {
                let Token(token) = event.token();
                let (at, turn) = (token % MOST, token / MOST);
                if self.slots[at].turn % TURNS == turn {
                    self.advance(at);
                }
            }
            if now - looked >= LOOK.as_nanos() as u64 {
                looked = now;
                self.give_up(now);
                progress(self.outcome.done);
            }
        }
        self.outcome.time = Duration::from_nanos(clock::now() - start);
        self.outcome.unfinished = (self.slots.len() - self.free.len()) as u64;
        Ok(self.outcome)
    }

    fn begin(&mut self, now: u64) {
        let Some(at) = self.free.pop() else { return };
        let nth = self.begun as usize;
        self.begun += 1;
        let target = self.load.targets[nth % self.load.targets.len()];
        let source = self.load.sources.get(nth % self.load.sources.len().max(1)).copied();
        self.slots[at].turn += 1;
        let token = Token(self.slots[at].turn % TURNS * MOST + at);
        let registry = self.poll.registry();
        let opened = open(source, target).and_then(|mut stream| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                let connection =
                    Connection { stream, begun: now, is_connected: false, written: 0, read: 0 };
                self.slots[at].connection = Some(connection);
            }
            Err(error) => self.end(at, Err(error)),
        }
    }

    /// As far as it goes without waiting.
    fn advance(&mut self, at: usize) {
        let Some(connection) = &mut self.slots[at].connection else { return };
        let connecting = &mut self.outcome.connecting;
        match connection.advance(&self.request, self.load.answer, connecting) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => self.end(at, done),
        }
    }

    fn end(&mut self, at: usize, done: io::Result<()>) {
        let connection = self.slots[at].connection.take();
        self.free.push(at);
        let now = clock::now();
        let interval = self.span.index(now);
        if self.outcome.intervals.len() <= interval {
            self.outcome.intervals.resize(interval + 1, [0; 2]);
        }
        self.outcome.intervals[interval][usize::from(done.is_err())] += 1;
        match done {
            Ok(()) => {
                self.outcome.done += 1;
                let begun = connection.map_or(now, |connection| connection.begun);
                self.outcome.whole.saturating_record(now - begun);
            }
            Err(error) => self.outcome.failed.count(&error),
        }
    }

    /// Ends what takes too long.
    fn give_up(&mut self, now: u64) {
        let patience = self.load.patience.as_nanos() as u64;
        for at in 0..self.slots.len() {
            let connection = self.slots[at].connection.as_ref();
            if connection.is_some_and(|connection| now.saturating_sub(connection.begun) > patience)
            {
                self.end(at, Err(io::ErrorKind::TimedOut.into()));
            }
        }
    }
}

impl Connection {
    fn advance(
        &mut self,
        request: &[u8],
        answer: usize,
        connecting: &mut Histogram<u64>,
    ) -> io::Result<()> {
        if !self.is_connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            // Not connected yet: the event was of something else.
            if self.stream.peer_addr().is_err() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.is_connected = true;
            connecting.saturating_record(clock::now() - self.begun);
        }
        while self.written < request.len() {
            self.written += self.stream.write(&request[self.written..])?;
        }
        let mut buffer = [0; 4_096];
        loop {
            let count = self.stream.read(&mut buffer)?;
            self.read += count;
            if count == 0 {
                let is_whole = self.read == answer;
                return if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

/// A connection that begins.
fn open(source: Option<IpAddr>, target: SocketAddr) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Connections at a time, at most.
pub(super) const MOST: usize = 1 << 20;

/// Connections of a slot that events are told apart of.
const TURNS: usize = 1 << 16;

/// How often what takes too long is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Longer times count as this one: a minute.
const LONGEST: u64 = 60_000_000_000;

//! An HTTP server for monitors and probes: one thread, a bounded number of clients, none of which can
//! hold up another.
//!
//! Readiness is edge-triggered: a client is served until it neither gives nor takes a byte more.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use mooring_http::{Connection, Request, Response};
use mooring_session::Tick;

/// A server that listens, before it runs.
#[derive(Debug)]
pub struct HttpServer {
    poll: Poll,
    listener: TcpListener,
    /// By token.
    clients: Vec<Option<Client>>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    http: Connection,
    /// We have said our last word and only read what the client still sends: closing earlier would
    /// throw away what it has not read yet.
    parting: bool,
}

impl HttpServer {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The operating system's: the address is in use, or is none of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, clients: (0..MAX_CLIENTS).map(|_| None).collect() })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What ends [`HttpServer::run`] when it is woken. To be made once.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn stopper(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), STOP)
    }

    /// Answers requests by `respond` until it is stopped; `now` is the clock.
    ///
    /// # Errors
    /// The operating system's, when it can no longer wait.
    pub fn run(
        mut self,
        now: impl Fn() -> Tick,
        respond: impl Fn(Request<'_>) -> Response,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_CLIENTS + 2);
        loop {
            match self.poll.poll(&mut events, self.patience(now())) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    STOP => return Ok(()),
                    LISTENER => self.accept(now(), &respond),
                    Token(at) => self.serve(now(), at, &respond),
                }
            }
            self.end_the_late(now(), &respond);
        }
    }

    /// How long until a client has been too slow.
    fn patience(&self, now: Tick) -> Option<Duration> {
        let deadlines = self.clients.iter().flatten().map(|client| client.http.deadline());
        let wait = deadlines.min()?.saturating_sub(now.as_millis());
        Some(Duration::from_millis(wait))
    }

    /// Takes every client that waits. In a full house one between two requests makes room, or the new
    /// one is turned away.
    fn accept(&mut self, now: Tick, respond: &impl Fn(Request<'_>) -> Response) {
        while let Some(stream) = self.next_client() {
            let free = self.clients.iter().position(Option::is_none);
            let idle = || self.clients.iter().position(|client| may_make_room(client.as_ref()));
            let Some(at) = free.or_else(idle) else { continue };
            let http = Connection::new(now.as_millis());
            let mut client = Client { stream, http, parting: false };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut client.stream, Token(at), interest).is_ok() {
                self.clients[at] = Some(client);
                self.serve(now, at, respond);
            }
        }
    }

    fn next_client(&self) -> Option<TcpStream> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                // A client that has gone again is no reason to let the next one wait.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    fn serve(&mut self, now: Tick, at: usize, respond: &impl Fn(Request<'_>) -> Response) {
        let Some(client) = self.clients.get_mut(at).and_then(Option::as_mut) else { return };
        if client.serve(now.as_millis(), respond).is_err() {
            self.clients[at] = None;
        }
    }

    fn end_the_late(&mut self, now: Tick, respond: &impl Fn(Request<'_>) -> Response) {
        for at in 0..self.clients.len() {
            let Some(client) = &mut self.clients[at] else { continue };
            if now.as_millis() < client.http.deadline() {
                continue;
            }
            if client.parting || !client.http.output().is_empty() {
                self.clients[at] = None;
            } else {
                client.http.give_up(now.as_millis());
                self.serve(now, at, respond);
            }
        }
    }
}

impl Client {
    /// Carries bytes both ways until neither moves.
    ///
    /// # Errors
    /// When the connection is over, for whatever reason.
    fn serve(
        &mut self,
        now_ms: u64,
        respond: &impl Fn(Request<'_>) -> Response,
    ) -> Result<(), Over> {
        loop {
            if !self.http.output().is_empty() {
                let Some(sent) = moved(self.stream.write(self.http.output()))? else {
                    return Ok(());
                };
                self.http.sent(now_ms, sent);
            } else if self.http.answer(now_ms, respond) {
                // It is sent in the next round.
            } else {
                if self.http.finished() && !self.parting {
                    self.stream.shutdown(Shutdown::Write).map_err(|_| Over)?;
                    self.parting = true;
                }
                let mut bytes = [0; READ];
                let room = self.http.room().min(READ);
                let Some(read) = moved(self.stream.read(&mut bytes[..room]))? else {
                    return Ok(());
                };
                self.http.receive(now_ms, &bytes[..read]);
            }
        }
    }
}

/// The connection is over.
#[derive(Debug)]
struct Over;

/// How many bytes moved; `None` if none can now.
fn moved(result: io::Result<usize>) -> Result<Option<usize>, Over> {
    match result {
        Ok(0) => Err(Over),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
        Err(_) => Err(Over),
    }
}

fn may_make_room(client: Option<&Client>) -> bool {
    client.is_some_and(|client| client.http.is_idle())
}

/// Clients at a time.
const MAX_CLIENTS: usize = 32;

/// Bytes read at a time.
const READ: usize = 2_048;

const LISTENER: Token = Token(MAX_CLIENTS);
const STOP: Token = Token(MAX_CLIENTS + 1);

#[cfg(test)]
mod tests;

//! The server: reads a request, answers, closes.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

/// Answers until it is told to stop.
pub(super) struct Server {
    poll: Poll,
    listener: TcpListener,
    request: usize,
    answer: Arc<[u8]>,
    clients: Vec<Option<Peer>>,
    free: Vec<usize>,
    stopped: Arc<AtomicBool>,
}

/// Stops a server.
pub(super) struct Stop {
    waker: Waker,
    stopped: Arc<AtomicBool>,
}

/// A connection.
struct Peer {
    stream: TcpStream,
    /// Bytes of the request that are still to come.
    left: usize,
    written: usize,
}

impl Server {
    /// Listens in the network namespace of the caller.
    pub(super) fn bind(address: SocketAddr, request: usize, answer: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            request,
            answer: vec![b'.'; answer].into(),
            clients: Vec::new(),
            free: Vec::new(),
            stopped: Arc::default(),
        })
    }

    /// What stops it.
    pub(super) fn waker(&self) -> io::Result<Stop> {
        let waker = Waker::new(self.poll.registry(), WAKER)?;
        Ok(Stop { waker, stopped: Arc::clone(&self.stopped) })
    }

    /// Answers until it is stopped.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        while !self.stopped.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => {}
                    Token(at) => self.go_on(at, event),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A client that has gone already is no fault of the server's.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let at = self.free.pop().unwrap_or(self.clients.len());
            if at == self.clients.len() {
                self.clients.push(None);
            }
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(at), both)?;
            self.clients[at] = Some(Peer { stream, left: self.request, written: 0 });
            self.advance(at);
        }
    }

    fn go_on(&mut self, at: usize, event: &Event) {
        if event.is_readable() || event.is_writable() {
            self.advance(at);
        }
    }

    /// As far as it goes without waiting.
    fn advance(&mut self, at: usize) {
        let Some(peer) = self.clients.get_mut(at).and_then(Option::as_mut) else { return };
        match peer.advance(&self.answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Answered, or the client has gone: either way it is closed.
            _ => {
                self.clients[at] = None;
                self.free.push(at);
            }
        }
    }
}

impl Peer {
    fn advance(&mut self, answer: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        while self.left > 0 {
            let most = self.left.min(buffer.len());
            let count = self.stream.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= count;
        }
        while self.written < answer.len() {
            self.written += self.stream.write(&answer[self.written..])?;
        }
        Ok(())
    }
}

impl Stop {
    pub(super) fn stop(&self) -> io::Result<()> {
        self.stopped.store(true, Ordering::Release);
        self.waker.wake()
    }
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

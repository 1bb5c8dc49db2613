//! TCP connections on real sockets: each is made, sends a request, reads an answer to its end, and closes.
//! Client and server are this program, each in a network namespace; what is between them is the measured.

mod client;
mod server;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use self::client::Client;
use self::server::Server;
use crate::namespace;

/// What is asked of client and server.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Connections go out from each in turn; without any the kernel chooses.
    pub(crate) sources: Vec<IpAddr>,
    /// And to each in turn.
    pub(crate) targets: Vec<SocketAddr>,
    /// Connections at a time.
    pub(crate) concurrent: u32,
    /// Connections a second that begin; none is as many as there is room for.
    pub(crate) rate: Option<u64>,
    pub(crate) time: Duration,
    /// How long a connection may take.
    pub(crate) patience: Duration,
    /// Bytes.
    pub(crate) request: usize,
    /// Bytes.
    pub(crate) answer: usize,
    /// How long the intervals are that connections are counted in.
    pub(crate) interval: Duration,
}

/// What became of the connections.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) time: Duration,
    /// Those whose answer was read to its end.
    pub(crate) done: u64,
    pub(crate) failed: Failures,
    /// Those that had not ended when the time was over.
    pub(crate) unfinished: u64,
    /// Nanoseconds until a connection stood.
    pub(crate) connecting: Histogram<u64>,
    /// Nanoseconds until its answer was read to the end.
    pub(crate) whole: Histogram<u64>,
    /// Done and failed of each interval.
    pub(crate) intervals: Vec<[u64; 2]>,
}

/// Connections that failed, by what they failed of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failures {
    pub(crate) refused: u64,
    pub(crate) reset: u64,
    pub(crate) timed_out: u64,
    /// No address or port was left to connect from.
    pub(crate) no_port: u64,
    /// The answer ended too early.
    pub(crate) cut: u64,
    pub(crate) other: u64,
}

impl Failures {
    pub(crate) fn all(&self) -> u64 {
        let Self { refused, reset, timed_out, no_port, cut, other } = self;
        refused + reset + timed_out + no_port + cut + other
    }

    fn count(&mut self, error: &io::Error) {
        let counter = match error.kind() {
            io::ErrorKind::ConnectionRefused => &mut self.refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => &mut self.reset,
            io::ErrorKind::TimedOut => &mut self.timed_out,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => &mut self.no_port,
            io::ErrorKind::UnexpectedEof => &mut self.cut,
            _ => &mut self.other,
        };
        *counter += 1;
    }
}

/// Connects, from one namespace to the other.
///
/// # Errors
/// When a socket cannot be made, or there is no such namespace.
pub(crate) fn connect(
    load: &Load,
    (client, server): (Option<&str>, Option<&str>),
    progress: impl FnMut(u64) + Send,
) -> Result<Outcome> {
    let first = load.targets.first().context("somewhere to connect to")?;
    let all: IpAddr = if first.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let listen = SocketAddr::new(all, first.port());
    let mut server = namespace::within(server, || Server::bind(listen, load.request, load.answer))?
        .with_context(|| format!("cannot listen at port {}", listen.port()))?;
    let stop = server.waker().context("the server")?;
    thread::scope(|scope| {
        let serving = scope.spawn(move || server.serve());
        // Its sockets belong to the namespace of the thread that makes them.
        let outcome = namespace::within(client, || Client::new(load)?.run(progress));
        stop.stop().context("the server")?;
        let served = serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        served.context("the server")?;
        outcome?
    })
}

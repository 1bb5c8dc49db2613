//! A client that sends a datagram each millisecond to the end of its life.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use mooring_lab::Namespace;
use mooring_lab::clock::Stopwatch;

/// A running sender. Dropped, it stops.
#[derive(Debug)]
pub struct Stream {
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Stream {
    /// Sends from `local` in `namespace` to `remote`. What cannot be sent now is not sent later.
    ///
    /// # Errors
    /// When the local end cannot be bound.
    pub fn start(namespace: &Namespace, local: SocketAddr, remote: SocketAddr) -> Result<Self> {
        let socket = namespace.udp(local)?;
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let sender = thread::spawn(move || send(&socket, remote, &end));
        Ok(Self { over, sender: Some(sender) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

fn send(socket: &UdpSocket, remote: SocketAddr, over: &AtomicBool) {
    let since = Stopwatch::start();
    let mut next = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        // An ICMP error of an earlier one is reported by the next send.
        let _ = socket.send_to(b"a datagram of a client", remote);
        next += PERIOD;
        match next.checked_sub(since.elapsed()) {
            Some(pause) => thread::sleep(pause),
            // A machine that was late does not catch up in bursts.
            None => next = since.elapsed(),
        }
    }
}

const PERIOD: Duration = Duration::from_millis(1);

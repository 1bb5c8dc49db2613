//! A UDP server that sends everything back and reports its sources.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, Result};

use crate::clock::LIMIT;
use crate::namespace::Namespace;

/// A running echo server; it answers to the end of the lab.
#[derive(Debug)]
pub struct UdpEcho {
    socket: UdpSocket,
    seen: Receiver<SocketAddr>,
}

impl UdpEcho {
    /// Starts it at `address` in `namespace`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket = namespace.udp(address)?;
        let server = socket.try_clone()?;
        server.set_read_timeout(None)?;
        let (sender, seen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                // An ICMP error of an earlier answer ends one receive, not the server.
                let Ok((length, source)) = server.recv_from(&mut buffer) else { continue };
                let _ = server.send_to(&buffer[..length], source);
                // Nobody may be interested any more.
                let _ = sender.send(source);
            }
        });
        Ok(Self { socket, seen })
    }

    /// The source of the next datagram it received.
    ///
    /// # Errors
    /// When none comes within the limit.
    pub fn next_source(&self) -> Result<SocketAddr> {
        self.seen.recv_timeout(LIMIT).context("the UDP server received nothing")
    }

    /// Its own address, with the port that the kernel chose where none was given.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Whether it received a datagram that [`UdpEcho::next_source`] has not told of yet.
    #[must_use]
    pub fn has_seen_any(&self) -> bool {
        self.seen.try_recv().is_ok()
    }

    /// Sends from the server's own address and port.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) -> Result<()> {
        self.socket.send_to(bytes, to)?;
        Ok(())
    }
}

/// The next datagram of a socket, and who sent it.
///
/// # Errors
/// When none comes within the limit, or an ICMP error does.
pub fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 1 << 16];
    let local = socket.local_addr()?;
    let received = socket.recv_from(&mut buffer);
    let (length, from) = received.with_context(|| format!("{local} received nothing"))?;
    buffer.truncate(length);
    Ok((buffer, from))
}

//! Echo requests by the kernel's own ping sockets, and a listener for every ICMP message of a host.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::clock::{LIMIT, Stopwatch};
use crate::namespace::Namespace;

/// A ping socket to one host. The kernel fills in identifier and checksum.
#[derive(Debug)]
pub struct Ping {
    socket: UdpSocket,
    sequence: u16,
}

/// An answered echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// From request to reply.
    pub round_trip: Duration,
}

/// A raw socket that sees each ICMP message that arrives.
#[derive(Debug)]
pub struct IcmpListener {
    socket: UdpSocket,
}

/// One ICMP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpSeen {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// ICMP type and code.
    pub kind: (u8, u8),
    /// From the ICMP header on.
    pub message: Vec<u8>,
}

impl Ping {
    /// A ping socket in `namespace`, from `source` to `target`.
    ///
    /// # Errors
    /// When the kernel refuses ping sockets.
    pub fn new(namespace: &Namespace, source: Ipv4Addr, target: Ipv4Addr) -> Result<Self> {
        let socket = icmp_socket(namespace, SocketType::DGRAM)?;
        rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
        socket.connect((target, 0)).with_context(|| format!("ping {target}"))?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request with `size` bytes of data and waits for its reply.
    ///
    /// # Errors
    /// When no reply comes, or other data than was sent.
    pub fn send(&mut self, size: usize) -> Result<Pong> {
        self.sequence += 1;
        let mut request = vec![ECHO_REQUEST, 0, 0, 0, 0, 0];
        request.extend(self.sequence.to_be_bytes());
        request.extend((0_u8..=255).cycle().take(size));
        let watch = Stopwatch::start();
        self.socket.send(&request)?;
        let mut reply = vec![0; request.len() + 1];
        let length = self.socket.recv(&mut reply).context("no echo reply")?;
        let round_trip = watch.elapsed();
        ensure!(reply[0] == ECHO_REPLY, "an ICMP message of type {}", reply[0]);
        ensure!(reply[6..length] == request[6..], "other data than was sent");
        Ok(Pong { round_trip })
    }
}

impl IcmpListener {
    /// Listens in `namespace` from now on.
    ///
    /// # Errors
    /// When the kernel refuses raw sockets.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let socket = icmp_socket(namespace, SocketType::RAW)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Self { socket })
    }

    /// The next message of this type.
    ///
    /// # Errors
    /// When none comes within the limit.
    pub fn next(&self, icmp_type: u8) -> Result<IcmpSeen> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = self.socket.recv(&mut buffer).context("no such ICMP message")?;
            // A raw IPv4 socket receives whole packets, the kernel has checked their header.
            let packet = &buffer[..length];
            let message = &packet[usize::from(packet[0] & 0xf) * 4..];
            if message.first() == Some(&icmp_type) {
                let source: [u8; 4] = packet[12..16].try_into()?;
                return Ok(IcmpSeen {
                    source: source.into(),
                    kind: (message[0], message[1]),
                    message: message.to_vec(),
                });
            }
        }
    }
}

impl IcmpSeen {
    /// The identifier of an echo message.
    #[must_use]
    pub fn identifier(&self) -> u16 {
        u16::from_be_bytes([self.message[4], self.message[5]])
    }

    /// Source and destination, with ports, of the UDP or TCP packet that an error quotes.
    ///
    /// # Errors
    /// When it quotes less than a header and eight bytes.
    pub fn quoted(&self) -> Result<(SocketAddr, SocketAddr)> {
        let quote = self.message.get(8..36).context("a quote of 28 bytes")?;
        let end = |address: usize, port: usize| {
            let address: [u8; 4] = quote[address..address + 4].try_into().expect("four bytes");
            let port = u16::from_be_bytes([quote[port], quote[port + 1]]);
            SocketAddr::from((Ipv4Addr::from(address), port))
        };
        Ok((end(12, 20), end(16, 22)))
    }
}

/// ICMP type of an echo request (RFC 792).
pub const ECHO_REQUEST: u8 = 8;
/// ICMP type of an echo reply.
const ECHO_REPLY: u8 = 0;
/// ICMP type of Time Exceeded.
pub const TIME_EXCEEDED: u8 = 11;

/// The standard library has no ICMP sockets; its UDP socket sends and receives on any datagram one.
fn icmp_socket(namespace: &Namespace, kind: SocketType) -> Result<UdpSocket> {
    let socket = namespace.enter(|| {
        socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(ipproto::ICMP))
    })?;
    Ok(UdpSocket::from(socket.context("an ICMP socket")?))
}

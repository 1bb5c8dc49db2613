//! Ports that are sockets, of which a test holds the other ends: datagrams are frames.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mooring_packet::{Batch, Offload, Packet, Receive, Received, Transmit, Transmitted};

/// How a port fails, by its next frame: not at all, unless a test stores one of the numbers below.
#[derive(Default)]
pub(crate) struct Fault(pub(crate) AtomicU8);

pub(crate) const PANICS: u8 = 1;
pub(crate) const BREAKS: u8 = 2;

/// Frames that every port says it has lost.
pub(crate) const LOST: u64 = 7;

/// A datagram of a single byte is a frame that the port cannot read.
pub(crate) struct Receiver {
    socket: UdpSocket,
    frame: Vec<u8>,
    fault: Arc<Fault>,
}

pub(crate) struct Transmitter(UdpSocket);

/// The two ends of a link. The host's waits for a frame so long.
pub(crate) fn link(fault: &Arc<Fault>, patience: Duration) -> (Receiver, Transmitter, UdpSocket) {
    let [port, host] = [(), ()].map(|()| UdpSocket::bind("127.0.0.1:0").expect("loopback"));
    port.connect(host.local_addr().expect("bound")).expect("loopback");
    host.connect(port.local_addr().expect("bound")).expect("loopback");
    port.set_nonblocking(true).expect("a socket");
    host.set_read_timeout(Some(patience)).expect("a socket");
    let sender = Transmitter(port.try_clone().expect("a socket"));
    (Receiver { socket: port, frame: vec![0; 2048], fault: Arc::clone(fault) }, sender, host)
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let bytes = match self.socket.recv(&mut self.frame) {
            Err(_) => return Ok(Received::default()),
            Ok(1) => return Ok(Received { truncated: 1, ..Received::default() }),
            Ok(bytes) => bytes,
        };
        match self.fault.0.load(Ordering::Relaxed) {
            PANICS => panic!("the ring has no such slot"),
            BREAKS => return Err(io::Error::other("it was pulled out")),
            _ => {}
        }
        batch.push(Packet::new(&mut self.frame, 0, bytes, Offload::NONE)).expect("an empty batch");
        Ok(Received { packets: 1, bytes: bytes as u64, truncated: 0 })
    }

    fn lost(&mut self) -> u64 {
        LOST
    }
}

impl Transmit for Transmitter {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        for packet in packets {
            done.packets += u64::from(self.0.send(packet.bytes()).is_ok());
        }
        done
    }
}

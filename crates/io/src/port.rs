//! A port of any backend: what a worker holds when its interfaces are not all of one kind.
//!
//! The backend is found by a `match` once for each batch, never for a packet. Whatever a port cannot
//! carry is made ready for it by the [`Seam`].

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use mooring_packet::{Batch, Packet, Receive, Received, Transmit, Transmitted};

use crate::seam::Seam;
use crate::{af_packet, af_xdp, tap, tun_tap};

/// The receiving half of a port.
pub enum AnyReceiver {
    /// Packet sockets on a kernel device.
    AfPacket(af_packet::Receiver),
    /// AF_XDP sockets on a kernel device.
    AfXdp(af_xdp::Receiver),
    /// A queue of a TAP device.
    Tap(tap::Receiver),
    /// A TAP device without offloads.
    TunTap(tun_tap::Receiver),
}

impl Receive for AnyReceiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        match self {
            Self::AfPacket(receiver) => receiver.receive(batch),
            Self::AfXdp(receiver) => receiver.receive(batch),
            Self::Tap(receiver) => receiver.receive(batch),
            Self::TunTap(receiver) => receiver.receive(batch),
        }
    }

    fn lost(&mut self) -> u64 {
        match self {
            Self::AfPacket(receiver) => receiver.lost(),
            Self::AfXdp(receiver) => receiver.lost(),
            Self::Tap(receiver) => receiver.lost(),
            Self::TunTap(receiver) => receiver.lost(),
        }
    }
}

impl AsRawFd for AnyReceiver {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::AfPacket(receiver) => receiver.as_raw_fd(),
            Self::AfXdp(receiver) => receiver.as_raw_fd(),
            Self::Tap(receiver) => receiver.as_raw_fd(),
            Self::TunTap(receiver) => receiver.as_raw_fd(),
        }
    }
}

/// The transmitting half of a port, behind the seam.
pub enum AnySender {
    /// Packet sockets on a kernel device.
    AfPacket(Seam<af_packet::Sender>),
    /// AF_XDP sockets on a kernel device.
    AfXdp(Seam<af_xdp::Sender>),
    /// A queue of a TAP device.
    Tap(Seam<tap::Sender>),
    /// A TAP device without offloads.
    TunTap(Seam<tun_tap::Sender>),
}

impl Transmit for AnySender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        match self {
            Self::AfPacket(sender) => sender.transmit(packets),
            Self::AfXdp(sender) => sender.transmit(packets),
            Self::Tap(sender) => sender.transmit(packets),
            Self::TunTap(sender) => sender.transmit(packets),
        }
    }
}

//! The plain TAP backend, by the crate `tun-tap`: one queue, whole frames, no offloads. The baseline
//! that [`crate::tap`] is compared with.
//!
//! The kernel cuts and completes what it hands us; what we hand it goes through the
//! [`crate::seam`], which this module does not know. The device vanishes with the port.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use mooring_packet::{
    Abilities, Batch, HEADROOM, Offload, Packet, Receive, Received, Transmit, Transmitted,
};
use tun_tap::{Iface, Mode};

use crate::link::{Link, TransmitDrops};
use crate::tap::{KernelSide, OpenError, refuse_existing, set_up};

/// A device that we have made.
pub struct TunTap {
    /// What the kernel sends comes in here.
    pub receiver: Receiver,
    /// What goes in here the kernel receives.
    pub sender: Sender,
    /// The device, with the Ethernet address of *our* end.
    pub link: Link,
    /// The kernel's end; undone when dropped.
    pub kernel: KernelSide,
}

/// Makes the TAP device `name` and sets it up. `mtu` is in bytes; `None` is 1,500.
///
/// # Errors
/// [`OpenError`]; no device is left then.
pub fn create(name: &str, mtu: Option<u16>) -> Result<TunTap, OpenError> {
    refuse_existing(name)?;
    let failed = |source| OpenError::of(name, source);
    let iface = Iface::without_packet_info(name, Mode::Tap).map_err(failed)?;
    iface.set_non_blocking().map_err(failed)?;
    let (link, kernel) = set_up(name, mtu)?;
    let iface = Arc::new(iface);
    let buffer = vec![0; SLOTS * SLOT].into_boxed_slice();
    let drops = TransmitDrops::of(link.index);
    let receiver = Receiver { iface: Arc::clone(&iface), drops, buffer };
    Ok(TunTap { receiver, sender: Sender { iface }, link, kernel })
}

/// Receives what the kernel sends out of the device.
pub struct Receiver {
    iface: Arc<Iface>,
    drops: TransmitDrops,
    buffer: Box<[u8]>,
}

impl Receive for Receiver {
    fn receive<'b>(&'b mut self, batch: &mut Batch<'b>) -> io::Result<Received> {
        let mut received = Received::default();
        let room = batch.room();
        for slot in self.buffer.chunks_exact_mut(SLOT).take(room) {
            let len = match self.iface.recv(&mut slot[HEADROOM..]) {
                Ok(len) => len,
                Err(error) => match (error.kind(), error.raw_os_error()) {
                    (io::ErrorKind::Interrupted, _) => continue,
                    // Nothing is waiting, or the device is down.
                    (io::ErrorKind::WouldBlock, _) | (_, Some(libc::EIO)) => break,
                    _ => return Err(error),
                },
            };
            // What fills the slot may have been longer.
            if len >= SLOT - HEADROOM {
                received.truncated += 1;
                continue;
            }
            received.packets += 1;
            received.bytes += len as u64;
            batch
                .push(Packet::new(slot, HEADROOM, len, Offload::NONE))
                .expect("no more slots are filled than the batch has room for");
        }
        Ok(received)
    }

    fn lost(&mut self) -> u64 {
        self.drops.read()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.iface.as_raw_fd()
    }
}

/// Sends into the device: the kernel receives it. Frames must be whole.
pub struct Sender {
    iface: Arc<Iface>,
}

impl Transmit for Sender {
    fn transmit<'p, 'b: 'p>(
        &mut self,
        packets: impl Iterator<Item = &'p Packet<'b>>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        for packet in packets {
            match self.iface.send(packet.bytes()) {
                Ok(_) => {
                    done.packets += 1;
                    done.bytes += packet.len() as u64;
                }
                Err(_) => done.refused += 1,
            }
        }
        done
    }
}

/// What the port carries beside ordinary packets: nothing.
pub const ABILITIES: Abilities =
    Abilities { partial_checksum: false, tcp_segmentation: false, udp_segmentation: false };

/// Frames that one call takes.
const SLOTS: usize = 64;

/// Bytes of a frame with its headroom: jumbo frames fit. An odd number of cache lines, so that headers
/// do not compete for cache sets.
const SLOT: usize = 9_664;

//! The receiving side: counts what arrives at a device while another thread sends.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_io::af_packet;
use mooring_packet::{Batch, Receive};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::traffic::Path;
use crate::{clock, namespace};

/// Looks at what arrives.
pub(crate) trait Take {
    /// A frame that was received at `now`.
    fn take(&mut self, frame: &[u8], now: u64);

    /// A super-packet, which no generator has sent.
    fn stray(&mut self) {}

    /// Packets so far, each counted once.
    fn packets(&self) -> u64;
}

/// Listens at a device.
pub(crate) struct Listener {
    port: af_packet::Receiver,
    settle: Duration,
}

/// How many packets are on their way, once that is known.
pub(crate) struct Expected(AtomicU64);

impl Listener {
    /// The listener that was asked for, if any.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let Some(device) = path.receive.as_deref() else { return Ok(None) };
        let (port, _, _) =
            namespace::within(path.receive_netns.as_deref(), || af_packet::open(device))?
                .with_context(|| format!("the receiving device {device}"))?;
        Ok(Some(Self::new(port, path.settle)))
    }

    /// Listens at a port, and waits so long for the last packets.
    pub(crate) fn new(port: af_packet::Receiver, settle: Duration) -> Self {
        Self { port, settle }
    }

    /// Throws away what waits.
    ///
    /// # Errors
    /// When the device is gone.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        loop {
            let mut batch = Batch::new();
            if self.port.receive(&mut batch)?.packets == 0 {
                return Ok(());
            }
        }
    }

    /// Counts until all that were sent have come, or none has come for the time to settle. Returns how
    /// many frames this receiver had no room for: those are lost by the measurement, not by what is measured.
    ///
    /// # Errors
    /// When the device is gone.
    pub(crate) fn listen(&mut self, who: &mut impl Take, expected: &Expected) -> io::Result<u64> {
        let before = self.port.lost();
        let mut last = clock::now();
        loop {
            let sent = expected.known();
            if let Some(sent) = sent
                && who.packets() >= sent
            {
                break;
            }
            let mut batch = Batch::new();
            let received = self.port.receive(&mut batch)?;
            let now = clock::now();
            for packet in batch.packets() {
                if packet.offload.is_gso() {
                    who.stray();
                } else {
                    who.take(packet.bytes(), now);
                }
            }
            drop(batch);
            if received.packets > 0 || sent.is_none() {
                last = now;
            } else if now - last > self.settle.as_nanos() as u64 {
                break;
            }
            if received.packets == 0 {
                self.sleep()?;
            }
        }
        Ok(self.port.lost() - before)
    }

    fn sleep(&self) -> io::Result<()> {
        let limit = Timespec { tv_sec: 0, tv_nsec: LONGEST_SLEEP };
        match poll(&mut [PollFd::new(&self.port, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Expected {
    pub(crate) fn unknown() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// The sender is done.
    pub(crate) fn set(&self, packets: u64) {
        self.0.store(packets, Ordering::Release);
    }

    fn known(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|sent| *sent != u64::MAX)
    }
}

/// In nanoseconds: that the sender is done is seen after it.
const LONGEST_SLEEP: i64 = 5_000_000;

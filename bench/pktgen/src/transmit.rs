//! The sending side: what is due, made and handed to the device.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use mooring_io::link::Link;
use mooring_io::{af_packet, af_xdp};
use mooring_packet::{Offload, Packet, Transmit, Transmitted};

use crate::flows::{Flows, Tuples, Turn};
use crate::invalid::Invalid;
use crate::pacing::Pacer;
use crate::stamp::Stamp;
use crate::template::{Frames, LINK};
use crate::timeline::Span;
use crate::traffic::Path;
use crate::{clock, namespace};

/// How frames get to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Packet socket, a call for each batch
    Sendmmsg,
    /// Packet socket, frames written to memory that the kernel reads
    Ring,
    /// AF_XDP socket, by copy
    AfXdp,
    /// Frames that a program makes in the kernel, as fast as it goes
    XdpLive,
}

impl Way {
    /// Whether packets leave when they are due.
    pub(crate) fn keeps_a_rate(self) -> bool {
        self != Self::XdpLive
    }
}

/// A device to hand frames to.
pub(crate) enum Device {
    Sendmmsg(af_packet::Sender),
    Ring(af_packet::RingSender),
    AfXdp(af_xdp::Sender),
}

impl Device {
    fn transmit(&mut self, packets: &[Packet<'_>]) -> Transmitted {
        match self {
            Self::Sendmmsg(sender) => sender.transmit(packets.iter()),
            Self::Ring(sender) => sender.transmit(packets.iter()),
            Self::AfXdp(sender) => sender.transmit(packets.iter()),
        }
    }
}

/// Sends the flows.
pub(crate) struct Generator {
    device: Device,
    flows: Flows,
    tuples: Tuples,
    frames: Frames,
    buffers: Vec<u8>,
    stride: usize,
    batch: u64,
    buckets: u32,
}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tells the packets from those of other runs.
    pub(crate) run: u16,
    /// When it begins, and the intervals that packets are counted in.
    pub(crate) span: Span,
    /// Packets a second.
    pub(crate) rate: Option<u64>,
    pub(crate) time: Duration,
    pub(crate) count: Option<u64>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Those that the device took.
    pub(crate) packets: u64,
    /// Without the check sequence.
    pub(crate) bytes: u64,
    pub(crate) refused: u64,
    /// Those that were due while the generator was too slow.
    pub(crate) forgotten: u64,
    pub(crate) time: Duration,
    /// Packets of each group of flows.
    pub(crate) buckets: Vec<u64>,
    /// Packets of each interval.
    pub(crate) intervals: Vec<u64>,
}

impl Generator {
    /// Sends by `device` at most `batch` frames at a time, counted in `buckets` groups of flows.
    pub(crate) fn new(
        device: Device,
        frames: Frames,
        (flows, tuples): (Flows, Tuples),
        batch: u64,
        buckets: u32,
    ) -> Self {
        let stride = frames.longest();
        let buckets = buckets.min(flows.len());
        let buffers = vec![0; stride * batch as usize];
        Self { device, flows, tuples, frames, buffers, stride, batch, buckets }
    }

    /// Other flows from now on.
    pub(crate) fn aim(&mut self, flows: Flows, tuples: Tuples) {
        self.flows = flows;
        self.tuples = tuples;
    }

    /// Packets until each flow has had its turn.
    pub(crate) fn round(&self) -> u64 {
        self.flows.round()
    }

    /// Sends; says now and then what the device has taken.
    pub(crate) fn send(&mut self, load: &Load, mut progress: impl FnMut(&Sent)) -> Sent {
        let start = load.span.start;
        let end = start + load.time.as_nanos() as u64;
        let mut pacer = Pacer::new(load.rate, start);
        let mut left = load.count.unwrap_or(u64::MAX);
        let mut sent = Sent { buckets: vec![0; self.buckets as usize], ..Sent::default() };
        let mut told = start;
        loop {
            let now = clock::now();
            if left == 0 || (now >= end && load.rate.is_none()) {
                break;
            }
            // What is due before the end is sent, even if it is late.
            let due = pacer.due(now.min(end - 1), self.batch.min(left));
            if due > 0 {
                self.burst(due, load, now, &mut sent);
                pacer.took(due);
                left -= due;
            } else if now >= end {
                break;
            } else {
                clock::wait(pacer.pause(now).min(Duration::from_nanos(end - now)));
            }
            if now - told > TELL {
                told = now;
                progress(&sent);
            }
        }
        // A rate is told by the time that was to be filled: it ends one gap after the last packet.
        let full = if left == 0 { Duration::ZERO } else { load.time };
        sent.time = Duration::from_nanos(clock::now() - start).max(full);
        sent.forgotten = pacer.forgotten();
        sent
    }

    /// Makes `count` frames, of one batch, and hands them to the device.
    fn burst(&mut self, count: u64, load: &Load, now: u64, sent: &mut Sent) {
        let buckets = u64::from(self.buckets);
        let mut slots = Vec::with_capacity(count as usize);
        let round = self.flows.round();
        let buffers = self.buffers.chunks_exact_mut(self.stride).take(count as usize);
        let packets: Vec<Packet<'_>> = buffers
            .map(|buffer| {
                let turn: Turn = self.flows.next();
                let (slot, ends) = self.tuples.of(&turn);
                slots.push(slot);
                let stamp = Stamp { run: load.run, slot, sequence: turn.sequence, time: now };
                // One further every round: else a flow could have one size only.
                let size = turn.turn + turn.turn / round;
                let len = self.frames.write(size, &ends, &stamp, buffer);
                Packet::new(buffer, 0, len, Offload::NONE)
            })
            .collect();
        let taken = self.device.transmit(&packets);
        sent.packets += taken.packets;
        sent.bytes += taken.bytes;
        sent.refused += taken.refused;
        let interval = load.span.index(now);
        if sent.intervals.len() <= interval {
            sent.intervals.resize(interval + 1, 0);
        }
        sent.intervals[interval] += taken.packets;
        // None is too long for the device: it takes all up to the first that it has no room for.
        for slot in slots.iter().take(taken.packets as usize) {
            sent.buckets[(u64::from(*slot) % buckets) as usize] += 1;
        }
    }
}

/// How often progress is told, in nanoseconds.
const TELL: u64 = 100_000_000;

/// The device that sends, open. By live frames nothing is kept open, so that is as by sendmmsg.
///
/// # Errors
/// When it cannot be used.
pub(crate) fn open(path: &Path, way: Way) -> Result<(Device, Link)> {
    let name = path.send.as_str();
    let open = || -> Result<(Device, Link)> {
        Ok(match way {
            Way::Sendmmsg | Way::XdpLive => {
                let (_, sender, link) = af_packet::open(name)?;
                (Device::Sendmmsg(sender), link)
            }
            Way::Ring => {
                let (sender, link) = af_packet::open_ring(name)?;
                (Device::Ring(sender), link)
            }
            Way::AfXdp => {
                let (sender, link) = af_xdp::open_sender(name)?;
                (Device::AfXdp(sender), link)
            }
        })
    };
    namespace::within(path.send_netns.as_deref(), open)?
        .with_context(|| format!("the sending device {name}"))
}

/// # Errors
/// When frames are longer than the link takes.
pub(crate) fn check_fit(frames: &Frames, link: &Link) -> Result<(), Invalid> {
    let len = frames.longest() - LINK;
    Invalid::unless(len <= link.mtu as usize, || {
        format!("packets of {len} bytes do not fit the MTU of {}, {}", link.name, link.mtu)
    })
}

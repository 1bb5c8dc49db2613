//! The sending side: what is due, made and handed to the device.

use std::time::Duration;

use anyhow::{Context, Result};
use mooring_io::af_packet;
use mooring_io::link::Link;
use mooring_packet::{Offload, Packet, Transmit};

use crate::flows::{Flows, Tuples, Turn};
use crate::invalid::Invalid;
use crate::pacing::Pacer;
use crate::stamp::Stamp;
use crate::template::{Frames, LINK};
use crate::timeline::Span;
use crate::traffic::Path;
use crate::{clock, namespace};

/// Sends the flows.
pub(crate) struct Generator {
    sender: af_packet::Sender,
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
    /// Sends by `sender` at most `batch` frames at a time, counted in `buckets` groups of flows.
    pub(crate) fn new(
        sender: af_packet::Sender,
        frames: Frames,
        (flows, tuples): (Flows, Tuples),
        batch: u64,
        buckets: u32,
    ) -> Self {
        let stride = frames.longest();
        let buckets = buckets.min(flows.len());
        let buffers = vec![0; stride * batch as usize];
        Self { sender, flows, tuples, frames, buffers, stride, batch, buckets }
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
        let taken = self.sender.transmit(packets.iter());
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

/// The device that sends, open.
///
/// # Errors
/// When it cannot be used, or does not carry the sizes.
pub(crate) fn open(path: &Path) -> Result<(af_packet::Sender, Link)> {
    let device = path.send.as_str();
    let open = || af_packet::open(device);
    let (_, sender, link) = namespace::within(path.send_netns.as_deref(), open)?
        .with_context(|| format!("the sending device {device}"))?;
    Ok((sender, link))
}

/// # Errors
/// When frames are longer than the link takes.
pub(crate) fn check_fit(frames: &Frames, link: &Link) -> Result<(), Invalid> {
    let len = frames.longest() - LINK;
    Invalid::unless(len <= link.mtu as usize, || {
        format!("packets of {len} bytes do not fit the MTU of {}, {}", link.name, link.mtu)
    })
}

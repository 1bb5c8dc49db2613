//! The sending side: what is due, made and handed to the device. By packet socket (sendmmsg, no queueing
//! discipline).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mooring_io::af_packet;
use mooring_packet::{Offload, Packet, Transmit};

use crate::cli::Traffic;
use crate::flows::{Addressing, Flows};
use crate::pacing::Pacer;
use crate::stamp::Stamp;
use crate::template::{Frames, LINK, LinkEnds};
use crate::{clock, namespace};

/// Sends the flows.
pub(crate) struct Generator {
    sender: af_packet::Sender,
    flows: Flows,
    addressing: Addressing,
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
}

impl Generator {
    /// # Errors
    /// When the device cannot be used, or does not carry the sizes.
    pub(crate) fn open(traffic: &Traffic, addressing: Addressing) -> Result<Self> {
        let device = traffic.send.as_str();
        let open = || af_packet::open(device);
        let (_, sender, link) = namespace::within(traffic.send_netns.as_deref(), open)?
            .with_context(|| format!("the sending device {device}"))?;
        let ends = LinkEnds { source: link.mac, destination: traffic.next_hop };
        let is_ipv4 = addressing.destination.is_ipv4();
        let frames = Frames::new(traffic.template, is_ipv4, ends, traffic.port, &traffic.size.0);
        let stride = frames.longest();
        ensure!(
            stride - LINK <= link.mtu as usize,
            "packets of {} bytes do not fit the MTU of {device}, {}",
            stride - LINK,
            link.mtu
        );
        Ok(Self {
            sender,
            flows: Flows::new(traffic.flows, traffic.burst, traffic.new_flows),
            addressing,
            frames,
            buffers: vec![0; stride * traffic.batch as usize],
            stride,
            batch: traffic.batch,
            buckets: traffic.buckets.min(traffic.flows),
        })
    }

    /// Packets until each flow has had its turn.
    pub(crate) fn round(&self) -> u64 {
        self.flows.round()
    }

    /// Sends; says now and then how many packets the device has taken.
    pub(crate) fn send(&mut self, load: &Load, mut progress: impl FnMut(u64)) -> Sent {
        let start = clock::now();
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
                self.burst(due, load.run, now, &mut sent);
                pacer.took(due);
                left -= due;
            } else if now >= end {
                break;
            } else {
                clock::wait(pacer.pause(now).min(Duration::from_nanos(end - now)));
            }
            if now - told > TELL {
                told = now;
                progress(sent.packets);
            }
        }
        // A rate is told by the time that was to be filled: it ends one gap after the last packet.
        let full = if left == 0 { Duration::ZERO } else { load.time };
        sent.time = Duration::from_nanos(clock::now() - start).max(full);
        sent.forgotten = pacer.forgotten();
        sent
    }

    /// Makes `count` frames, of one batch, and hands them to the device.
    fn burst(&mut self, count: u64, run: u16, now: u64, sent: &mut Sent) {
        let buckets = u64::from(self.buckets);
        let mut slots = Vec::with_capacity(count as usize);
        let round = self.flows.round();
        let buffers = self.buffers.chunks_exact_mut(self.stride).take(count as usize);
        let packets: Vec<Packet<'_>> = buffers
            .map(|buffer| {
                let turn = self.flows.next();
                slots.push(turn.slot);
                let stamp = Stamp { run, slot: turn.slot, sequence: turn.sequence, time: now };
                // One further every round: else a flow could have one size only.
                let size = turn.turn + turn.turn / round;
                let ends = self.addressing.of(turn.flow);
                let len = self.frames.write(size, &ends, &stamp, buffer);
                Packet::new(buffer, 0, len, Offload::NONE)
            })
            .collect();
        let taken = self.sender.transmit(packets.iter());
        sent.packets += taken.packets;
        sent.bytes += taken.bytes;
        sent.refused += taken.refused;
        // None is too long for the device: it takes all up to the first that it has no room for.
        for slot in slots.iter().take(taken.packets as usize) {
            sent.buckets[(u64::from(*slot) % buckets) as usize] += 1;
        }
    }
}

/// How often progress is told, in nanoseconds.
const TELL: u64 = 100_000_000;

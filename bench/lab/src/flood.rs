//! Small packets of many flows, as fast as one thread sends them or at a given rate.

use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use mooring_io::af_packet;
use mooring_lab::clock::Stopwatch;
use mooring_packet::{Offload, Packet, Transmit};

use crate::bed::{ADDRESSES, Bed, SINK, client, server};

/// A sender on the client's device.
pub(crate) struct Flood {
    sender: af_packet::Sender,
    frames: Vec<Vec<u8>>,
    next: usize,
}

impl Flood {
    /// `flows` flows of 64-byte UDP (60 bytes and the checksum of the link): from all inside
    /// addresses to all outside ones.
    pub(crate) fn new(bed: &Bed, flows: u32) -> Result<Self> {
        let (_, sender, link) = bed.lab.client.enter(|| af_packet::open("eth0"))??;
        let gateway = bed.gateway_mac()?;
        let frames =
            (0..flows).map(|flow| frame(link.mac.0, gateway, flow)).collect::<Result<_>>()?;
        Ok(Self { sender, frames, next: 0 })
    }

    /// Sends for `time`, at most `rate` packets a second, one of each flow in turn. Returns how many
    /// the device took.
    pub(crate) fn send(&mut self, time: Duration, rate: Option<f64>) -> u64 {
        let watch = Stopwatch::start();
        let (mut offered, mut taken) = (0u64, 0u64);
        while watch.elapsed() < time {
            if rate.is_some_and(|rate| offered as f64 > watch.elapsed().as_secs_f64() * rate) {
                std::hint::spin_loop();
                continue;
            }
            let end = (self.next + BURST).min(self.frames.len());
            let burst = &mut self.frames[self.next..end];
            offered += burst.len() as u64;
            let packets = burst.iter_mut().map(|frame| {
                let len = frame.len();
                Packet::new(frame, 0, len, Offload::NONE)
            });
            let packets: Vec<Packet<'_>> = packets.collect();
            taken += self.sender.transmit(packets.iter()).packets;
            self.next = if end == self.frames.len() { 0 } else { end };
        }
        taken
    }
}

/// Packets a second that arrive behind the NAT, while more are offered than it can take.
pub(crate) fn delivered(bed: &Bed, flows: u32) -> Result<f64> {
    let mut flood = Flood::new(bed, flows)?;
    // Every flow has its session before anything is measured.
    flood.send(WARM_UP, Some(WARM_UP_RATE));
    let (before, watch) = (bed.arrived()?, Stopwatch::start());
    flood.send(MEASURED, None);
    Ok((bed.arrived()? - before) as f64 / watch.elapsed().as_secs_f64())
}

/// The highest rate at which no more than [`LOSS_BOUND`] of the packets is lost (a search as in
/// RFC 2544 §26.1), in packets a second.
pub(crate) fn loss_free(bed: &Bed, flows: u32) -> Result<f64> {
    let mut flood = Flood::new(bed, flows)?;
    flood.send(WARM_UP, Some(WARM_UP_RATE));
    let (mut good, mut bad) = (0.0, HIGHEST_RATE);
    while bad - good > PRECISION {
        let rate = (good + bad) / 2.0;
        let before = bed.arrived()?;
        let sent = flood.send(TRIAL, Some(rate));
        std::thread::sleep(SETTLE);
        let arrived = bed.arrived()? - before;
        // A rate that the sender does not reach is no rate that the NAT was offered.
        let offered = sent as f64 / TRIAL.as_secs_f64() >= 0.97 * rate;
        if offered && arrived as f64 >= sent as f64 * (1.0 - LOSS_BOUND) {
            good = rate;
        } else {
            bad = rate;
        }
    }
    Ok(good)
}

fn frame(own: [u8; 6], gateway: [u8; 6], flow: u32) -> Result<Vec<u8>> {
    let number = |n: u32| 1 + (n % u32::from(ADDRESSES)) as u8;
    let (source, destination) = (client(number(flow)), server(number(flow / 7)));
    let port = 1_024 + (flow / u32::from(ADDRESSES)) as u16;
    let builder = PacketBuilder::ethernet2(own, gateway)
        .ipv4(source.octets(), destination.octets(), 64)
        .udp(port, SINK);
    let mut frame = Vec::with_capacity(64);
    builder.write(&mut frame, &[0; 18]).context("18 bytes fit a datagram")?;
    Ok(frame)
}

/// Packets handed to the kernel at a time.
const BURST: usize = 64;

const WARM_UP: Duration = Duration::from_millis(800);

/// Slow enough that no first packet of a flow is lost.
const WARM_UP_RATE: f64 = 100_000.0;

const MEASURED: Duration = Duration::from_secs(2);

/// One trial of the search.
const TRIAL: Duration = Duration::from_millis(700);

/// What is still on its way when a trial ends.
const SETTLE: Duration = Duration::from_millis(50);

/// The part of the packets that may be lost in a trial.
const LOSS_BOUND: f64 = 0.001;

const HIGHEST_RATE: f64 = 1_200_000.0;

/// The search ends when it knows the rate to this many packets a second.
const PRECISION: f64 = 10_000.0;

//! The engine off the wire: captured frames and their times go in, what would have left comes out.
//!
//! The time is that of the captures. A timer that would have rung between two packets rings between
//! them; a session that would have ended before a packet has ended. One packet is a batch of its own,
//! so that each frame that leaves carries the time of the packet or the timer that caused it.
//!
//! Knows no file: [`Sink`] takes the frames.

use std::sync::Arc;
use std::time::Duration;

use mooring_engine::{Counters, Engine, Outbox, Verdict};
use mooring_packet::{Batch, BufferPool, HEADROOM, Offload, Packet, Received, Transmitted};
use mooring_policy::{InterfaceId, Policy};
use mooring_session::Tick;
use mooring_wire::Mac;

use crate::offline::{self, own_mac, peer_mac};

/// Takes what leaves.
pub(crate) trait Sink {
    /// What can go wrong.
    type Error;

    /// `frame` leaves by `egress`, `at` nanoseconds after 1970.
    fn leave(&mut self, egress: InterfaceId, at: u64, frame: &[u8]) -> Result<(), Self::Error>;
}

/// An engine between captures and a sink.
pub(crate) struct Playback<S> {
    engine: Engine,
    outbox: Outbox,
    sink: S,
    neighbors: Neighbors,
    /// The moment of tick 0, in nanoseconds after 1970.
    origin: u64,
    /// The moment of what happened last, in nanoseconds after 1970.
    last: u64,
    /// The frame under way, behind its headroom.
    buffer: Vec<u8>,
}

/// A frame as it came by the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// Where it came in.
    pub(crate) ingress: InterfaceId,
    /// When, in nanoseconds after 1970.
    pub(crate) timestamp: u64,
    /// From the Ethernet header on; without its end if it is `truncated`.
    pub(crate) frame: &'a [u8],
    /// The capture holds only its beginning.
    pub(crate) truncated: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The engine's word.
    Verdict(Verdict),
    /// Nobody can say: the capture does not hold all of it.
    Truncated,
}

/// How next hops are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Neighbors {
    /// Every next hop on interface n has the MAC address 02:ff:00:00:00:0n
    Fixed,
    /// They are asked for, and the captures have to hold their answers
    Real,
}

impl<S: Sink> Playback<S> {
    /// An engine whose time begins at `origin`, nanoseconds after 1970. All that is random in it
    /// comes from `seed`.
    pub(crate) fn new(
        policy: Arc<Policy>,
        neighbors: Neighbors,
        seed: u64,
        origin: u64,
        sink: S,
    ) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let engine = offline::engine(policy, bytes, neighbors == Neighbors::Fixed);
        let outbox = Outbox::new(BufferPool::new(SMALL_BUFFERS, LARGE_BUFFERS));
        Self { engine, outbox, sink, neighbors, origin, last: origin, buffer: vec![0; HEADROOM] }
    }

    /// Lets time pass until the frame arrives, and walks it. Frames arrive in order of time.
    pub(crate) fn arrive(&mut self, arrival: &Arrival<'_>) -> Result<Fate, S::Error> {
        let now = self.tick(arrival.timestamp);
        self.pass(now)?;
        self.last = self.last.max(arrival.timestamp);
        self.engine.counters.received(arrival.ingress, received(arrival));
        if arrival.truncated {
            return Ok(Fate::Truncated);
        }
        self.take_up(arrival);
        let mut batch = Batch::new();
        let length = arrival.frame.len();
        let packet = Packet::new(&mut self.buffer, HEADROOM, length, Offload::NONE);
        batch.push(packet).expect("an empty batch has room");
        let verdicts = self.engine.process(now, arrival.ingress, &mut batch, &mut self.outbox);
        let verdict = verdicts[0];
        if let Verdict::Tx(egress) = verdict {
            let frame = batch.packets()[0].bytes();
            self.sink.leave(egress, self.last, frame)?;
            self.engine.counters.transmitted(egress, transmitted(frame.len()));
        }
        drop(batch);
        self.flush()?;
        Ok(Fate::Verdict(verdict))
    }

    /// Lets time run on after the last packet, then gives back the sink and what was counted.
    pub(crate) fn finish(mut self, drain: Duration) -> Result<(S, Counters), S::Error> {
        let end = self.tick(self.last) + drain;
        self.pass(end)?;
        Ok((self.sink, self.engine.counters))
    }

    /// Does what time asks for until `until`, each thing at its moment.
    fn pass(&mut self, until: Tick) -> Result<(), S::Error> {
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= until) {
            self.poll(due)?;
        }
        self.poll(until)
    }

    fn poll(&mut self, due: Tick) -> Result<(), S::Error> {
        let moment = self.origin.saturating_add(due.as_millis().saturating_mul(NANOS_PER_TICK));
        self.last = self.last.max(moment);
        let now = self.tick(self.last);
        loop {
            let more = self.engine.poll(now, &mut self.outbox);
            self.flush()?;
            if !more {
                return Ok(());
            }
        }
    }

    /// The frame into the buffer, addressed to us: a port that replays takes every frame. Where all
    /// next hops have one address, an IP packet also comes from it: what we answer goes back there.
    fn take_up(&mut self, arrival: &Arrival<'_>) {
        self.buffer.truncate(HEADROOM);
        self.buffer.extend_from_slice(arrival.frame);
        let frame = &mut self.buffer[HEADROOM..];
        overwrite(frame, own_mac(arrival.ingress));
        let is_ip = matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
        if is_ip && self.neighbors == Neighbors::Fixed {
            overwrite(&mut frame[6..], peer_mac(arrival.ingress));
        }
    }

    /// Gives the sink what the engine has to say and what has waited for its neighbour.
    fn flush(&mut self) -> Result<(), S::Error> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        for at in 0..self.engine.links().len() {
            let egress = InterfaceId(at as u8);
            for packet in self.outbox.ready_for(egress) {
                self.sink.leave(egress, self.last, packet.bytes())?;
                self.engine.counters.transmitted(egress, transmitted(packet.bytes().len()));
            }
        }
        self.outbox.clear();
        Ok(())
    }

    fn tick(&self, moment: u64) -> Tick {
        Tick::from_millis(moment.saturating_sub(self.origin) / NANOS_PER_TICK)
    }
}

/// Writes an address over the beginning of `bytes`, or what there is of it.
fn overwrite(bytes: &mut [u8], mac: Mac) {
    for (to, byte) in bytes.iter_mut().zip(mac.0) {
        *to = byte;
    }
}

fn received(arrival: &Arrival<'_>) -> Received {
    match arrival.truncated {
        true => Received { packets: 0, bytes: 0, truncated: 1 },
        false => Received { packets: 1, bytes: arrival.frame.len() as u64, truncated: 0 },
    }
}

fn transmitted(bytes: usize) -> Transmitted {
    Transmitted { packets: 1, bytes: bytes as u64, ..Transmitted::default() }
}

const NANOS_PER_TICK: u64 = 1_000_000;

/// As a worker has them.
const SMALL_BUFFERS: usize = 4_096;
const LARGE_BUFFERS: usize = 64;

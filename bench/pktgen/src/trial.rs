//! One run: a thread that sends and one that receives, and what both saw together.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock;
use crate::flows::{Flows, Tuples};
use crate::live::LiveGenerator;
use crate::receive::{Expected, Listener};
use crate::template::{Direction, Frames, LinkEnds};
use crate::timeline::{Came, Sealed, Span};
use crate::tracker::{Arrivals, Tracker};
use crate::traffic::Traffic;
use crate::transmit::{self, Generator, Load, Sent, Way};

/// The devices, open.
pub(crate) struct Bench {
    generator: Source,
    listener: Option<Listener>,
    flows: u32,
    buckets: u32,
    settle: Duration,
    run: u16,
}

/// What sends.
enum Source {
    /// What is due, batch by batch.
    Paced(Box<Generator>),
    /// As fast as it goes.
    Live(Box<LiveGenerator>),
}

impl Source {
    fn round(&self) -> u64 {
        match self {
            Self::Paced(generator) => generator.round(),
            Self::Live(generator) => generator.round(),
        }
    }

    fn send(&mut self, load: &Load, progress: impl FnMut(&Sent)) -> Result<Sent> {
        match self {
            Self::Paced(generator) => Ok(generator.send(load, progress)),
            Self::Live(generator) => generator.send(load, progress),
        }
    }
}

/// How one run is to be.
pub(crate) struct Plan {
    /// Packets a second; none is as many as the device takes.
    pub(crate) rate: Option<u64>,
    pub(crate) time: Duration,
    /// Ends after so many packets, too.
    pub(crate) count: Option<u64>,
    /// How long the intervals are that packets are counted in.
    pub(crate) interval: Duration,
    /// Is told of every interval.
    pub(crate) listener: Option<mpsc::Sender<Sealed>>,
}

/// What a run measured.
pub(crate) struct Outcome {
    pub(crate) sent: Sent,
    pub(crate) received: Option<Received>,
}

/// What a receiver saw.
pub(crate) struct Received {
    pub(crate) total: Arrivals,
    pub(crate) buckets: Vec<Arrivals>,
    pub(crate) intervals: Vec<Came>,
    /// Frames that are none of this run's.
    pub(crate) strays: u64,
    /// Frames that the receiver had no room for.
    pub(crate) overflow: u64,
}

impl Bench {
    /// Opens what the traffic needs, and warms up if that was asked for.
    ///
    /// # Errors
    /// What cannot be opened, or must not be sent to.
    pub(crate) fn open(traffic: &Traffic) -> Result<Self> {
        let path = &traffic.path;
        let addressing = path.addressing(traffic.flows)?;
        let (device, link) = transmit::open(path, traffic.transmit)?;
        let ends = LinkEnds { source: link.mac, destination: path.next_hop };
        let is_ipv4 = addressing.destination.is_ipv4();
        let frames =
            Frames::new(path.template, is_ipv4, ends, path.port, Direction::There, &path.size.0);
        transmit::check_fit(&frames, &link)?;
        let generator = if traffic.transmit == Way::XdpLive {
            Source::Live(Box::new(LiveGenerator::new(traffic, &frames, addressing, link)?))
        } else {
            let flows = Flows::new(traffic.flows, traffic.burst, traffic.new_flows);
            let flows = (flows, Tuples::Counted(addressing, 0));
            let buckets = traffic.buckets;
            Source::Paced(Box::new(Generator::new(device, frames, flows, path.batch, buckets)))
        };
        let mut bench = Self {
            generator,
            listener: Listener::open(path)?,
            flows: traffic.flows,
            buckets: traffic.buckets,
            settle: path.settle,
            run: clock::now() as u16,
        };
        if let Some(rate) = traffic.warm_up {
            bench.warm_up(rate)?;
        }
        Ok(bench)
    }

    fn warm_up(&mut self, rate: u64) -> Result<()> {
        let load = Load {
            run: self.run,
            span: Span { start: clock::now(), length: u64::MAX },
            rate: Some(rate),
            time: NO_END,
            count: Some(self.generator.round()),
        };
        self.generator.send(&load, |_| ())?;
        thread::sleep(self.settle);
        Ok(())
    }

    /// Sends at a rate for a time or until there were `count` packets.
    ///
    /// # Errors
    /// When the receiving device is gone.
    pub(crate) fn run(&mut self, plan: Plan, progress: impl FnMut(&Sent)) -> Result<Outcome> {
        self.run = self.run.wrapping_add(1);
        let Plan { rate, time, count, interval, listener: told } = plan;
        if let Some(listener) = &mut self.listener {
            listener.drain()?;
        }
        let span = |start| Span { start, length: interval.as_nanos() as u64 };
        let load = |span| Load { run: self.run, span, rate, time, count };
        let Some(listener) = &mut self.listener else {
            let load = load(span(clock::now()));
            return Ok(Outcome { sent: self.generator.send(&load, progress)?, received: None });
        };
        // As large as there are flows: made before the clock is read, by which the first packet is due.
        let mut tracker = Tracker::new(self.run, self.flows, self.buckets, span(0), told);
        let span = span(clock::now());
        tracker.timeline.begin(span);
        let load = load(span);
        let expected = Expected::unknown();
        let (sent, overflow) = thread::scope(|scope| {
            let receiver = scope.spawn(|| listener.listen(&mut tracker, &expected));
            let sent = self.generator.send(&load, progress);
            // Whatever became of it: the receiver must end.
            expected.set(sent.as_ref().map_or(0, |sent| sent.packets));
            let overflow = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (sent, overflow)
        });
        let sent = sent?;
        let overflow = overflow.context("the receiving device")?;
        let Tracker { total, buckets, timeline, strays, .. } = tracker;
        let intervals = timeline.finish();
        Ok(Outcome {
            sent,
            received: Some(Received { total, buckets, intervals, strays, overflow }),
        })
    }
}

impl Outcome {
    /// Packets a second that the device took.
    pub(crate) fn sent_pps(&self) -> f64 {
        let seconds = self.sent.time.as_secs_f64();
        if seconds > 0.0 { self.sent.packets as f64 / seconds } else { 0.0 }
    }

    /// Packets that were sent and have not come.
    pub(crate) fn lost(&self) -> u64 {
        let came = self.received.as_ref().map_or(0, |received| received.total.packets);
        self.sent.packets.saturating_sub(came)
    }
}

/// The count ends it.
const NO_END: Duration = Duration::from_secs(7 * 86_400);

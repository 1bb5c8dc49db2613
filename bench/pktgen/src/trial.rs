//! One run: a thread that sends and one that receives, and what both saw together.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::Traffic;
use crate::clock;
use crate::receive::{Expected, Listener};
use crate::tracker::Tracker;
use crate::transmit::{Generator, Load, Sent};

/// The devices, open.
pub(crate) struct Bench {
    generator: Generator,
    listener: Option<Listener>,
    flows: u32,
    buckets: u32,
    settle: Duration,
    run: u16,
}

/// What a run measured.
pub(crate) struct Outcome {
    pub(crate) sent: Sent,
    pub(crate) received: Option<Received>,
}

/// What a receiver saw.
pub(crate) struct Received {
    pub(crate) tracker: Tracker,
    /// Frames that the receiver had no room for.
    pub(crate) overflow: u64,
}

impl Bench {
    /// Opens what the traffic needs, and warms up if that was asked for.
    ///
    /// # Errors
    /// What cannot be opened, or must not be sent to.
    pub(crate) fn open(traffic: &Traffic) -> Result<Self> {
        let addressing = traffic.addressing()?;
        let mut bench = Self {
            generator: Generator::open(traffic, addressing)?,
            listener: Listener::open(traffic)?,
            flows: traffic.flows,
            buckets: traffic.buckets,
            settle: traffic.settle,
            run: clock::now() as u16,
        };
        if let Some(rate) = traffic.warm_up {
            bench.warm_up(rate);
        }
        Ok(bench)
    }

    fn warm_up(&mut self, rate: u64) {
        let load = Load {
            run: self.run,
            rate: Some(rate),
            time: NO_END,
            count: Some(self.generator.round()),
        };
        self.generator.send(&load, |_| ());
        thread::sleep(self.settle);
    }

    /// Sends at a rate for a time or until there were `count` packets.
    ///
    /// # Errors
    /// When the receiving device is gone.
    pub(crate) fn run(
        &mut self,
        rate: Option<u64>,
        time: Duration,
        count: Option<u64>,
        progress: impl FnMut(u64),
    ) -> Result<Outcome> {
        self.run = self.run.wrapping_add(1);
        let load = Load { run: self.run, rate, time, count };
        let Some(listener) = &mut self.listener else {
            return Ok(Outcome { sent: self.generator.send(&load, progress), received: None });
        };
        listener.drain()?;
        let mut tracker = Tracker::new(self.run, self.flows, self.buckets);
        let expected = Expected::unknown();
        let (sent, overflow) = thread::scope(|scope| {
            let receiver = scope.spawn(|| listener.listen(&mut tracker, &expected));
            let sent = self.generator.send(&load, progress);
            expected.set(sent.packets);
            let overflow = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (sent, overflow)
        });
        let overflow = overflow.context("the receiving device")?;
        Ok(Outcome { sent, received: Some(Received { tracker, overflow }) })
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
        let came = self.received.as_ref().map_or(0, |received| received.tracker.total.packets);
        self.sent.packets.saturating_sub(came)
    }
}

/// The count ends it.
const NO_END: Duration = Duration::from_secs(7 * 86_400);

//! How long addresses take to move: by a write of the status, when a Pod is deleted, when a process dies.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use mooring_lab::clock::{LIMIT, since_1970};
use mooring_lab::{Capture, Frames};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Controller, Edge, HOST, Held, Moves, Root, Stream, world};

/// What was measured.
#[derive(Debug)]
pub struct Figures {
    moves: usize,
    status: Histogram<u64>,
    delete: Histogram<u64>,
    kill: Histogram<u64>,
    stale: usize,
}

/// How a holder stops to be one.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Delete,
    Kill,
}

impl Figures {
    /// Moves the addresses so often by a write, and each `failures` times by the end of a Pod and of a process.
    /// The client sends a datagram each millisecond meanwhile.
    ///
    /// # Errors
    /// When a move failed: there was no packet of the new holder.
    pub fn take(moves: usize, failures: usize) -> Result<Self> {
        let edge = Edge::new(Root::Binary)?;
        let _sink = edge.server.udp(world(7000))?;
        let mut figures = Self {
            moves,
            status: Histogram::new(3)?,
            delete: Histogram::new(3)?,
            kill: Histogram::new(3)?,
            stale: 0,
        };
        let mut agents = Agents::new(&edge)?;
        figures.moved(&edge, &mut agents)?;
        for failure in [Failure::Delete, Failure::Kill] {
            figures.failed(&edge, &mut agents, failure, failures)?;
        }
        edge.stop();
        Ok(figures)
    }

    /// As `bench takeover --json` prints it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "moves": self.moves,
            "status_to_first_packet_ms": milliseconds(&self.status),
            "pod_delete_to_traffic_ms": milliseconds(&self.delete),
            "process_kill_to_traffic_ms": milliseconds(&self.kill),
            "stale_frames": self.stale,
        })
    }

    /// Prints a table.
    pub fn print(&self) {
        println!("{:<28} {:>6} {:>9} {:>9} {:>9}", "milliseconds", "times", "p50", "p99", "max");
        for (name, times) in [
            ("status to first packet", &self.status),
            ("Pod deleted to traffic", &self.delete),
            ("process killed to traffic", &self.kill),
        ] {
            let figures = milliseconds(times);
            let [p50, p99, max] =
                ["p50", "p99", "max"].map(|name| figures[name].as_f64().unwrap_or(f64::NAN));
            println!("{name:<28} {:>6} {p50:>9.2} {p99:>9.2} {max:>9.2}", times.len());
        }
        println!("stale frames: {}", self.stale);
    }

    fn moved(&mut self, edge: &Edge, agents: &mut Agents) -> Result<()> {
        let capture = Capture::start(&edge.server, "eth0")?;
        let stream = stream(edge)?;
        let mut held =
            vec![Held { since: edge.give(&agents.holder)?, mac: edge.mac(&agents.holder)? }];
        for _ in 0..self.moves {
            thread::sleep(STAY);
            agents.swap();
            let mac = edge.mac(&agents.holder)?;
            held.push(Held { since: edge.give(&agents.holder)?, mac });
        }
        thread::sleep(STAY);
        // First: a capture that ends while frames come may lose the last one.
        drop(stream);
        let frames = capture.stop()?;
        let moves = Moves { frames: &frames, held: &held };
        self.stale += moves.stale().len();
        // The first was no move: nobody held them before.
        for (number, time) in moves.take_ups().into_iter().enumerate().skip(1) {
            record(&mut self.status, time.with_context(|| format!("move {number} failed"))?)?;
        }
        Ok(())
    }

    fn failed(
        &mut self,
        edge: &Edge,
        agents: &mut Agents,
        failure: Failure,
        times: usize,
    ) -> Result<()> {
        let controller = Controller::start(&edge.cluster, &agents.holder);
        for number in 0..times {
            let capture = Capture::start(&edge.server, "eth0")?;
            let stream = stream(edge)?;
            thread::sleep(STAY);
            let before = agents.holder.clone();
            let since = match failure {
                Failure::Delete => {
                    edge.cluster.api.delete(&format!("{PODS}/{before}"))?;
                    since_1970()
                }
                Failure::Kill => {
                    let since = since_1970();
                    edge.kubelet.signal(&before, Signal::KILL)?;
                    since
                }
            };
            let (holder, _) = controller.next_move(LIMIT).context("nobody moved the addresses")?;
            let mac = edge.mac(&holder)?;
            thread::sleep(STAY);
            drop(stream);
            let taken = first_from(&capture.stop()?, &mac, since);
            let taken =
                taken.with_context(|| format!("{failure:?} {number}: no packet of {holder}"))?;
            record(
                if matches!(failure, Failure::Delete) { &mut self.delete } else { &mut self.kill },
                taken,
            )?;
            agents.holder = holder;
            agents.stand_by(edge, &before, failure)?;
        }
        Ok(())
    }
}

/// The one that holds and the one that waits.
struct Agents {
    holder: String,
    other: String,
    made: usize,
}

impl Agents {
    fn new(edge: &Edge) -> Result<Self> {
        let agents =
            Self { holder: "mooring-0".to_owned(), other: "mooring-1".to_owned(), made: 2 };
        edge.add_agent(&agents.holder)?;
        edge.add_agent(&agents.other)?;
        Ok(agents)
    }

    fn swap(&mut self) {
        std::mem::swap(&mut self.holder, &mut self.other);
    }

    /// Sees to it that another one is Ready.
    fn stand_by(&mut self, edge: &Edge, lost: &str, failure: Failure) -> Result<()> {
        match failure {
            Failure::Kill => lost.clone_into(&mut self.other),
            Failure::Delete => {
                self.other = format!("mooring-{}", self.made);
                self.made += 1;
                return edge.add_agent(&self.other);
            }
        }
        edge.kubelet.wait_ready(&self.other, true)
    }
}

/// The client's datagrams.
fn stream(edge: &Edge) -> Result<Stream> {
    Stream::start(&edge.client, SocketAddr::from((HOST, 4000)), world(7000))
}

/// From `since` to the first translated packet of this sender.
fn first_from(frames: &Frames, mac: &[u8], since: Duration) -> Option<Duration> {
    let held = [Held { since, mac: mac.to_vec() }];
    let [taken] = Moves { frames, held: &held }.take_ups()[..] else { return None };
    taken
}

fn record(histogram: &mut Histogram<u64>, time: Duration) -> Result<()> {
    let micros = u64::try_from(time.as_micros())?;
    ensure!(micros < 600_000_000, "ten minutes are no take-up");
    Ok(histogram.record(micros)?)
}

fn milliseconds(times: &Histogram<u64>) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "minutes, in microseconds")]
    let at = |micros: u64| micros as f64 / 1_000.0;
    json!({
        "p50": at(times.value_at_quantile(0.5)),
        "p99": at(times.value_at_quantile(0.99)),
        "max": at(times.max()),
    })
}

const PODS: &str = "/api/v1/namespaces/mooring/pods";
/// Longer than an agent that has lost an address may still send for it.
const STAY: Duration = Duration::from_millis(300);

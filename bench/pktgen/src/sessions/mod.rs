//! Sessions of a NAT, measured as RFC 9693 does: in two phases, by a tester that stands on both sides.
//!
//! In the first one every packet that is sent on the inside begins a session of its own; what arrives on the
//! outside says which end the NAT gave it, and goes to the table of sessions. In the second one the outside
//! answers by that table, a packet for each session, and a session counts when its answer comes back to the
//! very end it began at (§4.6, validation of connection establishment). A NAT that forwards packets without
//! keeping a session, or forgets old ones for new ones, is found by that.

mod capacity;
mod end;
mod rate;
mod table;

use std::io;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mooring_io::af_packet;
use mooring_io::link::Link;
use mooring_wire::Mac;

use self::table::{Answers, Arrivals};
use crate::clock;
use crate::flows::{Addressing, Ends, Flows, Tuples};
use crate::invalid::Invalid;
use crate::namespace;
use crate::receive::{Expected, Listener, Take};
use crate::template::{Direction, Frames, LinkEnds, Template};
use crate::timeline::Span;
use crate::traffic::Path;
use crate::transmit::{self, Device, Generator, Load, Sent};

pub(crate) use capacity::{Capacity, Search, Step, capacity};
pub(crate) use end::{Expiry, Probe, Teardown, expiry, teardown};
pub(crate) use rate::{RateFound, rate};
pub(crate) use table::Sessions;

/// Both sides of a NAT, open.
pub(crate) struct Sides {
    inside: Generator,
    outside: Generator,
    /// At the inside device: hears answers.
    answers: Listener,
    /// At the outside device: hears what begins.
    arrivals: Listener,
    what: What,
    settle: Duration,
    /// The Ethernet address that the NAT has on the outside.
    hop: Mac,
    run: u16,
    /// The next flow that was not used yet.
    next: u64,
    reset: Option<String>,
}

/// What the packets of sessions are.
#[derive(Clone, Debug)]
pub(crate) struct What {
    addressing: Addressing,
    template: Template,
    port: u16,
}

/// What one phase sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) sent: u64,
    pub(crate) sent_pps: f64,
}

/// Which sessions were answered.
#[derive(Debug)]
pub(crate) struct Validated {
    /// For each that was asked, whether its answer came to where it began.
    pub(crate) valid: Vec<bool>,
    /// Answers that came to somebody else.
    pub(crate) wrong: u64,
}

impl Validated {
    pub(crate) fn count(&self) -> u64 {
        self.valid.iter().filter(|valid| **valid).count() as u64
    }
}

impl Sides {
    /// Opens both devices, and sends a packet through what is between to learn its Ethernet address on the
    /// outside. `reset` is a command that makes the NAT forget its sessions.
    ///
    /// # Errors
    /// What cannot be opened or makes no sense, or that nothing comes through.
    pub(crate) fn open(path: &Path, sessions: u32, reset: Option<&str>) -> Result<Self> {
        // One more greets.
        let addressing = path.addressing(sessions.saturating_add(1))?;
        let answerable = [Template::Udp, Template::TcpSyn, Template::Icmp];
        Invalid::unless(answerable.contains(&path.template), || {
            "sessions begin with --template udp, tcp-syn or icmp".to_owned()
        })?;
        let outer = path.receive.as_deref().ok_or_else(|| {
            Invalid::new("sessions need --receive: the tester stands on both sides of the NAT")
        })?;
        let (arrivals, out_sender, outer) = open_side(outer, path.receive_netns.as_deref())?;
        let (answers, in_sender, inner) = open_side(&path.send, path.send_netns.as_deref())?;
        let what = What { addressing, template: path.template, port: path.port };
        let make = |sender, link: &Link, destination, direction| {
            let ends = LinkEnds { source: link.mac, destination };
            let is_ipv4 = what.addressing.destination.is_ipv4();
            let sizes = &path.size.0;
            let frames = Frames::new(what.template, is_ipv4, ends, what.port, direction, sizes);
            transmit::check_fit(&frames, link)?;
            let nothing = (Flows::new(1, 1, 0), Tuples::Listed(Vec::new()));
            anyhow::Ok(Generator::new(Device::Sendmmsg(sender), frames, nothing, path.batch, 1))
        };
        let mut inside = make(in_sender, &inner, path.next_hop, Direction::There)?;
        let mut arrivals = Listener::new(arrivals, path.settle);
        let (mut run, settle) = (clock::now() as u16, path.settle);
        let hop = greet(&mut inside, &mut arrivals, &what, (&mut run, settle))?;
        let outside = make(out_sender, &outer, hop, Direction::Back)?;
        let answers = Listener::new(answers, path.settle);
        let reset = reset.map(str::to_owned);
        Ok(Self { inside, outside, answers, arrivals, what, settle, hop, run, next: 0, reset })
    }

    /// Room for `count` sessions that do not exist yet: after a reset, or with ends that none has had.
    ///
    /// # Errors
    /// When the reset fails, or there are no more ends.
    pub(crate) fn fresh(&mut self, count: u32) -> Result<Sessions> {
        if self.reset()? {
            self.next = 0;
        }
        // The last one has greeted.
        let room = self.what.addressing.capacity() - 1 - self.next;
        ensure!(
            u64::from(count) <= room,
            "there are {room} ends left that no session has had: give more --sources or --destinations, or \
             --reset, a command that makes the NAT forget its sessions"
        );
        let first = self.next;
        self.next += u64::from(count);
        Ok(Sessions::new(first, count))
    }

    /// So many more, beside those that there are.
    ///
    /// # Errors
    /// When there are no more ends.
    pub(crate) fn extend(&mut self, sessions: &mut Sessions, count: u32) -> Result<()> {
        let more = u64::from(count) - sessions.len() as u64;
        let room = self.what.addressing.capacity() - 1 - self.next;
        ensure!(more <= room, "there are only {room} ends left that no session has had");
        self.next += more;
        sessions.grow(count);
        Ok(())
    }

    /// Phase one, for the sessions of these numbers, at so many a second.
    ///
    /// # Errors
    /// When a device is gone.
    pub(crate) fn establish(
        &mut self,
        sessions: &mut Sessions,
        numbers: &[u32],
        rate: u64,
    ) -> Result<Phase> {
        let ends = |number: &u32| (*number, self.what.addressing.of(sessions.flow(*number)));
        let tuples: Vec<_> = numbers.iter().map(ends).collect();
        self.run = self.run.wrapping_add(1);
        let mut arrivals = Arrivals::new(self.run, &self.what, sessions);
        phase(&mut self.inside, &mut self.arrivals, &mut arrivals, tuples, (self.run, rate))
    }

    /// Phase two, for those of these numbers that were seen in phase one. The others are not valid.
    ///
    /// # Errors
    /// When a device is gone.
    pub(crate) fn validate(
        &mut self,
        sessions: &Sessions,
        numbers: &[u32],
        rate: u64,
        attempts: u32,
    ) -> Result<Validated> {
        let mut answers = Answers::new(&self.what, sessions);
        for _ in 0..attempts {
            let left = numbers.iter().filter(|number| !answers.has(**number));
            let tuples: Vec<(u32, Ends)> =
                left.filter_map(|number| Some((*number, sessions.seen(*number)?))).collect();
            self.run = self.run.wrapping_add(1);
            answers.begin(self.run);
            phase(&mut self.outside, &mut self.answers, &mut answers, tuples, (self.run, rate))?;
        }
        let valid = numbers.iter().map(|number| answers.has(*number)).collect();
        Ok(Validated { valid, wrong: answers.wrong() })
    }

    /// Establishes, and once more those that were not seen, up to `repeats` times: their packet may have been
    /// lost on the way.
    ///
    /// # Errors
    /// When a device is gone.
    pub(crate) fn fill(
        &mut self,
        sessions: &mut Sessions,
        numbers: &[u32],
        rate: u64,
        repeats: u32,
    ) -> Result<Phase> {
        let phase = self.establish(sessions, numbers, rate)?;
        for _ in 0..repeats {
            let missing: Vec<u32> =
                numbers.iter().copied().filter(|n| sessions.seen(*n).is_none()).collect();
            if missing.is_empty() {
                break;
            }
            self.establish(sessions, &missing, rate)?;
        }
        Ok(phase)
    }

    /// Has the NAT forget its sessions, if somebody said how. It may have forgotten its neighbours as well, if it was
    /// started anew for one, and may need a moment.
    fn reset(&mut self) -> Result<bool> {
        let Some(reset) = &self.reset else { return Ok(false) };
        shell(reset)?;
        thread::sleep(self.settle);
        let Self { inside, arrivals, what, settle, run, .. } = self;
        let hop = greet(inside, arrivals, what, (run, *settle))?;
        let was = self.hop;
        ensure!(hop == was, "after the reset the NAT is {hop} on the outside; it was {was}");
        Ok(true)
    }
}

/// Runs a command of the person who measures.
///
/// # Errors
/// When it fails.
pub(crate) fn shell(command: &str) -> Result<()> {
    // Our standard output is for the report.
    let status = Command::new("sh").args(["-c", command]).stdout(io::stderr()).status();
    let status = status.with_context(|| format!("cannot run `{command}`"))?;
    ensure!(status.success(), "`{command}` failed: {status}");
    Ok(())
}

fn open_side(
    device: &str,
    netns: Option<&str>,
) -> Result<(af_packet::Receiver, af_packet::Sender, Link)> {
    namespace::within(netns, || af_packet::open(device))?
        .with_context(|| format!("the device {device}"))
}

/// Sends a packet for each tuple, while the other side listens.
fn phase(
    generator: &mut Generator,
    listener: &mut Listener,
    who: &mut (impl Take + Send),
    tuples: Vec<(u32, Ends)>,
    (run, rate): (u16, u64),
) -> Result<Phase> {
    let Ok(count) = u32::try_from(tuples.len()) else { bail!("too many sessions") };
    if count == 0 {
        return Ok(Phase { sent: 0, sent_pps: 0.0 });
    }
    generator.aim(Flows::new(count, 1, 0), Tuples::Listed(tuples));
    listener.drain()?;
    let span = Span { start: clock::now(), length: u64::MAX };
    let load = Load { run, span, rate: Some(rate), time: NO_END, count: Some(u64::from(count)) };
    let expected = Expected::unknown();
    let sent: Sent = thread::scope(|scope| {
        let receiver = scope.spawn(|| listener.listen(who, &expected));
        let sent = generator.send(&load, |_| ());
        expected.set(sent.packets);
        let overflow = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        overflow.context("the receiving device")?;
        anyhow::Ok(sent)
    })?;
    let seconds = sent.time.as_secs_f64().max(f64::MIN_POSITIVE);
    Ok(Phase { sent: sent.packets, sent_pps: sent.packets as f64 / seconds })
}

/// Sends packets until one has come through: neighbours are known after it. Returns the Ethernet address that it
/// came from. What is left on the way is nobody's session: it is of an earlier run.
fn greet(
    inside: &mut Generator,
    arrivals: &mut Listener,
    what: &What,
    (run, settle): (&mut u16, Duration),
) -> Result<Mac> {
    let flow = what.addressing.capacity() - 1;
    for _ in 0..GREETINGS {
        *run = run.wrapping_add(1);
        let mut sessions = Sessions::new(flow, 1);
        let mut who = Arrivals::new(*run, what, &mut sessions);
        let tuples = vec![(0, what.addressing.of(flow))];
        phase(inside, arrivals, &mut who, tuples, (*run, 1_000))?;
        if let Some(hop) = who.hop() {
            return Ok(hop);
        }
    }
    bail!(
        "no packet came through in {:.1} s: does the NAT run, and does it know the next hop?",
        settle.as_secs_f64() * f64::from(GREETINGS)
    )
}

/// Packets that may be lost while neighbours are looked for.
const GREETINGS: u32 = 20;

/// The count ends it.
const NO_END: Duration = Duration::from_secs(7 * 86_400);

//! Several packets in one batch: what comes of them is what comes of one after the other. A twin of the
//! worker gets the same packets, all at once where they come so, and may not be told from it.

use mooring_engine::Verdict;
use mooring_packet::{Batch, Offload, Packet as Window};
use mooring_policy::InterfaceId;
use mooring_session::Tick;

use crate::duel::Duel;
use crate::model::Session;
use crate::packet::{Key, Packet};
use crate::rig::Unit;
use crate::spec::Side;
use crate::step::{What, body_of};
use crate::tracking::Way;

/// The worker that does the same.
pub(crate) struct Twin {
    unit: Unit,
    /// Packets that are to come at once, and what came of them one by one.
    gathered: Option<Vec<Done>>,
    /// What left by the outbox meanwhile.
    left: Vec<(Side, Packet)>,
}

/// A frame as it came, its verdict, and as it was then.
type Done = (Vec<u8>, Verdict, Vec<u8>);

impl Twin {
    pub(crate) const fn new(unit: Unit) -> Self {
        Self { unit, gathered: None, left: Vec::new() }
    }

    pub(crate) const fn unit(&mut self) -> &mut Unit {
        &mut self.unit
    }

    pub(crate) fn gather(&mut self) {
        self.gathered = Some(Vec::new());
    }

    /// A packet, now or with others.
    pub(crate) fn walk(
        &mut self,
        now: u64,
        side: Side,
        mut frame: Vec<u8>,
        (verdict, done): (Verdict, &[u8]),
    ) -> Result<(), String> {
        if let Some(gathered) = &mut self.gathered {
            gathered.push((frame, verdict, done.to_vec()));
            return Ok(());
        }
        let walked = self.unit.walk(now, (side, &mut { Offload::NONE }), None, &mut frame)?;
        match walked == verdict && frame == done {
            true => Ok(()),
            false => Err(format!("the twin says {walked:?}, not {verdict:?}")),
        }
    }

    pub(crate) fn ready(&mut self, ready: &[(Side, Packet)]) -> Result<(), String> {
        if self.gathered.is_some() {
            self.left.extend_from_slice(ready);
            return Ok(());
        }
        self.leave(ready.to_vec())
    }

    pub(crate) fn poll(&mut self, now: u64, sent: &[(Side, Packet)]) -> Result<(), String> {
        while self.unit.poll(now) {}
        self.leave(sent.to_vec())
    }

    /// What was gathered comes in one batch.
    pub(crate) fn come_together(
        &mut self,
        now: u64,
        side: Side,
        backwards: bool,
    ) -> Result<(), String> {
        let mut all = self.gathered.take().unwrap_or_default();
        if backwards {
            all.reverse();
        }
        let mut frames: Vec<_> = all.iter().map(|done| done.0.clone()).collect();
        let mut batch = Batch::new();
        for frame in &mut frames {
            let len = frame.len();
            let window = Window::new(frame, 0, len, Offload::NONE);
            batch.push(window).map_err(|_| "a batch has room for a few")?;
        }
        let ingress = InterfaceId(side as u8);
        let (now, outbox) = (Tick::from_millis(now), &mut self.unit.outbox);
        let verdicts = self.unit.engine.process(now, ingress, &mut batch, outbox);
        for ((verdict, packet), (_, alone, done)) in verdicts.iter().zip(batch.packets()).zip(&all)
        {
            if verdict != alone || packet.bytes() != done {
                return Err(format!("together {verdict:?}, one by one {alone:?}: {all:02x?}"));
            }
        }
        let left = std::mem::take(&mut self.left);
        self.leave(left)
    }

    /// The same leaves by the outbox, in the same order by each link.
    fn leave(&mut self, mut expected: Vec<(Side, Packet)>) -> Result<(), String> {
        let mut ready = self.unit.ready()?;
        ready.sort_by_key(|one| one.0);
        expected.sort_by_key(|one| one.0);
        match ready == expected {
            true => Ok(()),
            false => Err(format!("the twin sends {ready:?}, not {expected:?}")),
        }
    }
}

impl Duel<'_> {
    /// Packets that come at once, each so many times, to one side.
    pub(crate) fn together(&mut self, all: &[What], times: usize) -> Result<(), String> {
        let packets = all.iter().flat_map(|what| match what {
            What::Send(side, packet) => vec![(*side, packet.clone())],
            What::Both { sessions, flags } => self.both_ways(*sessions, *flags),
            other => self.of_session(other).into_iter().collect(),
        });
        let packets: Vec<_> = packets.collect();
        let Some(&(side, _)) = packets.first() else { return Ok(()) };
        self.rig.gather();
        for (_, packet) in packets.iter().filter(|packet| packet.0 == side) {
            for _ in 0..times {
                self.packet(side, packet, 0)?;
            }
        }
        self.rig.come_together(self.clock(), side)
    }

    /// Two hosts that send to the outside ends of each other.
    fn both_ways(&self, (one, other): (usize, usize), flags: u8) -> Vec<(Side, Packet)> {
        let all = &self.model.sessions;
        let nth = |number: usize| all.get(number % all.len().max(1));
        let (Some(one), Some(other)) = (nth(one), nth(other)) else { return Vec::new() };
        let alike = |session: &Session| (session.protocol, session.inside.0.is_ipv4());
        if alike(one) != alike(other) {
            return Vec::new();
        }
        let sent = |from: &Session, to: &Session| {
            let (protocol, source) = (from.protocol, from.inside);
            let key = Key { protocol, source, destination: to.outside };
            let body = body_of(protocol, (Way::Forward, Way::Forward), source.0, (flags, 1));
            (Side::Inside, Packet::new(source.0, to.outside.0, body).with_key(key))
        };
        vec![sent(one, other), sent(other, one)]
    }
}

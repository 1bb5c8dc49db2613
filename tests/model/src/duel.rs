//! Steps for both, and what must be the same afterwards.

mod made;
mod reach;

use std::panic::{AssertUnwindSafe, catch_unwind};

use mooring_engine::view::SessionView;

use crate::faults::Fault;
use crate::model::{Expected, Model, Numbers, Seen, Session};
use crate::packet::{Body, Key, Packet};
use crate::random::Random;
use crate::rig::{Rig, Tally, frame};
use crate::spec::{Side, Spec, ip, is_own};
use crate::step::{Flaw, KERNEL, Step, Universe, What};
use crate::tracking::Way;

/// A family of configurations, and what happens under them.
#[derive(Clone)]
pub(crate) struct Family {
    pub(crate) specs: Vec<Spec>,
    pub(crate) universe: Universe,
    pub(crate) workers: usize,
}

/// The engines and the model, side by side.
pub(crate) struct Duel<'f> {
    family: &'f Family,
    pub(crate) rig: Rig,
    pub(crate) model: Model,
    /// Sessions that had ended when the tables were compared last.
    ended: u64,
    pub(crate) steps: usize,
}

impl Family {
    /// Takes random steps, `steps` in all, in sequences that each end with an empty table.
    ///
    /// # Panics
    /// When something is not as the model says, with the shortest script that shows it.
    pub(crate) fn run(&self, name: &str, seed: u64, steps: usize) -> Tally {
        let number = |key: &str| std::env::var(key).ok().and_then(|text| text.parse().ok());
        let steps = number("MOORING_MODEL_STEPS").map_or(steps, |steps: u64| steps as usize);
        let mut tally = Tally::default();
        let only: Option<u64> = number("MOORING_MODEL_SEED");
        for number in 0..steps.div_ceil(SEQUENCE) as u64 {
            let seed = only.unwrap_or(seed * 1_000_003 + number);
            let script = self.script(seed, SEQUENCE.min(steps));
            match self.play(&script, seed, None) {
                Ok(played) => tally.add(&played),
                Err(_) => self.fail(name, script, seed),
            }
            if only.is_some() {
                break;
            }
        }
        tally
    }

    pub(crate) fn script(&self, seed: u64, steps: usize) -> Vec<Step> {
        let mut random = Random::new(seed);
        (0..steps).map(|_| self.universe.draw(&mut random)).collect()
    }

    /// Plays a script.
    ///
    /// # Errors
    /// The number of the first step that goes wrong, and how.
    pub(crate) fn play(
        &self,
        script: &[Step],
        seed: u64,
        fault: Option<Fault>,
    ) -> Result<Tally, (usize, String)> {
        let mut at = 0;
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut duel = Duel::new(self, seed);
            duel.rig.fault = fault;
            for (number, step) in script.iter().enumerate() {
                at = number;
                duel.step(step)?;
            }
            at = script.len();
            duel.end()
        }));
        let panicked = |what: Box<dyn std::any::Any + Send>| {
            let text = what.downcast_ref::<String>().cloned();
            text.or_else(|| what.downcast_ref::<&str>().map(|&text| text.to_owned()))
                .unwrap_or_default()
        };
        played
            .unwrap_or_else(|what| Err(format!("panicked: {}", panicked(what))))
            .map_err(|why| (at, why))
    }

    /// Leaves out steps while the rest still fails, and tells.
    fn fail(&self, name: &str, mut script: Vec<Step>, seed: u64) -> ! {
        let mut chunk = script.len();
        if let Err((at, _)) = self.play(&script, seed, None) {
            script.truncate(at + 1);
        }
        while chunk > 0 {
            let mut at = 0;
            while at < script.len() {
                let mut shorter = script.clone();
                shorter.drain(at..(at + chunk).min(script.len()));
                match self.play(&shorter, seed, None) {
                    Err((failed, _)) => {
                        shorter.truncate(failed + 1);
                        script = shorter;
                    }
                    Ok(_) => at += chunk,
                }
            }
            chunk /= 2;
        }
        let why = self.play(&script, seed, None).map_or_else(|(_, why)| why, |_| String::new());
        let steps: Vec<String> = script.iter().map(|step| format!("  {step:?}\n")).collect();
        panic!(
            "{name}: MOORING_MODEL_SEED={seed} fails; {} steps are enough:\n{}{why}\n",
            script.len(),
            steps.concat()
        );
    }
}

impl<'f> Duel<'f> {
    fn new(family: &'f Family, seed: u64) -> Self {
        let spec = &family.specs[0];
        let mut rig = Rig::new(spec, family.workers, seed);
        let mut model = Model::new(spec.clone(), family.workers);
        model.kernel.push(ip(KERNEL));
        if family.universe.batches > 0 {
            rig.with_twin(spec, seed);
        }
        rig.set_kernel_addresses(&model.kernel);
        Self { family, rig, model, ended: 0, steps: 0 }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.steps += 1;
        let mut polled = step.polled;
        match &step.what {
            What::Wait(millis) => {
                self.model.now += millis;
                polled = true;
            }
            What::Reload(number) => {
                let spec = &self.family.specs[number % self.family.specs.len()];
                self.model.reload(spec.clone());
                self.rig.reload(self.clock(), spec);
                // What is not asked about yet is found as it was.
                self.reach()?;
                // What has ended and is not swept yet is one worker's alone; whose block is whose depends on
                // who is asked first.
                let blocks = || self.family.specs.iter().any(Spec::has_blocks);
                polled |= self.family.workers > 1 || blocks();
            }
            What::Send(side, packet) => {
                self.numbered(*side, packet, (step.worker, Numbers::Right))?;
            }
            What::Flood(side, packet, times) => {
                for _ in 0..*times {
                    self.packet(*side, packet, step.worker)?;
                }
            }
            What::Flawed(side, packet, flaw) => self.flawed(*side, packet, *flaw, step.worker)?,
            What::Pieces { session, way, else_of, cut } => {
                let (side, packet) = self.in_pieces((*session, *way), else_of, *cut);
                self.pieces(side, &packet, (*cut, step.worker))?;
            }
            What::Together(all, times) => self.together(all, *times)?,
            What::Both { .. } => {}
            What::Large(large) => self.large(large, step.worker)?,
            What::Along { .. } | What::Error { .. } | What::Hairpin { .. } => {
                if let Some((side, packet)) = self.of_session(&step.what) {
                    let numbers = match step.what {
                        What::Along { numbers, .. } => numbers,
                        _ => Numbers::Right,
                    };
                    self.numbered(side, &packet, (step.worker, numbers))?;
                }
            }
        }
        if polled {
            self.poll()?;
        }
        self.check()
    }

    /// A packet for both; of a segment, where they count, with such numbers.
    fn numbered(
        &mut self,
        side: Side,
        packet: &Packet,
        (worker, numbers): (usize, Numbers),
    ) -> Result<(), String> {
        if !self.model.spec.tcp.windows {
            return self.packet(side, packet, worker);
        }
        let fresh = Random::new(self.steps as u64).next() as u32;
        self.packet(side, &self.model.numbered(packet, numbers, fresh), worker)
    }

    /// A packet for both.
    pub(crate) fn packet(
        &mut self,
        side: Side,
        packet: &Packet,
        worker: usize,
    ) -> Result<(), String> {
        let (now, worker) = (self.clock(), worker % self.rig.workers());
        let mut seen = self.rig.give(now, side, &frame(side, &packet.bytes()), worker)?;
        self.learn(packet, &mut seen);
        let expected = self.model.judge(packet, side, &seen);
        let expected = expected.map_err(|why| format!("{packet:?} by {side:?}: {why}"))?;
        if side == Side::Inside && seen.dropped.is_some() {
            self.notice(packet);
        }
        self.compare(&expected, seen).map_err(|why| format!("{packet:?} by {side:?} {why}"))
    }

    /// The first half of a hairpin that is dropped shows nobody its port. By that it may have met a session
    /// which the policy of now does not want: the model is to ask about those that are not there.
    fn notice(&mut self, packet: &Packet) {
        if !self.model.spec.is_outside_address(packet.destination) {
            return;
        }
        let shown = self.rig.sessions(self.clock());
        let is_gone = |session: &&Session| !shown.iter().any(|view| is_same(&view.1, session));
        let gone = self.model.sessions.iter().filter(is_gone);
        let gone: Vec<Key> = gone.map(|session| session.key(Way::Forward)).collect();
        gone.iter().for_each(|key| self.model.notice(key));
    }

    /// What only the tables show: the end of a session whose first packet was too long, or is the first
    /// half of a hairpin whose second went to another worker in vain; and who had to go for a new one.
    pub(crate) fn learn(&self, packet: &Packet, seen: &mut Seen) {
        let half = seen.legs.last().is_some_and(|leg| leg.1);
        let hidden = seen.dropped == Some("too_big") || seen.dropped.is_some() && half;
        let makes_room = self.model.spec.evict || self.model.spec.limits_closing();
        let gone = makes_room && self.rig.ended() != self.ended;
        if !hidden && !gone {
            return;
        }
        let shown = self.rig.sessions(self.clock());
        let key = packet.key();
        let is = |view: &&(usize, SessionView)| {
            let (inside, remote) = (view.1.inside, view.1.remote);
            let protocol = view.1.protocol.0;
            key == Some(Key { protocol, source: inside, destination: remote })
        };
        seen.learned = shown.iter().find(is).filter(|_| hidden).map(|view| view.1.outside);
        if gone {
            let lives = |session: &&Session| !shown.iter().any(|view| is_same(&view.1, session));
            let gone = self.model.sessions.iter().filter(lives);
            seen.gone = gone.map(|session| session.key(Way::Forward)).collect();
        }
    }

    fn compare(&self, expected: &Expected, seen: Seen) -> Result<(), String> {
        let ours = |packet: &Packet| is_own(packet.source);
        let plainly = |one: (Side, Packet)| if ours(&one.1) { plain(one) } else { one };
        let Seen { dropped, sent, legs, .. } = seen;
        let seen = Expected { dropped, sent: sent.into_iter().map(plainly).collect() };
        match seen == *expected {
            true => Ok(()),
            false => Err(format!("by workers {legs:?}\n came to {seen:?}\n not to {expected:?}")),
        }
    }

    /// A frame that is dropped for what it is.
    fn flawed(
        &mut self,
        side: Side,
        packet: &Packet,
        flaw: Flaw,
        worker: usize,
    ) -> Result<(), String> {
        let mut bytes = frame(side, &packet.bytes());
        let v4 = packet.source.is_ipv4();
        let reason = match flaw {
            Flaw::HeaderSum if v4 => {
                bytes[24] ^= 1;
                "bad_checksum"
            }
            Flaw::Option if v4 => {
                let mut header = packet.bytes();
                header.splice(20..20, [7, 7, 4, 0, 0, 0, 0, 0]);
                header[0] = 0x47;
                header[2..4].copy_from_slice(&(packet.bytes().len() as u16 + 8).to_be_bytes());
                header[10..12].fill(0);
                let sum = header[..28]
                    .chunks(2)
                    .fold(0, |sum: u32, pair| sum + (u32::from(pair[0]) << 8 | u32::from(pair[1])));
                let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes = frame(side, &header);
                "ip_option"
            }
            Flaw::Length => {
                bytes.pop();
                "malformed"
            }
            Flaw::Offload => {
                let seen = self.rig.give_super_packet(self.clock(), side, &bytes, worker)?;
                let expected = Expected::dropped("unsupported_offload");
                return self.compare(&expected, seen);
            }
            Flaw::Mac | Flaw::HeaderSum | Flaw::Option => {
                bytes[5] ^= 0x40;
                "not_for_us"
            }
        };
        let seen = self.rig.give(self.clock(), side, &bytes, worker % self.rig.workers())?;
        self.compare(&Expected::dropped(reason), seen)
    }

    /// What is due, and who has ended by it.
    pub(crate) fn poll(&mut self) -> Result<(), String> {
        let mut sent: Vec<_> = self.rig.poll(self.clock())?.into_iter().map(plain).collect();
        for told in self.model.tell_unsolicited() {
            let at = sent.iter().position(|one| *one == told);
            sent.remove(at.ok_or_else(|| format!("not said: {told:?}"))?);
        }
        sent.iter().try_for_each(|one| self.model.asked(one))?;
        if self.rig.ended() == self.ended {
            self.model.recheck_all();
            return Ok(());
        }
        let shown = self.rig.sessions(self.clock());
        let lives = |session: &Session| shown.iter().any(|view| is_same(&view.1, session));
        let mut at = 0;
        while at < self.model.sessions.len() {
            let session = &self.model.sessions[at];
            if lives(session) || self.model.may_end(session).is_err() {
                at += 1;
            } else {
                self.model.end(at);
            }
        }
        self.model.recheck_all();
        let gone = self.model.sessions.iter().find(|session| !lives(session));
        gone.map_or(Ok(()), |session| self.model.may_end(session))?;
        self.ended = self.rig.ended();
        Ok(())
    }

    /// What must hold between two steps.
    fn check(&mut self) -> Result<(), String> {
        self.rig.check_balance()?;
        let (sessions, mappings, leases) = self.rig.occupancy();
        let expected = (self.model.sessions.len(), self.model.mappings.len());
        if (sessions, mappings) != expected {
            let which = self.compare_tables().err().unwrap_or_default();
            return Err(format!(
                "{sessions} sessions, {mappings} mappings, not {expected:?}: {which}"
            ));
        }
        if leases != mappings {
            return Err(format!("a lease is lost: {leases} of {mappings} mappings"));
        }
        self.model.sessions.iter().try_for_each(|session| self.model.check_age(session))?;
        if self.steps.is_multiple_of(8) {
            self.compare_tables()?;
            self.account()?;
        }
        if self.steps.is_multiple_of(64) {
            self.reach()?;
        }
        Ok(())
    }

    /// Sessions and mappings are those of the model, no more and no less, and no outside tuple is there
    /// twice.
    fn compare_tables(&self) -> Result<(), String> {
        let mut shown = self.rig.sessions(self.clock());
        let mut tuples: Vec<_> =
            shown.iter().map(|(_, v)| (v.protocol.0, v.outside, v.remote)).collect();
        tuples.sort_unstable();
        if let Some(pair) = tuples.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("{:?} belongs to two flows", pair[0]));
        }
        for session in &self.model.sessions {
            let same = |view: &(usize, SessionView)| is_same(&view.1, session);
            let Some(at) = shown.iter().position(same) else {
                return Err(format!("not in the table: {session:?}"));
            };
            let (worker, view) = shown.swap_remove(at);
            let rule = self.model.is_current(session) && view.rule != session.rule;
            let (forward, reverse) = (view.forward.packets, view.reverse.packets);
            let idle = view.idle == self.model.now - session.last || self.rig.fault.is_some();
            if worker != session.worker
                || rule
                || !idle
                || view.state != session.state.name(session.protocol)
                || [forward, reverse] != session.packets
                || view.begun_inside != (session.began == Way::Forward)
            {
                return Err(format!("worker {worker} has {view:?}, not {session:?}"));
            }
        }
        let mut mappings: Vec<_> = self.rig.mappings().into_iter().collect();
        for mapping in &self.model.mappings {
            let users = self.model.sessions.iter().filter(|s| s.mapping == Some(mapping.id));
            let users = users.count() as u32;
            let same = |(worker, view): &(usize, mooring_engine::view::MappingView)| {
                (*worker, view.protocol.0, view.inside, view.outside, view.sessions)
                    == (mapping.worker, mapping.protocol, mapping.inside, mapping.outside, users)
            };
            let at = mappings.iter().position(same);
            let at = at.ok_or_else(|| format!("not in the table: {mapping:?} of {users}"))?;
            mappings.swap_remove(at);
        }
        Ok(())
    }

    /// After the longest silence nothing is held any more.
    fn end(mut self) -> Result<Tally, String> {
        self.compare_tables()?;
        let longest = self.family.specs.iter().flat_map(|spec| spec.timeouts).max();
        // Once more for those that are asked before they end; then what rests has its time.
        for wait in [longest, longest, Some(LONGEST_REST)] {
            self.model.now += wait.unwrap_or(0) * 1000 + 2_000;
            self.poll()?;
            self.check()?;
            self.account()?;
        }
        match (self.rig.occupancy(), self.rig.neighbour_uses()) {
            ((0, 0, 0), 0) => Ok(self.rig.tally()),
            left => Err(format!("left behind: {left:?}")),
        }
    }

    /// The time that the engine is told.
    pub(crate) fn clock(&self) -> u64 {
        self.rig.fault.as_ref().map_or(self.model.now, |fault| fault.clock(self.model.now))
    }
}

/// Of what the appliance says itself the identification is its own affair.
pub(crate) fn plain((side, mut packet): (Side, Packet)) -> (Side, Packet) {
    if matches!(packet.body, Body::Error { .. }) {
        (packet.identification, packet.whole) = (0, packet.source.is_ipv4());
    }
    (side, packet)
}

fn is_same(view: &SessionView, session: &Session) -> bool {
    (view.protocol.0, view.inside, view.outside, view.remote)
        == (session.protocol, session.inside, session.outside, session.remote)
}

/// Seconds that a port or a block rests, at most.
const LONGEST_REST: u64 = 120;
/// Steps from a beginning to an end.
const SEQUENCE: usize = 2_000;

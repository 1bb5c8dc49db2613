//! The engines under test, driven as the appliance drives them: packets come to any worker, are handed
//! over once or twice, and what the outboxes hold leaves.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use mooring_engine::explain::{Asked, Explanation};
use mooring_engine::view::{MappingView, PoolUsage, SessionView};
use mooring_engine::{Engine, Link, Outbox, Share, Stage, Verdict, WorkerId};
use mooring_packet::offload::GsoKind;
use mooring_packet::{Batch, BufferPool, Offload, Packet as Window};
use mooring_policy::{Generation, InterfaceId, Policy, load};
use mooring_session::Tick;
use mooring_wire::Mac;

use crate::faults::Fault;
use crate::large::Given;
use crate::model::Seen;
use crate::packet::{Body, Packet, key_of_quote};
use crate::spec::{Action, Net, Side, Spec, side_of};
use crate::together::Twin;

pub(crate) use self::tally::Tally;

mod tally;
mod words;

pub(crate) struct Rig {
    units: Vec<Unit>,
    generation: u32,
    /// Remotes that may see inside addresses: of a rule that translates nothing.
    bypassed: Vec<Net>,
    /// Wrong on purpose.
    pub(crate) fault: Option<Fault>,
    /// Another worker that does the same, and what it has not done yet.
    twin: Option<Twin>,
}

/// One worker.
pub(crate) struct Unit {
    pub(crate) engine: Engine,
    pub(crate) outbox: Outbox,
    walked: u64,
    left_at_once: u64,
    /// Dropped after they had waited.
    waited_in_vain: u64,
}

/// What was seen of a piece, and of those that it lets go.
#[derive(Debug, Default)]
pub(crate) struct Pieced {
    pub(crate) legs: Vec<usize>,
    pub(crate) dropped: Vec<&'static str>,
    pub(crate) held: usize,
    /// Packets as they left.
    pub(crate) sent: Vec<(Side, Vec<u8>)>,
}

impl Rig {
    pub(crate) fn new(spec: &Spec, workers: usize, seed: u64) -> Self {
        let policy = compile(spec);
        let share = |worker| Share::new(worker as u8, workers as u8).expect("one of them");
        let mut seeds = [0; 32];
        seeds[..8].copy_from_slice(&seed.to_be_bytes());
        let unit = |worker| {
            let policy = Arc::clone(&policy);
            let mut engine =
                Engine::for_worker(share(worker), policy, Generation(1), &LINKS, seeds);
            offline(&mut engine);
            let outbox = Outbox::new(BufferPool::new(BUFFERS.0, BUFFERS.1));
            Unit { engine, outbox, walked: 0, left_at_once: 0, waited_in_vain: 0 }
        };
        let units = (0..workers).map(unit).collect();
        Self { units, generation: 1, bypassed: bypassed(spec), fault: None, twin: None }
    }

    pub(crate) fn workers(&self) -> usize {
        self.units.len()
    }

    /// A frame comes in by `side`, to worker `at`.
    pub(crate) fn give(
        &mut self,
        now: u64,
        side: Side,
        frame: &[u8],
        at: usize,
    ) -> Result<Seen, String> {
        let mut seen = Seen::default();
        let mut legs = VecDeque::from([(at, None, frame.to_vec())]);
        while let Some((at, handed, mut frame)) = legs.pop_front() {
            seen.legs.push((at, handed == Some(true)));
            if seen.legs.len() > MOST_LEGS {
                return Err(format!("handed over too often: {:?}", seen.legs));
            }
            let verdict = self.walk(at, now, side, (handed, &mut frame))?;
            match verdict {
                Verdict::Tx(egress) => seen.sent.push(sent(egress, &frame)?),
                Verdict::HandOver(WorkerId(to)) if handed.is_none() => {
                    legs.push_back((to.into(), Some(false), frame));
                }
                Verdict::HandOverHalf(WorkerId(to)) if handed != Some(true) => {
                    legs.push_back((to.into(), Some(true), frame));
                }
                Verdict::Drop(reason) => seen.dropped = Some(reason.name()),
                Verdict::Cut => {}
                other => return Err(format!("an unexpected verdict: {other:?}")),
            }
            let words = self.units[at].words();
            seen.sent.extend(self.ready(at)?);
            for (to, stage, frame) in words {
                seen.sent.extend(self.hear((to, stage), now, side, frame)?);
            }
        }
        if let Some(fault) = &mut self.fault {
            fault.corrupt(&mut seen);
        }
        for (_, packet) in seen.sent.iter().filter(|sent| sent.0 == Side::Outside) {
            if let Some(address) = shown(packet, &self.bypassed) {
                return Err(format!("{address} is shown outside: {packet:?}"));
            }
        }
        Ok(seen)
    }

    /// A piece of a datagram comes in by `side`, to worker `at`. It may be handed over twice, and others
    /// that have waited for it behind it.
    pub(crate) fn give_piece(
        &mut self,
        now: u64,
        side: Side,
        frame: &[u8],
        at: usize,
    ) -> Result<Pieced, String> {
        let mut seen = Pieced::default();
        let mut legs = VecDeque::from([(at, None, frame.to_vec())]);
        while let Some((at, handed, mut frame)) = legs.pop_front() {
            seen.legs.push(at);
            if seen.legs.len() > 30 {
                return Err(format!("handed over too often: {:?}", seen.legs));
            }
            match self.units[at].walk(now, (side, &mut { Offload::NONE }), handed, &mut frame)? {
                Verdict::Tx(egress) => seen.sent.push(unframed(egress, &frame)?),
                Verdict::HandOver(WorkerId(to)) => legs.push_back((to.into(), Some(false), frame)),
                Verdict::Drop(reason) => seen.dropped.push(reason.name()),
                Verdict::Hold => seen.held += 1,
                other => return Err(format!("an unexpected verdict: {other:?}")),
            }
            let outbox = &mut self.units[at].outbox;
            for (over, waited) in outbox.handed() {
                let half = over.stage == Stage::Half;
                legs.push_back((over.to.0.into(), Some(half), waited.bytes().to_vec()));
            }
            for link in [InterfaceId(0), InterfaceId(1)] {
                for packet in outbox.ready_for(link) {
                    seen.sent.push(unframed(link, packet.bytes())?);
                }
            }
            outbox.clear();
        }
        Ok(seen)
    }

    /// A frame comes in that a device would cut, with a checksum that it would not complete.
    pub(crate) fn give_super_packet(
        &mut self,
        now: u64,
        side: Side,
        frame: &[u8],
        at: usize,
    ) -> Result<Seen, String> {
        let mut offload = Offload::NONE.with_gso(GsoKind::UdpL4, 500, 42);
        let at = at % self.units.len();
        match self.units[at].walk(now, (side, &mut offload), None, &mut frame.to_vec())? {
            Verdict::Drop(reason) => Ok(Seen { dropped: Some(reason.name()), ..Seen::default() }),
            other => Err(format!("an unexpected verdict: {other:?}")),
        }
    }

    /// A packet that is longer than others comes in, and perhaps a device has work left for it.
    pub(crate) fn give_large(
        &mut self,
        now: u64,
        (side, offload): (Side, Offload),
        frame: &[u8],
        at: usize,
    ) -> Result<Given, String> {
        let (mut seen, mut left) = Given::default();
        let mut legs = VecDeque::from([(at, None, frame.to_vec(), offload)]);
        while let Some((at, handed, mut frame, mut offload)) = legs.pop_front() {
            seen.legs.push((at, false));
            match self.units[at].walk(now, (side, &mut offload), handed, &mut frame)? {
                Verdict::Tx(egress) => {
                    let (side, bytes) = unframed(egress, &frame)?;
                    left.push((side, bytes, offload));
                }
                Verdict::HandOver(WorkerId(to)) if handed.is_none() => {
                    legs.push_back((to.into(), Some(false), frame, offload));
                }
                Verdict::Drop(reason) => seen.dropped = Some(reason.name()),
                Verdict::Cut => {}
                other => return Err(format!("an unexpected verdict: {other:?}")),
            }
            for link in [InterfaceId(0), InterfaceId(1)] {
                for packet in self.units[at].outbox.ready_for(link) {
                    let (side, bytes) = unframed(link, packet.bytes())?;
                    left.push((side, bytes, Offload::NONE));
                }
            }
            self.units[at].outbox.clear();
        }
        if let Some(fault) = &mut self.fault {
            fault.lose_a_piece(&mut left);
        }
        Ok((seen, left))
    }

    /// Does all that is due. What is sent meanwhile is nobody's answer.
    pub(crate) fn poll(&mut self, now: u64) -> Result<Vec<(Side, Packet)>, String> {
        let mut sent = Vec::new();
        for unit in &mut self.units {
            while unit.poll(now) {
                sent.extend(unit.ready()?);
            }
            sent.extend(unit.ready()?);
        }
        if let Some(twin) = &mut self.twin {
            twin.poll(now, &sent)?;
        }
        if let Some(fault) = &self.fault {
            fault.hush(&mut sent);
        }
        Ok(sent)
    }

    pub(crate) fn reload(&mut self, now: u64, spec: &Spec) {
        let (policy, generation) = self.compile(spec);
        let take_up = |unit: &mut Unit| unit.take_up(now, &policy, generation);
        self.units.iter_mut().chain(self.twin.as_mut().map(Twin::unit)).for_each(take_up);
        for unit in self.units.iter_mut().chain(self.twin.as_mut().map(Twin::unit)) {
            unit.engine.all_follow(Generation(generation));
        }
    }

    /// A policy for the workers, and its generation.
    pub(crate) fn compile(&mut self, spec: &Spec) -> (Arc<Policy>, u32) {
        self.bypassed.extend(bypassed(spec));
        self.generation += 1;
        (compile(spec), self.generation)
    }

    /// One worker takes a policy up; the others may have another.
    pub(crate) fn take_up(&mut self, at: usize, now: u64, policy: &Arc<Policy>, generation: u32) {
        self.units[at].take_up(now, policy, generation);
    }

    /// One worker hears that all have the policy.
    pub(crate) fn all_follow(&mut self, at: usize, generation: u32) {
        self.units[at].engine.all_follow(Generation(generation));
    }

    pub(crate) fn set_kernel_addresses(&mut self, addresses: &[IpAddr]) {
        for unit in self.units.iter_mut().chain(self.twin.as_mut().map(Twin::unit)) {
            unit.engine.set_kernel_addresses(addresses.to_vec());
        }
    }

    /// Sessions that have ended so far, for whatever reason.
    pub(crate) fn ended(&self) -> u64 {
        let counters = self.units.iter().map(|unit| &unit.engine.counters);
        counters.map(|counters| counters.sessions_expired + counters.sessions_ended).sum()
    }

    /// Sessions of all workers.
    pub(crate) fn sessions(&self, now: u64) -> Vec<(usize, SessionView)> {
        let mut all = Vec::new();
        for (at, unit) in self.units.iter().enumerate() {
            let mut next = Some(0);
            while let Some(start) = next {
                let (page, following) = unit.engine.sessions(Tick::from_millis(now), start);
                all.extend(page.into_iter().map(|view| (at, view)));
                next = following;
            }
        }
        if let Some(fault) = &self.fault {
            fault.hide(&mut all);
        }
        all
    }

    /// Mappings of all workers.
    pub(crate) fn mappings(&self) -> Vec<(usize, MappingView)> {
        let mut all = Vec::new();
        for (at, unit) in self.units.iter().enumerate() {
            let mut next = Some(0);
            while let Some(start) = next {
                let (page, following) = unit.engine.mappings(start);
                all.extend(page.into_iter().map(|view| (at, view)));
                next = following;
            }
        }
        all
    }

    /// Sessions, mappings, leased ports of all workers.
    pub(crate) fn occupancy(&self) -> (usize, usize, usize) {
        let all = self.units.iter().map(|unit| unit.engine.occupancy());
        let sum = all.fold((0, 0, 0), |sum, one| {
            (sum.0 + one.sessions, sum.1 + one.mappings, sum.2 + one.leased_ports)
        });
        let lost = usize::from(self.fault.as_ref().is_some_and(Fault::loses_a_lease));
        (sum.0, sum.1, sum.2 + lost)
    }

    /// From now on another worker does the same, and several packets at once where they come so.
    pub(crate) fn with_twin(&mut self, spec: &Spec, seed: u64) {
        let mut twin = Self::new(spec, 1, seed);
        self.twin = twin.units.pop().map(Twin::new);
    }

    /// The packets that follow come to the twin as one batch.
    pub(crate) fn gather(&mut self) {
        self.twin.as_mut().expect("a family with a twin").gather();
    }

    /// Now they do.
    pub(crate) fn come_together(&mut self, now: u64, side: Side) -> Result<(), String> {
        let backwards = self.fault.as_mut().is_some_and(Fault::turns);
        self.twin.as_mut().map_or(Ok(()), |twin| twin.come_together(now, side, backwards))
    }

    fn walk(
        &mut self,
        at: usize,
        now: u64,
        side: Side,
        (handed, frame): (Option<bool>, &mut Vec<u8>),
    ) -> Result<Verdict, String> {
        let before = self.twin.is_some().then(|| frame.clone());
        let verdict = self.units[at].walk(now, (side, &mut { Offload::NONE }), handed, frame)?;
        if let (Some(twin), Some(before)) = (&mut self.twin, before) {
            twin.walk(now, side, before, (verdict, frame))?;
        }
        Ok(verdict)
    }

    fn ready(&mut self, at: usize) -> Result<Vec<(Side, Packet)>, String> {
        let ready = self.units[at].ready()?;
        if let Some(twin) = &mut self.twin {
            twin.ready(&ready)?;
        }
        Ok(ready)
    }

    /// What a worker says of a packet, without walking it.
    pub(crate) fn explain(&self, worker: usize, asked: &Asked) -> Explanation {
        let mut explained = self.units[worker].engine.explain(asked);
        if let Some(fault) = &self.fault {
            fault.forget(asked, &mut explained);
        }
        explained
    }

    /// How much of each pool all workers together use, in the order of the configuration.
    pub(crate) fn pools(&self) -> Vec<PoolUsage> {
        let mut all = self.units[0].engine.pools();
        for unit in &self.units[1..] {
            for (sum, one) in all.iter_mut().zip(unit.engine.pools()) {
                sum.leased += one.leased;
                sum.resting += one.resting;
                sum.blocks_held += one.blocks_held;
                sum.blocks += one.blocks;
            }
        }
        if let (Some(fault), Some(first)) = (&self.fault, all.first_mut()) {
            fault.lose(first);
        }
        all
    }

    /// Packets in = out + dropped by reason + held + ours; every buffer is where it should be.
    pub(crate) fn check_balance(&self) -> Result<(), String> {
        let lost = u64::from(self.fault.as_ref().is_some_and(Fault::loses_a_packet));
        for (at, unit) in self.units.iter().enumerate() {
            let counters = &unit.engine.counters;
            let accounted = unit.left_at_once
                + counters.local
                + counters.held
                + counters.cut
                + counters.served
                + counters.handed_over
                + unit.dropped()
                - unit.waited_in_vain;
            if accounted != unit.walked + lost {
                return Err(format!("worker {at} walked {}, accounted {accounted}", unit.walked));
            }
            let ended = counters.sessions_expired + counters.sessions_ended;
            let live = unit.engine.occupancy().sessions as u64;
            if counters.sessions_created != ended + live {
                return Err(format!("worker {at}: sessions begun, ended and live do not add up"));
            }
            if unit.outbox.free() != BUFFERS {
                return Err(format!("worker {at}: buffers {:?}", unit.outbox.free()));
            }
        }
        Ok(())
    }

    /// Uses of neighbours that no session has any more, once there is none.
    pub(crate) fn neighbour_uses(&self) -> u32 {
        let all = self.units.iter().flat_map(|unit| unit.engine.neighbours().entries());
        all.map(|entry| entry.users).sum()
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for unit in &self.units {
            let counters = &unit.engine.counters;
            tally.add(&Tally {
                drops: counters.drops,
                events: counters.events,
                translated: counters.translated,
                handed_over: counters.handed_over,
                originated: counters.originated,
                expired: counters.sessions_expired,
                ended: counters.sessions_ended,
            });
        }
        tally
    }
}

impl Unit {
    pub(crate) fn walk(
        &mut self,
        now: u64,
        (side, offload): (Side, &mut Offload),
        handed: Option<bool>,
        frame: &mut Vec<u8>,
    ) -> Result<Verdict, String> {
        let before = self.dropped();
        let len = frame.len();
        let mut batch = Batch::new();
        let window = Window::new(frame, 0, len, *offload);
        batch.push(window).map_err(|_| "a batch has room for one")?;
        let (now, ingress) = (Tick::from_millis(now), InterfaceId(side as u8));
        let verdicts = match handed {
            None => self.engine.process(now, ingress, &mut batch, &mut self.outbox),
            Some(half) => {
                self.engine.process_handed(now, (ingress, half), &mut batch, &mut self.outbox)
            }
        };
        let len = batch.packets()[0].len();
        *offload = batch.packets()[0].offload;
        drop(batch);
        frame.truncate(len);
        let [verdict] = verdicts[..] else { return Err("not one verdict".to_owned()) };
        self.walked += 1;
        self.left_at_once += u64::from(matches!(verdict, Verdict::Tx(_)));
        let dropped = u64::from(matches!(verdict, Verdict::Drop(_)));
        self.waited_in_vain += self.dropped() - before - dropped;
        Ok(verdict)
    }

    pub(crate) fn poll(&mut self, now: u64) -> bool {
        let before = self.dropped();
        let more = self.engine.poll(Tick::from_millis(now), &mut self.outbox);
        self.waited_in_vain += self.dropped() - before;
        more
    }

    fn take_up(&mut self, now: u64, policy: &Arc<Policy>, generation: u32) {
        let (generation, now) = (Generation(generation), Tick::from_millis(now));
        self.engine.set_policy(Arc::clone(policy), generation, &LINKS, now, &mut self.outbox);
    }

    /// What is ready to leave.
    pub(crate) fn ready(&mut self) -> Result<Vec<(Side, Packet)>, String> {
        let mut all = Vec::new();
        for link in [InterfaceId(0), InterfaceId(1)] {
            for packet in self.outbox.ready_for(link) {
                all.push(sent(link, packet.bytes())?);
            }
        }
        self.outbox.clear();
        Ok(all)
    }

    fn dropped(&self) -> u64 {
        self.engine.counters.drops.iter().sum()
    }
}

/// The inside address that a packet shows to whoever is outside, in its header or in what it quotes
/// (RFC 5508 REQ-4 and REQ-5).
pub(crate) fn shown(packet: &Packet, bypassed: &[Net]) -> Option<IpAddr> {
    // A ping from outside that says it comes from inside is answered to where it says, and to nobody new.
    let mut all = vec![packet.source];
    if let Body::Error { quote, .. } = &packet.body
        && let Ok(key) = key_of_quote(quote)
    {
        all.extend([key.source.0, key.destination.0]);
    }
    let may = |address: &IpAddr| bypassed.iter().any(|net| net.has(*address));
    let ends = [packet.source, packet.destination];
    let inside = |address: &IpAddr| side_of(*address) == Some(Side::Inside);
    all.iter().copied().find(inside).filter(|_| !all.iter().chain(&ends).any(may))
}

fn bypassed(spec: &Spec) -> Vec<Net> {
    let bypass = spec.rules.iter().filter(|rule| rule.action == Action::Bypass);
    bypass.filter_map(|rule| rule.destination).collect()
}

/// From now on every next hop is known.
pub(crate) fn offline(engine: &mut Engine) {
    engine.go_offline(&PEERS.map(|mac| Some(Mac(mac))));
}

/// The frame around a packet that comes in by `side`.
pub(crate) fn frame(side: Side, packet: &[u8]) -> Vec<u8> {
    let link = side as usize;
    let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&LINKS[link].mac.0[..], &PEERS[link], &kind, packet].concat()
}

/// The packet in a frame that left by `egress`.
fn sent(egress: InterfaceId, frame: &[u8]) -> Result<(Side, Packet), String> {
    let (side, packet) = unframed(egress, frame)?;
    let packet = Packet::read(&packet).map_err(|why| format!("{why}: {frame:02x?}"))?;
    Ok((side, packet))
}

/// The bytes of it.
fn unframed(egress: InterfaceId, frame: &[u8]) -> Result<(Side, Vec<u8>), String> {
    let side = if egress == InterfaceId(0) { Side::Inside } else { Side::Outside };
    let head = [&PEERS[usize::from(egress.0)][..], &LINKS[usize::from(egress.0)].mac.0].concat();
    if frame.len() < 14 || frame[..12] != head {
        return Err(format!("from or to a wrong MAC address: {frame:02x?}"));
    }
    Ok((side, frame[14..].to_vec()))
}

/// The policy that the engine makes of a configuration.
fn compile(spec: &Spec) -> Arc<Policy> {
    let spec = spec.told.as_deref().unwrap_or(spec);
    let text = spec.toml();
    let loaded =
        load(&text).unwrap_or_else(|problems| panic!("{text}\n{}", problems.render("spec")));
    let mut policy = loaded.policy;
    // A file cannot say so; a control plane that gives and takes addresses can.
    for pool in &mut policy.pools {
        if spec.pool(&pool.name).is_some_and(|pool| pool.empty) {
            pool.addresses.clear();
        }
    }
    Arc::new(policy)
}

pub(crate) const LINKS: [Link; 2] = [
    Link { mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 },
    Link { mac: Mac([2, 0, 0, 0, 0, 2]), mtu: 1400 },
];
const PEERS: [[u8; 6]; 2] = [[2, 0xff, 0, 0, 0, 1], [2, 0xff, 0, 0, 0, 2]];
const BUFFERS: (usize, usize) = (32, 2);
/// A packet is handed to its owner, and half of a hairpin to another.
const MOST_LEGS: usize = 3;

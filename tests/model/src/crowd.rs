//! A reload that changes overlapping pools under 300,000 live sessions: the story of
//! githedgehog/dataplane#1848, where one public tuple was handed to two flows and an answer to a wrong
//! tenant. Two pools of each family share their addresses; they grow, shrink, pass ports on, move and
//! change their kind, while packets of all sessions pass and new hosts begin. A quarter of the sessions
//! each is UDP and TCP, of IPv4 and IPv6.

mod scenarios;
mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mooring_engine::{Engine, Outbox, Share, Verdict, WorkerId};
use mooring_packet::{Batch, BufferPool, Offload, Packet as Window};
use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::Tick;

use self::scenarios::{HOSTS, host, pool_of, remote};
use crate::packet::{ACK, End, SYN, TCP, UDP};
use crate::random::Random;
use crate::rig::{LINKS, frame, offline};
use crate::spec::{Side, Spec, ip};

/// 0 of the sessions that both policies translate the same way are disturbed, 0 outside tuples belong to
/// two flows at any time, 0 packets come to the wrong host.
#[test]
fn a_reload_under_300000_sessions_disturbs_nobody() {
    reload_all(1, |name| name != "they swap addresses");
}

/// The same of several workers, which take the policies up one after the other while packets pass and
/// flows begin.
#[test]
fn a_reload_under_300000_sessions_of_three_workers_disturbs_nobody() {
    let some = ["base", "both shrink", "they swap addresses", "one changes its kind"];
    reload_all(3, |name| some.contains(&name) || name == "so does the other");
}

fn reload_all(workers: u8, which: impl Fn(&str) -> bool) {
    let mut specs = scenarios::all();
    specs.retain(|(name, _)| which(name));
    let mut crowd = Crowd::new(&specs[0].1, workers);
    crowd.begin_all();
    crowd.pass_all();
    println!(
        "reload                     live the same disturbed duplicates misdelivered  polls ended/poll"
    );
    let mut ended = 0;
    for (name, spec) in &specs[1..] {
        let figures = crowd.reload(spec);
        println!("{name:<22} {figures}");
        assert!(figures.live >= FLOWS, "{name}");
        assert!(figures.same >= FLOWS / 5, "of too few could anything be disturbed: {name}");
        assert_eq!(figures.disturbed, 0, "{name}");
        assert_eq!((figures.duplicates, figures.misdelivered), (0, 0), "{name}");
        let workers = u64::from(workers);
        assert!(figures.most_ended <= RECORDS_PER_POLL * workers, "sweeps are bounded");
        assert!(figures.polls >= FLOWS / (RECORDS_PER_POLL * workers) as usize);
        ended += figures.live - figures.same;
    }
    assert!(ended > FLOWS / 2, "the reloads have ended something");
    let late = crowd.flows.len() - FLOWS;
    println!("{late} flows began late, {} while not all workers had the policy", crowd.hasty);
    assert!(late > 1_000 && (workers == 1 || crowd.hasty > 100), "or nothing is shown");
}

/// What one reload has done.
struct Figures {
    live: usize,
    same: usize,
    disturbed: usize,
    duplicates: usize,
    misdelivered: usize,
    polls: usize,
    most_ended: u64,
}

struct Crowd {
    workers: Vec<(Engine, Outbox)>,
    /// Who receives the next batch.
    turn: usize,
    /// How many workers have the policy of now; the others have the one before.
    follow: usize,
    spec: Spec,
    before: Spec,
    generation: u32,
    /// The crowd, and behind it flows that came late, while it was swept.
    flows: Vec<Flow>,
    /// By outside tuple, the inside end of every flow that is wanted.
    owners: HashMap<(u8, End, End), End>,
    random: Random,
    misdelivered: usize,
    disturbed: usize,
    /// Flows that began while some worker had not followed.
    hasty: usize,
}

#[derive(Clone, Copy)]
struct Flow {
    protocol: u8,
    inside: End,
    remote: End,
    outside: End,
    worker: usize,
    /// Translated by the endpoint-independent mapping of its inside end.
    mapped: bool,
    /// The policy of now translates it as it is.
    wanted: bool,
}

/// Where a packet has gone, from which worker, and its ends then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gone {
    worker: usize,
    side: Side,
    protocol: u8,
    from: End,
    to: End,
}

impl Crowd {
    fn new(spec: &Spec, workers: u8) -> Self {
        let policy = Arc::new(load(&spec.toml()).expect("a configuration").policy);
        let worker = |number| {
            let share = Share::new(number, workers).expect("one of them");
            let policy = Arc::clone(&policy);
            let mut engine = Engine::for_worker(share, policy, Generation(1), &LINKS, [5; 32]);
            offline(&mut engine);
            (engine, Outbox::new(BufferPool::new(600, 1)))
        };
        let flow = |n: usize| {
            let port = n / HOSTS;
            let v6 = port % 4 >= 2;
            Flow {
                protocol: [UDP, TCP][port % 2],
                inside: (host(v6, n % HOSTS), 2000 + port as u16),
                remote: remote(v6, n),
                outside: (ip("0.0.0.0"), 0),
                worker: 0,
                mapped: false,
                wanted: false,
            }
        };
        Self {
            workers: (0..workers).map(worker).collect(),
            turn: 0,
            follow: workers.into(),
            spec: spec.clone(),
            before: spec.clone(),
            generation: 1,
            flows: (0..FLOWS).map(flow).collect(),
            owners: HashMap::new(),
            random: Random::new(1848),
            misdelivered: 0,
            disturbed: 0,
            hasty: 0,
        }
    }

    /// Begins every flow that is not there.
    fn begin_all(&mut self) {
        let all = 0..self.flows.len();
        let missing: Vec<usize> = all.filter(|at| !self.flows[*at].wanted).collect();
        for part in missing.chunks(256) {
            let packets: Vec<_> = part.iter().map(|at| self.flows[*at].out(SYN)).collect();
            let gone = self.give(Side::Inside, &packets);
            for (at, gone) in part.iter().zip(gone) {
                assert!(self.begun(*at, gone), "there are ports enough");
            }
            let tcp = part.iter().filter(|at| self.flows[**at].protocol == TCP);
            let part: Vec<usize> = tcp.copied().collect();
            let packets: Vec<_> = part.iter().map(|at| self.flows[*at].back(SYN | ACK)).collect();
            for (at, gone) in part.iter().zip(self.give(Side::Outside, &packets)) {
                let inside = self.flows[*at].inside;
                assert_eq!(gone.map(|gone| gone.to), Some(inside), "it is answered");
            }
        }
    }

    /// Notes how a flow has begun, by its first packet; false if it has not.
    fn begun(&mut self, at: usize, gone: Option<Gone>) -> bool {
        let Some(Gone { worker, side, protocol, from: outside, to }) = gone else { return false };
        let flow = self.flows[at];
        assert_eq!((side, protocol, to), (Side::Outside, flow.protocol, flow.remote));
        let spec = if worker < self.follow { &self.spec } else { &self.before };
        let pool = pool_of(spec, flow.inside.0);
        assert!(spec.has_end(pool.name, protocol, outside), "{outside:?} is not of {}", pool.name);
        let flow = Flow { outside, worker, mapped: !pool.endpoint_dependent, ..flow };
        let wanted = self.is_same(&flow);
        self.flows[at] = Flow { wanted, ..flow };
        if wanted {
            let taken = self.owners.insert(flow.tuple(), flow.inside);
            assert_eq!(taken, None, "{:?} is a flow's that goes on", flow.tuple());
        }
        true
    }

    /// Whether the policy of now translates a flow as it is.
    fn is_same(&self, flow: &Flow) -> bool {
        let pool = pool_of(&self.spec, flow.inside.0);
        pool.endpoint_dependent != flow.mapped
            && self.spec.has_end(pool.name, flow.protocol, flow.outside)
    }

    fn reload(&mut self, spec: &Spec) -> Figures {
        (self.misdelivered, self.disturbed) = (0, 0);
        let live = self.sessions();
        self.before = std::mem::replace(&mut self.spec, spec.clone());
        self.owners.clear();
        for at in 0..self.flows.len() {
            let flow = self.flows[at];
            self.flows[at].wanted = self.is_same(&flow);
            if self.flows[at].wanted {
                self.owners.insert(flow.tuple(), flow.inside);
            }
        }
        let (same, crowd) = (self.owners.len(), self.flows.len());
        let mut duplicates = self.follow_one_by_one(crowd);
        let (mut polls, mut most_ended) = (0, 0);
        loop {
            let before = self.ended();
            let polled = self.workers.iter_mut().map(|(engine, outbox)| engine.poll(NOW, outbox));
            let more = polled.fold(false, |any, more| any | more);
            most_ended = most_ended.max(self.ended() - before);
            polls += 1;
            if polls % 2_000 == 0 {
                duplicates += self.duplicates();
            }
            self.pass_some(6, crowd);
            if !more {
                break;
            }
        }
        self.pass_all();
        assert_eq!(self.sessions(), self.owners.len(), "what is not wanted has ended");
        duplicates += self.duplicates();
        self.begin_all();
        let Self { misdelivered, disturbed, .. } = *self;
        Figures { live, same, disturbed, duplicates, misdelivered, polls, most_ended }
    }

    /// The workers take the policy up, and between any two of them packets pass and flows begin. Tuples
    /// that belong to two flows then.
    fn follow_one_by_one(&mut self, crowd: usize) -> usize {
        let policy = Arc::new(load(&self.spec.toml()).expect("a configuration").policy);
        self.generation += 1;
        let generation = Generation(self.generation);
        let mut duplicates = 0;
        for at in 0..self.workers.len() {
            let (engine, outbox) = &mut self.workers[at];
            engine.set_policy(Arc::clone(&policy), generation, &LINKS, NOW, outbox);
            self.follow = at + 1;
            let late = self.flows.len();
            for _ in 0..if self.follow < self.workers.len() { 100 } else { 0 } {
                self.pass_some(20, crowd);
            }
            self.hasty += self.flows.len() - late;
            duplicates += self.duplicates();
        }
        self.workers.iter_mut().for_each(|(engine, _)| engine.all_follow(generation));
        duplicates
    }

    fn sessions(&self) -> usize {
        self.workers.iter().map(|(engine, _)| engine.occupancy().sessions).sum()
    }

    fn ended(&self) -> u64 {
        self.workers.iter().map(|(engine, _)| engine.counters.sessions_ended).sum()
    }

    /// Some packets of both ways, and new flows of other hosts, in the midst of it.
    fn pass_some(&mut self, some: usize, before: usize) {
        let some: Vec<usize> = (0..some).map(|_| self.random.below(before)).collect();
        self.pass(&some, true);
        if self.flows.len() < before + LATE && self.random.once_in(2) {
            // A port that none of the crowd has, towards where one of them talks to.
            let like = self.flows[self.random.below(before)];
            let at = self.flows.len();
            let inside = (like.inside.0, (20_000 + at - FLOWS) as u16);
            self.flows.push(Flow { inside, wanted: false, ..like });
            let gone = self.give(Side::Inside, &[self.flows[at].out(SYN)]);
            if !self.begun(at, gone[0]) {
                self.flows.pop();
            }
        }
    }

    /// A packet of each flow, both ways.
    fn pass_all(&mut self) {
        let all: Vec<usize> = (0..self.flows.len()).collect();
        for part in all.chunks(256) {
            self.pass(part, false);
        }
    }

    /// Packets of some flows, both ways. Flows that the policy does not want as they are begin again, or
    /// are silent, once their worker has it; before, they go on.
    fn pass(&mut self, some: &[usize], begin: bool) {
        let inward: Vec<_> = some.iter().map(|at| self.flows[*at].back(ACK)).collect();
        for (at, gone) in some.iter().zip(self.give(Side::Outside, &inward)) {
            let flow = self.flows[*at];
            // Whoever has the tuple now gets it, nobody else.
            let owner = match flow.worker < self.follow {
                true => self.owners.get(&flow.tuple()).copied(),
                false => Some(flow.inside),
            };
            match gone.map(|gone| (gone.side, gone.to)) {
                to if to == owner.map(|inside| (Side::Inside, inside)) => {}
                None => self.disturbed += 1,
                Some(_) => self.misdelivered += 1,
            }
        }
        let mut some = some.to_vec();
        let goes_on = |flow: &Flow, follow: usize| flow.wanted || flow.worker >= follow;
        some.retain(|at| goes_on(&self.flows[*at], self.follow) || begin);
        some.sort_unstable();
        some.dedup();
        let out = |at: &usize| {
            let flow = &self.flows[*at];
            flow.out(if goes_on(flow, self.follow) { ACK } else { SYN })
        };
        let outward: Vec<_> = some.iter().map(out).collect();
        for (at, gone) in some.iter().zip(self.give(Side::Inside, &outward)) {
            let flow = self.flows[*at];
            if !goes_on(&flow, self.follow) {
                self.begun(*at, gone);
                continue;
            }
            let went = gone.map(|gone| (gone.worker, gone.side, gone.from, gone.to));
            if went != Some((flow.worker, Side::Outside, flow.outside, flow.remote)) {
                self.disturbed += 1;
            }
        }
    }

    /// Outside tuples that belong to two sessions, and mapped ends that belong to two hosts.
    fn duplicates(&self) -> usize {
        let (mut tuples, mut mapped, mut twice) = (HashSet::new(), HashMap::new(), 0);
        for (engine, _) in &self.workers {
            let mut next = Some(0);
            while let Some(start) = next {
                let (page, following) = engine.sessions(NOW, start);
                for view in page {
                    let tuple = (view.protocol.0, view.outside, view.remote);
                    twice += usize::from(!tuples.insert(tuple));
                }
                next = following;
            }
            next = Some(0);
            while let Some(start) = next {
                let (page, following) = engine.mappings(start);
                for view in page {
                    let end = (view.protocol.0, view.outside);
                    twice += usize::from(mapped.insert(end, view.inside).is_some());
                }
                next = following;
            }
        }
        twice
    }

    /// Packets as one batch, to each worker in its turn; where each has gone. What is another worker's is
    /// handed over, once.
    fn give(&mut self, side: Side, packets: &[Vec<u8>]) -> Vec<Option<Gone>> {
        let first = self.turn % self.workers.len();
        self.turn += 1;
        let all: Vec<usize> = (0..packets.len()).collect();
        let mut gone = vec![None; packets.len()];
        let handed = self.walk((first, false), side, (packets, &all), &mut gone);
        for to in 0..self.workers.len() {
            let theirs = handed.iter().filter(|(owner, _)| *owner == to).map(|(_, at)| *at);
            let theirs: Vec<usize> = theirs.collect();
            if !theirs.is_empty() {
                let again = self.walk((to, true), side, (packets, &theirs), &mut gone);
                assert_eq!(again, [], "nothing is handed over twice");
            }
        }
        gone
    }

    /// Some of the packets walk at one worker; those that are to be handed over, and to whom.
    fn walk(
        &mut self,
        (worker, handed): (usize, bool),
        side: Side,
        (packets, some): (&[Vec<u8>], &[usize]),
        gone: &mut [Option<Gone>],
    ) -> Vec<(usize, usize)> {
        let mut frames: Vec<_> = some.iter().map(|at| frame(side, &packets[*at])).collect();
        let mut batch = Batch::new();
        for frame in &mut frames {
            let len = frame.len();
            let window = Window::new(frame, 0, len, Offload::NONE);
            assert!(batch.push(window).is_ok(), "a batch has room");
        }
        let ingress = InterfaceId(side as u8);
        let (engine, outbox) = &mut self.workers[worker];
        let verdicts = match handed {
            false => engine.process(NOW, ingress, &mut batch, outbox),
            true => engine.process_handed(NOW, (ingress, false), &mut batch, outbox),
        };
        outbox.clear();
        let mut over = Vec::new();
        for ((verdict, window), at) in verdicts.iter().zip(batch.packets()).zip(some) {
            match verdict {
                Verdict::Tx(egress) => {
                    let (protocol, from, to) = wire::ends(&window.bytes()[14..]);
                    let side = if egress.0 == 0 { Side::Inside } else { Side::Outside };
                    gone[*at] = Some(Gone { worker, side, protocol, from, to });
                }
                Verdict::HandOver(WorkerId(to)) => over.push((usize::from(*to), *at)),
                _ => {}
            }
        }
        over
    }
}

impl Flow {
    /// A packet that goes out.
    fn out(&self, flags: u8) -> Vec<u8> {
        wire::packet(self.protocol, flags, self.inside, self.remote)
    }

    /// The answer.
    fn back(&self, flags: u8) -> Vec<u8> {
        wire::packet(self.protocol, flags, self.remote, self.outside)
    }

    /// What must not be two flows'.
    const fn tuple(&self) -> (u8, End, End) {
        (self.protocol, self.outside, self.remote)
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { live, same, disturbed, duplicates, misdelivered, .. } = self;
        write!(f, "{live:>8} {same:>8} {disturbed:>9} {duplicates:>10} {misdelivered:>12} ")?;
        let Self { polls, most_ended, .. } = self;
        write!(f, "{polls:>6} {most_ended:>10}")
    }
}

const FLOWS: usize = 300_000;
/// Flows that begin during a reload, at most.
const LATE: usize = 2_000;
const NOW: Tick = Tick::from_millis(1_000);
const RECORDS_PER_POLL: u64 = 64;

//! A reload that changes overlapping pools under 300,000 live sessions: the story of
//! githedgehog/dataplane#1848, where one public tuple was handed to two flows and an answer to a wrong
//! tenant. Two pools share their addresses; they grow, shrink, swap their ports, move and change their
//! kind, while packets of all sessions pass and new hosts begin.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mooring_engine::{Engine, Outbox, Verdict};
use mooring_packet::{Batch, BufferPool, Offload, Packet as Window};
use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::Tick;

use crate::packet::{End, UDP, octets, ones_sum};
use crate::random::Random;
use crate::rig::{LINKS, frame, offline};
use crate::spec::{Action, Net, Pool, Rule, Side, Spec, ip};

/// 0 of the sessions that both policies translate the same way are disturbed, 0 outside tuples belong to
/// two flows at any time, 0 packets come to the wrong host.
#[test]
fn a_reload_under_300000_sessions_disturbs_nobody() {
    let specs = scenarios();
    let mut crowd = Crowd::new(&specs[0].1);
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
        assert_eq!(figures.disturbed, 0, "{name}");
        assert_eq!((figures.duplicates, figures.misdelivered), (0, 0), "{name}");
        assert!(figures.most_ended <= RECORDS_PER_POLL, "the sweep is bounded");
        assert!(figures.polls >= FLOWS / RECORDS_PER_POLL as usize);
        ended += figures.live - figures.same;
    }
    assert!(ended > FLOWS, "the reloads have ended something");
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
    engine: Engine,
    outbox: Outbox,
    spec: Spec,
    generation: u32,
    /// The crowd, and behind it flows that came late, while it was swept.
    flows: Vec<Flow>,
    /// By outside tuple, the inside end of every flow that is wanted.
    owners: HashMap<(End, End), End>,
    random: Random,
    misdelivered: usize,
    disturbed: usize,
}

#[derive(Clone, Copy)]
struct Flow {
    inside: End,
    remote: End,
    outside: End,
    /// Translated by the endpoint-independent mapping of its inside end.
    mapped: bool,
    /// The policy of now translates it as it is.
    wanted: bool,
}

/// Where a packet has gone, and its ends then.
type Gone = Option<(Side, End, End)>;

impl Crowd {
    fn new(spec: &Spec) -> Self {
        let policy = Arc::new(load(&spec.toml()).expect("a configuration").policy);
        let mut engine = Engine::new(policy, Generation(1), &LINKS, [5; 32]);
        offline(&mut engine);
        let flow = |n: usize| {
            let (host, port) = (n % HOSTS, n / HOSTS);
            let last = host as u8 + if host < HOSTS / 2 { 2 } else { 129 - (HOSTS / 2) as u8 };
            let remote = Ipv4Addr::new(198, 51, 100, (n % 7) as u8 + 1);
            Flow {
                inside: (IpAddr::from([10, 0, 0, last]), 2000 + port as u16),
                remote: (remote.into(), 53),
                outside: (ip("0.0.0.0"), 0),
                mapped: false,
                wanted: false,
            }
        };
        Self {
            engine,
            outbox: Outbox::new(BufferPool::new(600, 1)),
            spec: spec.clone(),
            generation: 1,
            flows: (0..FLOWS).map(flow).collect(),
            owners: HashMap::new(),
            random: Random::new(1848),
            misdelivered: 0,
            disturbed: 0,
        }
    }

    /// Begins every flow that is not there.
    fn begin_all(&mut self) {
        let all = 0..self.flows.len();
        let missing: Vec<usize> = all.filter(|at| !self.flows[*at].wanted).collect();
        for part in missing.chunks(256) {
            let packets: Vec<_> = part.iter().map(|at| out(&self.flows[*at])).collect();
            let gone = self.give(Side::Inside, &packets);
            for (at, gone) in part.iter().zip(gone) {
                assert!(self.begun(*at, gone), "there are ports enough");
            }
        }
    }

    /// Notes how a flow has begun, by its first packet; false if it has not.
    fn begun(&mut self, at: usize, gone: Gone) -> bool {
        let Some((side, outside, remote)) = gone else { return false };
        let flow = self.flows[at];
        assert_eq!((side, remote), (Side::Outside, flow.remote));
        let pool = self.pool_of(&flow);
        assert!(self.spec.has_end(pool.name, UDP, outside), "{outside:?} is not of {}", pool.name);
        let mapped = !pool.endpoint_dependent;
        self.flows[at] = Flow { outside, mapped, wanted: true, ..flow };
        let taken = self.owners.insert((outside, remote), flow.inside);
        assert_eq!(taken, None, "{outside:?} towards {remote:?} is a flow's that goes on");
        true
    }

    fn pool_of(&self, flow: &Flow) -> &Pool {
        let first = Net::of("10.0.0.0/25").has(flow.inside.0);
        &self.spec.pools[usize::from(!first)]
    }

    /// Whether the policy of now translates a flow as it is.
    fn is_same(&self, flow: &Flow) -> bool {
        let pool = self.pool_of(flow);
        pool.endpoint_dependent != flow.mapped && self.spec.has_end(pool.name, UDP, flow.outside)
    }

    fn reload(&mut self, spec: &Spec) -> Figures {
        let policy = Arc::new(load(&spec.toml()).expect("a configuration").policy);
        self.generation += 1;
        (self.misdelivered, self.disturbed) = (0, 0);
        let live = self.engine.occupancy().sessions;
        let (generation, links) = (Generation(self.generation), &LINKS);
        self.engine.set_policy(policy, generation, links, NOW, &mut self.outbox);
        self.spec = spec.clone();
        self.owners.clear();
        for at in 0..self.flows.len() {
            let flow = self.flows[at];
            self.flows[at].wanted = self.is_same(&flow);
            if self.flows[at].wanted {
                self.owners.insert((flow.outside, flow.remote), flow.inside);
            }
        }
        let (same, crowd) = (self.owners.len(), self.flows.len());
        let mut duplicates = self.duplicates();
        let (mut polls, mut most_ended) = (0, 0);
        loop {
            let before = self.engine.counters.sessions_ended;
            let more = self.engine.poll(NOW, &mut self.outbox);
            most_ended = most_ended.max(self.engine.counters.sessions_ended - before);
            polls += 1;
            if polls % 2_000 == 0 {
                duplicates += self.duplicates();
            }
            self.pass_some(crowd);
            if !more {
                break;
            }
        }
        self.pass_all();
        let sessions = self.engine.occupancy().sessions;
        assert_eq!(sessions, self.owners.len(), "what is not wanted has ended");
        duplicates += self.duplicates();
        self.begin_all();
        let Self { misdelivered, disturbed, .. } = *self;
        Figures { live, same, disturbed, duplicates, misdelivered, polls, most_ended }
    }

    /// Some packets of both ways, and new flows of other hosts, in the midst of the sweep.
    fn pass_some(&mut self, before: usize) {
        let some: Vec<usize> = (0..6).map(|_| self.random.below(before)).collect();
        self.pass(&some, true);
        if self.flows.len() < before + LATE && self.random.once_in(2) {
            // A port that none of the crowd has, towards where one of them talks to.
            let like = self.flows[self.random.below(before)];
            let at = self.flows.len();
            let inside = (like.inside.0, (20_000 + at - FLOWS) as u16);
            self.flows.push(Flow { inside, wanted: false, ..like });
            let gone = self.give(Side::Inside, &[out(&self.flows[at])]);
            self.begun(at, gone[0]);
        }
    }

    /// A packet of each flow, both ways.
    fn pass_all(&mut self) {
        let all: Vec<usize> = (0..self.flows.len()).collect();
        for part in all.chunks(128) {
            self.pass(part, false);
        }
    }

    /// Packets of some flows, both ways. Flows that the policy does not want as they are begin again, or
    /// are silent.
    fn pass(&mut self, some: &[usize], begin: bool) {
        let inward: Vec<_> = some.iter().map(|at| back(&self.flows[*at])).collect();
        for (at, gone) in some.iter().zip(self.give(Side::Outside, &inward)) {
            let flow = self.flows[*at];
            // Whoever has the tuple now gets it, nobody else.
            let owner = self.owners.get(&(flow.outside, flow.remote));
            let to = gone.map(|(side, _, to)| (side, to));
            match owner {
                _ if to == owner.map(|inside| (Side::Inside, *inside)) => {}
                Some(_) if to.is_none() => self.disturbed += 1,
                _ => self.misdelivered += 1,
            }
        }
        let mut some = some.to_vec();
        some.retain(|at| self.flows[*at].wanted || begin);
        some.sort_unstable();
        some.dedup();
        let outward: Vec<_> = some.iter().map(|at| out(&self.flows[*at])).collect();
        for (at, gone) in some.iter().zip(self.give(Side::Inside, &outward)) {
            let flow = self.flows[*at];
            if !flow.wanted {
                self.begun(*at, gone);
            } else if gone != Some((Side::Outside, flow.outside, flow.remote)) {
                self.disturbed += 1;
            }
        }
    }

    /// Outside tuples that belong to two sessions, and mapped ends that belong to two hosts.
    fn duplicates(&self) -> usize {
        let (mut tuples, mut mapped) = (HashSet::new(), HashMap::new());
        let (mut next, mut twice) = (Some(0), 0);
        while let Some(start) = next {
            let (page, following) = self.engine.sessions(NOW, start);
            for view in page {
                twice += usize::from(!tuples.insert((view.outside, view.remote)));
            }
            next = following;
        }
        next = Some(0);
        while let Some(start) = next {
            let (page, following) = self.engine.mappings(start);
            for view in page {
                twice += usize::from(mapped.insert(view.outside, view.inside).is_some());
            }
            next = following;
        }
        twice
    }

    /// Datagrams as one batch; where each has gone.
    fn give(&mut self, side: Side, datagrams: &[[u8; DATAGRAM]]) -> Vec<Gone> {
        let head = frame(side, &[0x40]);
        let mut frames: Vec<_> =
            datagrams.iter().map(|bytes| [&head[..14], bytes].concat()).collect();
        let mut batch = Batch::new();
        for frame in &mut frames {
            let len = frame.len();
            let window = Window::new(frame, 0, len, Offload::NONE);
            assert!(batch.push(window).is_ok(), "a batch has room");
        }
        let ingress = InterfaceId(side as u8);
        let verdicts = self.engine.process(NOW, ingress, &mut batch, &mut self.outbox);
        self.outbox.clear();
        let gone = |(verdict, window): (&Verdict, &Window<'_>)| match verdict {
            Verdict::Tx(egress) => {
                let (from, to) = ends(&window.bytes()[14..]);
                Some((if egress.0 == 0 { Side::Inside } else { Side::Outside }, from, to))
            }
            _ => None,
        };
        verdicts.iter().zip(batch.packets()).map(gone).collect()
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

/// A datagram of a flow that goes out.
fn out(flow: &Flow) -> [u8; DATAGRAM] {
    datagram(flow.inside, flow.remote)
}

/// The answer.
fn back(flow: &Flow) -> [u8; DATAGRAM] {
    datagram(flow.remote, flow.outside)
}

/// A datagram without payload and checksum (RFC 791, RFC 768).
fn datagram(from: End, to: End) -> [u8; DATAGRAM] {
    let mut bytes = [0; DATAGRAM];
    (bytes[0], bytes[3], bytes[8], bytes[9]) = (0x45, DATAGRAM as u8, 64, UDP);
    bytes[12..16].copy_from_slice(&octets(from.0));
    bytes[16..20].copy_from_slice(&octets(to.0));
    bytes[20..22].copy_from_slice(&from.1.to_be_bytes());
    bytes[22..24].copy_from_slice(&to.1.to_be_bytes());
    bytes[25] = 8;
    let sum = !ones_sum(&[&bytes[..20]]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Where a datagram is from and where it goes.
fn ends(bytes: &[u8]) -> (End, End) {
    assert!(bytes.len() == DATAGRAM && ones_sum(&[&bytes[..20]]) == 0xffff, "{bytes:02x?}");
    assert_eq!((bytes[8], &bytes[24..]), (63, &[0, 8, 0, 0][..]), "{bytes:02x?}");
    let address =
        |at: usize| IpAddr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    ((address(12), port(20)), (address(16), port(22)))
}

/// Overlapping pools, and what becomes of them.
fn scenarios() -> Vec<(&'static str, Spec)> {
    let (low, high) = ((1024, 30_000), (30_001, 60_000));
    let first = |(from, to), ports| (from..to, ports, false);
    let second = |(from, to), ports| (from..to, ports, true);
    let all = (64, 96);
    vec![
        ("base", spec(first((64, 80), low), second((64, 80), high))),
        ("both grow", spec(first(all, low), second((64, 80), (30_001, 65_535)))),
        ("both shrink", spec(first((64, 80), (1024, 20_000)), second((64, 72), high))),
        ("they swap ports", spec(first((64, 80), high), second((64, 80), low))),
        ("they swap addresses", spec(first((80, 96), low), second((64, 80), high))),
        ("one moves away", spec(first((80, 96), low), second(all, (60_001, 65_000)))),
        ("they change kinds", spec((64..96, low, true), (64..96, high, false))),
    ]
}

fn spec(
    first: (std::ops::Range<u8>, (u16, u16), bool),
    second: (std::ops::Range<u8>, (u16, u16), bool),
) -> Spec {
    let pool = |name, (last, ports, dependent): (std::ops::Range<u8>, _, _)| {
        let mut pool = Pool::new(name, &[], ports);
        pool.addresses = last.map(|last| IpAddr::from([203, 0, 113, last])).collect();
        pool.endpoint_dependent = dependent;
        pool
    };
    let rule = |name, pool, source| {
        let mut rule = Rule::new(name, Action::SourceNat(pool));
        rule.source = Some(Net::of(source));
        rule
    };
    let mut spec = Spec::new(
        vec![pool("first", first), pool("second", second)],
        vec![rule("first", "first", "10.0.0.0/25"), rule("second", "second", "10.0.0.128/25")],
    );
    (spec.sessions, spec.per_source) = (400_000, 100_000);
    spec.timeouts = [3_600; 5];
    spec
}

/// Bytes of a datagram without payload.
const DATAGRAM: usize = 28;
const FLOWS: usize = 300_000;
const HOSTS: usize = 250;
/// Flows that begin during a sweep, at most.
const LATE: usize = 2_000;
const NOW: Tick = Tick::from_millis(1_000);
const RECORDS_PER_POLL: u64 = 64;

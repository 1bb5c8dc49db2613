//! Translation against a reference that is slow and obviously right: random packets from inside,
//! answers, wrong answers and time, in a world so small that ports, limits and tables run out.

mod reference;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mooring_nat::{Admission, Arrival, Nat, NextHops, Owners, Refusal, Share};
use mooring_policy::{Generation, Hop, InterfaceId, Policy, load};
use mooring_session::{Direction, FlowKey, KeyedHash, NextHopIndex, SessionRef, Tick};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, proptest};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use reference::{CONFIG, Outcome, Packet, Reference};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A packet from inside.
    Send(Packet),
    /// An answer to a session, perhaps a wrong one.
    Answer { session: Index, twist: Twist, syn: bool },
    /// Milliseconds pass.
    Pass(u64),
}

/// What is wrong about an answer.
#[derive(Clone, Copy, Debug)]
enum Twist {
    Nothing,
    RemotePort(u16),
    Remote(u8),
    OutsidePort(u16),
    Protocol(Protocol),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => packet().prop_map(Step::Send),
        4 => (any::<Index>(), twist(), any::<bool>())
            .prop_map(|(session, twist, syn)| Step::Answer { session, twist, syn }),
        2 => (0..20_000u64).prop_map(Step::Pass),
        1 => prop_oneof![0..400_000u64, 0..10_000_000u64].prop_map(Step::Pass),
    ];
    vec(step, 1_000..2_000)
}

/// Hosts, ports and remotes collide often; some sources are forged, some remotes have no route.
fn packet() -> impl Strategy<Value = Packet> {
    let source =
        select(vec!["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.1", "192.0.2.7", "10.9.0.2"]);
    let remotes = vec![
        "198.51.100.1",
        "198.51.100.2",
        "198.51.100.9",
        "203.0.113.10",
        "192.0.2.7",
        "8.8.8.8",
    ];
    let source = prop_oneof![8 => select(vec!["10.0.0.2", "10.0.0.3", "10.0.0.4"]), 1 => source];
    let remote =
        prop_oneof![8 => select(vec!["198.51.100.1", "198.51.100.2"]), 2 => select(remotes)];
    let protocols =
        vec![Protocol::UDP, Protocol::UDP, Protocol::TCP, Protocol::ICMP, Protocol::GRE];
    let ports = (1..4u16, prop_oneof![4 => select(vec![53, 443]), 1 => select(vec![25, 0])]);
    (source, remote, select(protocols), ports, any::<[bool; 2]>()).prop_map(
        |(source, remote, protocol, (port, remote_port), [syn, reply])| {
            let (source_port, destination_port) = match protocol {
                Protocol::ICMP if reply => (0, port),
                Protocol::ICMP => (port, 0),
                Protocol::GRE => (0, 0),
                _ => (port, remote_port),
            };
            let key = FlowKey {
                source: source.parse().expect("an address"),
                destination: remote.parse().expect("an address"),
                source_port,
                destination_port,
                vrf: 0,
                protocol,
                tag: 0,
            };
            Packet { from_inside: true, key, syn }
        },
    )
}

fn twist() -> impl Strategy<Value = Twist> {
    let protocols = vec![Protocol::UDP, Protocol::TCP, Protocol::ICMP, Protocol::GRE];
    prop_oneof![
        4 => select(vec![Twist::Nothing]),
        1 => select(vec![53, 443, 7]).prop_map(Twist::RemotePort),
        1 => (1..4u8).prop_map(Twist::Remote),
        1 => prop_oneof![2000..2003u16, 3000..3004u16].prop_map(Twist::OutsidePort),
        1 => select(protocols).prop_map(Twist::Protocol),
    ]
}

/// The code under test beside its reference.
struct Duel {
    policy: Policy,
    owners: Owners,
    nat: Nat<Ipv4Addr>,
    random: ChaCha8Rng,
    hops: CountedHops,
    reference: Reference,
}

/// Next hops with the number of their users, never forgotten.
#[derive(Default)]
struct CountedHops(Vec<(Hop, u32)>);

impl NextHops for CountedHops {
    fn acquire(&mut self, hop: Hop, _now: Tick) -> Option<NextHopIndex> {
        let known = self.0.iter().position(|(known, _)| *known == hop);
        let at = known.unwrap_or_else(|| {
            self.0.push((hop, 0));
            self.0.len() - 1
        });
        self.0[at].1 += 1;
        Some(NextHopIndex(at as u16))
    }

    fn acquire_for_others(&mut self, hop: Hop, now: Tick) -> Option<NextHopIndex> {
        self.acquire(hop, now)
    }

    fn release(&mut self, hop: NextHopIndex) {
        let users = &mut self.0[usize::from(hop.0)].1;
        *users =
            users.checked_sub(1).expect("a hop is released once for each time it was acquired");
    }
}

impl Duel {
    fn new(policy: &Policy, seed: u64) -> Self {
        Self {
            policy: policy.clone(),
            owners: Owners::new(Arc::new(policy.clone()), Share::ALL),
            nat: Nat::new(
                policy,
                Share::ALL,
                KeyedHash::new([seed, !seed, seed.rotate_left(21), 0x1234_5678]),
            ),
            random: ChaCha8Rng::seed_from_u64(seed),
            hops: CountedHops::default(),
            reference: Reference::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send(packet) => self.arrive(&packet),
            Step::Answer { session, twist, syn } => {
                if !self.reference.sessions.is_empty() {
                    let session = session.get(&self.reference.sessions);
                    let key = twisted(session.reverse(), twist);
                    self.arrive(&Packet { from_inside: false, key, syn });
                }
            }
            Step::Pass(millis) => self.pass(millis),
        }
        self.compare();
    }

    fn now(&self) -> Tick {
        Tick::from_millis(self.reference.now)
    }

    fn arrive(&mut self, packet: &Packet) {
        let expected = self.reference.judge(packet);
        let admitted = self.admit(packet);
        let found = match (admitted, expected) {
            (Ok(found), Outcome::Known(at, direction)) => {
                assert_eq!(found.direction, direction, "{packet:?}");
                self.reference.touch(at, direction, packet.syn);
                found
            }
            (Ok(found), Outcome::Begins(pool)) => self.begun(packet, found, pool),
            (Ok(found), Outcome::BeginsOrNoPort(pool)) => self.begun(packet, found, Some(pool)),
            (Err(Refusal::PortsExhausted), Outcome::BeginsOrNoPort(_)) => return,
            (Err(refusal), _) => {
                assert_eq!(Outcome::Refused(refusal), expected, "{packet:?}");
                return;
            }
            (Ok(_), Outcome::Refused(_)) => panic!("{packet:?} was admitted, not {expected:?}"),
        };
        let now = self.now();
        self.nat.sessions.touch(found, now, 60, flags(packet));
    }

    fn admit(&mut self, packet: &Packet) -> Result<SessionRef, Refusal> {
        let arrival = Arrival {
            ingress: InterfaceId(u8::from(!packet.from_inside)),
            key: packet.key,
            hash: self.nat.sessions.hash(&packet.key),
            flags: flags(packet),
            ttl: 64,
            looked_up: false,
            number: self.random.next_u32(),
            drawn: None,
        };
        let now = self.now();
        let mut admission = Admission {
            policy: &self.policy,
            owners: &self.owners,
            generation: Generation(1),
            now,
            random: &mut self.random,
            hops: &mut self.hops,
        };
        self.nat.admit(&arrival, &mut admission)
    }

    fn begun(&mut self, packet: &Packet, found: SessionRef, pool: Option<usize>) -> SessionRef {
        assert_eq!(found.direction, Direction::Forward);
        let session = self.nat.sessions.session(found.index);
        self.reference.begin(packet, pool, (session.outside, session.outside_port));
        found
    }

    fn pass(&mut self, millis: u64) {
        self.reference.now += millis;
        let (now, mut budget) = (self.now(), u32::MAX);
        while let Some(ended) = self.nat.expire(now, &mut budget, &mut self.hops) {
            self.reference.end(&ended.key(Direction::Forward));
        }
        self.reference.check_age();
    }

    /// Sessions, mappings, leases and next hops are those of the reference, no more and no less.
    fn compare(&self) {
        let Self { nat, reference, .. } = self;
        assert_eq!(nat.sessions.len(), reference.sessions.len());
        assert_eq!(nat.mappings.len(), reference.mappings.len());
        assert_eq!(nat.leased_ports(), reference.mappings.len(), "a lease was lost");
        let mut users: HashMap<IpAddr, u32> = HashMap::new();
        for session in &reference.sessions {
            let forward = nat.sessions.find_key(&session.key).expect("found by its first packet");
            let reverse = nat.sessions.find_key(&session.reverse()).expect("found by its answer");
            assert_eq!(forward.index, reverse.index);
            assert_eq!(
                (forward.direction, reverse.direction),
                (Direction::Forward, Direction::Reverse)
            );
            *users.entry(Ipv4Addr::new(192, 0, 2, 2).into()).or_default() += 1;
            *users.entry(session.key.source.into()).or_default() += 1;
        }
        for (mapping, sessions) in nat.mappings.page(0, u32::MAX).0 {
            let pool = usize::from(mapping.pool);
            let inside = (pool, mapping.protocol, mapping.inside, mapping.inside_port);
            let outside = reference.mappings.get(&inside);
            assert_eq!(outside, Some(&(mapping.outside, mapping.outside_port)));
            assert_eq!(sessions, reference.users(&inside));
        }
        for (hop, counted) in &self.hops.0 {
            assert_eq!(*counted, users.remove(&hop.next_hop).unwrap_or(0), "{hop:?}");
        }
        assert!(users.is_empty());
    }
}

fn twisted(key: FlowKey<Ipv4Addr>, twist: Twist) -> FlowKey<Ipv4Addr> {
    match twist {
        Twist::Nothing => key,
        Twist::RemotePort(source_port) => FlowKey { source_port, ..key },
        Twist::Remote(last) => FlowKey { source: Ipv4Addr::new(198, 51, 100, last), ..key },
        Twist::OutsidePort(destination_port) => FlowKey { destination_port, ..key },
        Twist::Protocol(protocol) => FlowKey { protocol, ..key },
    }
}

fn flags(packet: &Packet) -> Option<Flags> {
    let flags = match (packet.from_inside, packet.syn) {
        (true, true) => Flags::SYN,
        (false, true) => Flags::SYN | Flags::ACK,
        (_, false) => Flags::ACK,
    };
    (packet.key.protocol == Protocol::TCP).then_some(flags)
}

proptest! {
    #[test]
    fn agrees_with_the_reference(steps in steps(), seed in any::<u64>()) {
        let loaded = load(CONFIG).unwrap_or_else(|problems| panic!("{}", problems.render("model")));
        let mut duel = Duel::new(&loaded.policy, seed);
        for step in &steps {
            duel.step(step);
        }
        // After the longest silence nothing is held any more.
        duel.step(&Step::Pass(7_442_000));
        assert_eq!(duel.reference.sessions.len(), 0);
    }
}

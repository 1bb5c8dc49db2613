//! What the tests of this crate start from: a policy, the tables, and next hops that are counted.

pub(crate) mod packets;
pub(crate) mod v6;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use mooring_policy::{Generation, Hop, InterfaceId, Policy, load};
use mooring_session::{
    Direction, FlowKey, KeyedHash, NextHopIndex, Session, SessionIndex, SessionRef, Tick,
};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{Admission, Arrival, Drawn, Nat, NextHops, Owners, Refusal, Share};

/// A worker's translation and all that admission asks.
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) nat: Nat<Ipv4Addr>,
    pub(crate) owners: Owners,
    pub(crate) hops: CountedHops,
    pub(crate) now: Tick,
    /// Of the packets that arrive.
    pub(crate) ttl: u8,
    pub(crate) generation: Generation,
    pub(crate) random: ChaCha8Rng,
}

/// All that a flow can hold: equal before and after means that nothing was left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) sessions: usize,
    pub(crate) mappings: usize,
    pub(crate) leased_ports: usize,
    pub(crate) hop_users: u32,
    pub(crate) sources: usize,
}

/// A table of next hops that counts their users, in the order in which they were first wanted.
pub(crate) struct CountedHops {
    pub(crate) users: Vec<(Hop, u32)>,
    pub(crate) capacity: usize,
    /// What others begin gets none.
    pub(crate) closed_to_others: bool,
}

impl World {
    /// The world of a configuration; its interfaces and routes are [`LINKS`].
    pub(crate) fn new(config: &str) -> Self {
        Self::seeded(config, 1)
    }

    /// The same with another draw of random numbers and of the hash.
    pub(crate) fn seeded(config: &str, seed: u64) -> Self {
        Self::of_share(Share::ALL, config, seed)
    }

    /// The same of one of several workers.
    pub(crate) fn of_share(share: Share, config: &str, seed: u64) -> Self {
        let policy = policy(config);
        let hash = KeyedHash::new([seed, 2, 3, 4].map(|n| n ^ SECRET));
        Self {
            nat: Nat::new(&policy, share, hash),
            owners: Owners::new(Arc::new(policy.clone()), share),
            policy,
            hops: CountedHops { users: Vec::new(), capacity: usize::MAX, closed_to_others: false },
            now: Tick::ZERO,
            ttl: 64,
            generation: Generation(7),
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A packet of the flow `key` arrives from inside; TCP with SYN.
    pub(crate) fn send(&mut self, key: FlowKey<Ipv4Addr>) -> Result<SessionRef, Refusal> {
        self.arrive(INSIDE, key, (key.protocol == Protocol::TCP).then_some(Flags::SYN))
    }

    /// A packet of the flow `key` arrives that no lookup has found.
    pub(crate) fn arrive(
        &mut self,
        ingress: InterfaceId,
        key: FlowKey<Ipv4Addr>,
        flags: Option<Flags>,
    ) -> Result<SessionRef, Refusal> {
        let arrival = self.arrival(ingress, key, flags);
        let (nat, mut admission) = self.admission();
        nat.admit(&arrival, &mut admission)
    }

    fn arrival(
        &mut self,
        ingress: InterfaceId,
        key: FlowKey<Ipv4Addr>,
        flags: Option<Flags>,
    ) -> Arrival<Ipv4Addr> {
        let (hash, ttl) = (self.nat.sessions.hash(&key), self.ttl);
        let number = self.random.next_u32();
        Arrival { ingress, key, hash, flags, ttl, looked_up: false, number, drawn: None }
    }

    /// Another policy is there, of the next generation.
    pub(crate) fn reload(&mut self, config: &str) {
        self.adopt(config);
        self.owners.all_follow();
    }

    /// Another policy is there, and other workers may not have it yet.
    pub(crate) fn adopt(&mut self, config: &str) {
        self.policy = policy(config);
        self.generation = Generation(self.generation.0 + 1);
        self.nat.adopt(&self.policy, self.generation);
        self.owners.follow(Arc::new(self.policy.clone()));
    }

    /// The translation, and what it asks now.
    pub(crate) fn admission(
        &mut self,
    ) -> (&mut Nat<Ipv4Addr>, Admission<'_, ChaCha8Rng, CountedHops>) {
        let admission = Admission {
            policy: &self.policy,
            owners: &self.owners,
            generation: self.generation,
            now: self.now,
            random: &mut self.random,
            hops: &mut self.hops,
        };
        (&mut self.nat, admission)
    }

    /// The session of a new flow from inside.
    pub(crate) fn session(&mut self, key: FlowKey<Ipv4Addr>) -> Session<Ipv4Addr> {
        let found = self.send(key).expect("the configuration admits the flow");
        assert_eq!(found.direction, Direction::Forward);
        self.nat.sessions.session(found.index).clone()
    }

    /// The same, where this was drawn for it ahead.
    pub(crate) fn session_with(
        &mut self,
        key: FlowKey<Ipv4Addr>,
        drawn: Drawn<Ipv4Addr>,
    ) -> Session<Ipv4Addr> {
        let arrival = Arrival { drawn: Some(drawn), ..self.arrival(INSIDE, key, None) };
        let (nat, mut admission) = self.admission();
        let found = nat.admit(&arrival, &mut admission).expect("the configuration admits the flow");
        self.nat.sessions.session(found.index).clone()
    }

    /// Lets `millis` pass and ends what has been silent for too long.
    pub(crate) fn pass(&mut self, millis: u64) -> Vec<Session<Ipv4Addr>> {
        self.now = Tick::from_millis(self.now.as_millis() + millis);
        let mut budget = u32::MAX;
        std::iter::from_fn(|| self.nat.expire(self.now, &mut budget, &mut self.hops)).collect()
    }

    /// A TCP segment of a session passes.
    pub(crate) fn segment(&mut self, index: SessionIndex, direction: Direction, flags: Flags) {
        let found = SessionRef { index, direction };
        if self.nat.sessions.touch(found, self.now, 60, Some(flags)) {
            let (nat, mut admission) = self.admission();
            nat.state_changed(index, &mut admission);
        }
    }

    /// Every live session.
    pub(crate) fn all(&self) -> Vec<SessionIndex> {
        self.nat.sessions.page(0, u32::MAX).0.collect()
    }

    /// Sweeps until it is done; how many sessions ended.
    pub(crate) fn sweep(&mut self) -> usize {
        let mut ended = 0;
        while self.nat.is_sweeping() {
            let mut budget = 64;
            let (nat, mut admission) = self.admission();
            while nat.sweep(&mut admission, &mut budget).is_some() {
                ended += 1;
            }
        }
        ended
    }

    pub(crate) fn holdings(&self) -> Holdings {
        Holdings {
            sessions: self.nat.sessions.len(),
            mappings: self.nat.mappings.len(),
            leased_ports: self.nat.leased_ports(),
            hop_users: self.hops.users.iter().map(|(_, users)| users).sum(),
            sources: self.nat.sources.len(),
        }
    }
}

impl NextHops for CountedHops {
    fn acquire(&mut self, hop: Hop, _now: Tick) -> Option<NextHopIndex> {
        let known = self.users.iter().position(|(known, _)| *known == hop);
        let at = match known {
            Some(at) => at,
            None if self.users.len() >= self.capacity => return None,
            None => {
                self.users.push((hop, 0));
                self.users.len() - 1
            }
        };
        self.users[at].1 += 1;
        Some(NextHopIndex(at as u16))
    }

    fn acquire_for_others(&mut self, hop: Hop, now: Tick) -> Option<NextHopIndex> {
        if self.closed_to_others { None } else { self.acquire(hop, now) }
    }

    fn release(&mut self, hop: NextHopIndex) {
        let users = &mut self.users[usize::from(hop.0)].1;
        *users =
            users.checked_sub(1).expect("a hop is released once for each time it was acquired");
    }
}

/// The policy of a configuration; one without interfaces gets [`LINKS`].
pub(crate) fn policy(config: &str) -> Policy {
    let links = if config.contains("interface =") { "" } else { LINKS };
    match load(&format!("{config}\n{links}")) {
        Ok(loaded) => loaded.policy,
        Err(problems) => panic!("{}", problems.render("test")),
    }
}

/// A flow from one `address:port` to another.
pub(crate) fn flow(protocol: Protocol, source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    let end = |text: &str| -> SocketAddrV4 { text.parse().expect("address:port") };
    let (source, destination) = (end(source), end(destination));
    FlowKey {
        source: *source.ip(),
        destination: *destination.ip(),
        source_port: source.port(),
        destination_port: destination.port(),
        vrf: 0,
        protocol,
        tag: 0,
    }
}

thread_local! {
    static STEPS: Cell<u32> = const { Cell::new(0) };
    static LEASES_MADE: Cell<u32> = const { Cell::new(0) };
}

/// Memory for the leases of one more address is made: what the tests of reloads count.
pub(crate) fn leases_made() {
    LEASES_MADE.set(LEASES_MADE.get() + 1);
}

/// Addresses that such memory was made for in this thread, since this was asked last.
pub(crate) fn addresses_made() -> u32 {
    LEASES_MADE.take()
}

/// A search looks at one thing more: what the tests of cost count, and nobody else.
pub(crate) fn step() {
    STEPS.set(STEPS.get() + 1);
}

/// Steps since this was asked last.
pub(crate) fn steps() -> u32 {
    STEPS.take()
}

pub(crate) const INSIDE: InterfaceId = InterfaceId(0);
pub(crate) const OUTSIDE: InterfaceId = InterfaceId(1);

/// Two links. 198.51.100.0/24 lies behind a router outside, 10.1.0.0/16 behind one inside.
const LINKS: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24"]

    [[route]]
    destination = "2.0.0.0/7"
    via = "192.0.2.2"

    [[route]]
    destination = "198.51.100.0/24"
    via = "192.0.2.2"

    [[route]]
    destination = "10.1.0.0/16"
    via = "10.0.0.254"
"#;

/// Any number with many bits.
const SECRET: u64 = 0x9e37_79b9_7f4a_7c15;

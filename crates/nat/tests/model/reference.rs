//! What translation should do, the slow and obvious way: lists that are searched from end to end,
//! and the rules of [`CONFIG`] written out by hand. It shares no code with what it judges.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use mooring_nat::Refusal;
use mooring_session::{Direction, FlowKey};
use mooring_wire::Protocol;

/// Few sessions, few ports, two pools that share an address: everything collides.
pub(crate) const CONFIG: &str = r#"
    limits = { sessions = 10, sessions_per_source = 5 }

    pool = [
        { name = "web", addresses = ["203.0.113.10"], ports = "2000-2001" },
        { name = "rest", addresses = ["203.0.113.10/31"], ports = "3000-3002" },
    ]

    rule = [
        { name = "no-mail", kind = "drop", destination_ports = "25" },
        { name = "routed", kind = "bypass", from = "inside", destination = ["198.51.100.9/32"] },
        { name = "web", kind = "source-nat", pool = "web", from = "inside", destination_ports = "443",
          destination = ["198.51.100.0/24"] },
        { name = "rest", kind = "source-nat", pool = "rest", from = "inside",
          destination = ["198.51.100.0/24"] },
    ]

    interface = [
        { name = "inside", device = "in0", addresses = ["10.0.0.1/24"] },
        { name = "outside", device = "out0", addresses = ["192.0.2.1/24"] },
    ]

    route = [{ destination = "198.51.100.0/24", via = "192.0.2.2" }]
"#;

/// A packet without a session, or with one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) from_inside: bool,
    pub(crate) key: FlowKey<Ipv4Addr>,
    /// For TCP: SYN without ACK when it goes out, SYN with ACK when it comes in.
    pub(crate) syn: bool,
}

/// What must become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It belongs to this session.
    Known(usize, Direction),
    /// It begins a session, by a mapping in this pool or (`None`) untranslated.
    Begins(Option<usize>),
    /// It begins a session or finds no port, depending on which address its host is paired with.
    BeginsOrNoPort(usize),
    /// It is refused.
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// The flow of its first packet.
    pub(crate) key: FlowKey<Ipv4Addr>,
    pub(crate) outside: (Ipv4Addr, u16),
    pub(crate) pool: Option<usize>,
    last_seen: u64,
    /// TCP: both ends have sent SYN.
    established: bool,
}

/// An inside end: pool, protocol, address, port.
pub(crate) type InsideEnd = (usize, Protocol, Ipv4Addr, u16);

#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) sessions: Vec<Session>,
    pub(crate) mappings: HashMap<InsideEnd, (Ipv4Addr, u16)>,
    /// Which address of a pool a host was seen to be paired with.
    paired: HashMap<(usize, Ipv4Addr), Ipv4Addr>,
    pub(crate) now: u64,
}

impl Session {
    /// The key of packets that come back.
    pub(crate) fn reverse(&self) -> FlowKey<Ipv4Addr> {
        FlowKey {
            source: self.key.destination,
            source_port: self.key.destination_port,
            destination: self.outside.0,
            destination_port: self.outside.1,
            ..self.key
        }
    }

    fn timeout(&self) -> u64 {
        match self.key.protocol {
            Protocol::TCP if self.established => 7_440_000,
            Protocol::TCP => 240_000,
            Protocol::ICMP => 60_000,
            _ => 300_000,
        }
    }
}

impl Reference {
    /// What must become of `packet`, and nothing changes.
    pub(crate) fn judge(&self, packet: &Packet) -> Outcome {
        let key = &packet.key;
        for (at, session) in self.sessions.iter().enumerate() {
            if session.key == *key {
                return Outcome::Known(at, Direction::Forward);
            }
            if session.reverse() == *key {
                return Outcome::Known(at, Direction::Reverse);
            }
        }
        self.judge_new(packet).unwrap_or_else(Outcome::Refused)
    }

    fn judge_new(&self, packet: &Packet) -> Result<Outcome, Refusal> {
        let key = &packet.key;
        if is_ours(key.destination) && packet.from_inside {
            // A hairpin, but the rules that translate are for other destinations.
            let mail =
                matches!(key.protocol, Protocol::TCP | Protocol::UDP) && key.destination_port == 25;
            return Err(if mail { Refusal::RuleDrop } else { Refusal::NoRule });
        }
        if is_ours(key.destination) {
            if matches!(key.protocol, Protocol::TCP | Protocol::UDP) && key.destination_port == 25 {
                return Err(Refusal::RuleDrop);
            }
            let end = (key.destination, key.destination_port);
            let mapped =
                self.mappings.iter().any(|(inside, o)| inside.1 == key.protocol && *o == end);
            return Err(if mapped { Refusal::Filtered } else { Refusal::NoSession });
        }
        let Some(to_inside) = leads_inside(key.destination) else { return Err(Refusal::NoRoute) };
        let has_ports = matches!(key.protocol, Protocol::TCP | Protocol::UDP);
        let port = has_ports.then_some(key.destination_port);
        let to_remotes = packet.from_inside && key.destination.octets()[..3] == [198, 51, 100];
        let pool = match (port, key.destination.octets()[3]) {
            (Some(25), _) => return Err(Refusal::RuleDrop),
            _ if !to_remotes => return Err(Refusal::NoRule),
            (_, 9) => None,
            (Some(443), _) => Some(0),
            _ => Some(1),
        };
        assert!(!to_inside, "no rule lets packets in");
        match leads_inside(key.source) {
            None => return Err(Refusal::NoRoute),
            Some(true) if !is_ours(key.source) => {}
            Some(_) => return Err(Refusal::SpoofedSource),
        }
        match key.protocol {
            Protocol::TCP if !packet.syn => return Err(Refusal::NoSession),
            Protocol::ICMP if key.destination_port != 0 => return Err(Refusal::NoSession),
            _ => {}
        }
        if self.sessions.len() == 10 {
            return Err(Refusal::TableFull);
        }
        if self.sessions.iter().filter(|session| session.key.source == key.source).count() == 5 {
            return Err(Refusal::SourceLimit);
        }
        match pool {
            None => Ok(Outcome::Begins(None)),
            Some(pool) => self.judge_mapping(pool, key),
        }
    }

    fn judge_mapping(&self, pool: usize, key: &FlowKey<Ipv4Addr>) -> Result<Outcome, Refusal> {
        if self.mappings.contains_key(&inside_end(pool, key)) {
            return Ok(Outcome::Begins(Some(pool)));
        }
        if !matches!(key.protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP) {
            return Err(Refusal::UnsupportedProtocol);
        }
        let candidates = match self.paired.get(&(pool, key.source)) {
            Some(address) => vec![*address],
            None => addresses(pool),
        };
        let has_room = |address: &Ipv4Addr| {
            let taken = |port: u16| {
                self.mappings
                    .iter()
                    .any(|(inside, o)| inside.1 == key.protocol && *o == (*address, port))
            };
            ports(pool, key.protocol).any(|port| !taken(port))
        };
        match candidates.iter().filter(|address| has_room(address)).count() {
            0 => Err(Refusal::PortsExhausted),
            free if free == candidates.len() => Ok(Outcome::Begins(Some(pool))),
            _ => Ok(Outcome::BeginsOrNoPort(pool)),
        }
    }

    /// A session has begun with `packet` and stands outside as `outside`.
    pub(crate) fn begin(&mut self, packet: &Packet, pool: Option<usize>, outside: (Ipv4Addr, u16)) {
        let key = packet.key;
        match pool {
            None => assert_eq!(outside, (key.source, key.source_port), "not to be translated"),
            Some(pool) => self.check_mapping(pool, &key, outside),
        }
        self.sessions.push(Session { key, outside, pool, last_seen: self.now, established: false });
    }

    /// An inside end has one outside end, an outside end has one inside end.
    fn check_mapping(&mut self, pool: usize, key: &FlowKey<Ipv4Addr>, outside: (Ipv4Addr, u16)) {
        if let Some(known) = self.mappings.get(&inside_end(pool, key)) {
            assert_eq!(outside, *known, "an inside end keeps its outside end");
            return;
        }
        assert!(
            addresses(pool).contains(&outside.0) && ports(pool, key.protocol).contains(&outside.1)
        );
        for (inside, other) in &self.mappings {
            assert!(
                inside.1 != key.protocol || *other != outside,
                "two inside ends share {outside:?}"
            );
        }
        let paired = *self.paired.entry((pool, key.source)).or_insert(outside.0);
        assert_eq!(paired, outside.0, "a host keeps to one address");
        self.mappings.insert(inside_end(pool, key), outside);
    }

    /// A packet of session number `at` passes.
    pub(crate) fn touch(&mut self, at: usize, direction: Direction, syn: bool) {
        let session = &mut self.sessions[at];
        let tcp = session.key.protocol == Protocol::TCP;
        session.established |= syn && direction == Direction::Reverse;
        // What is repeated before it is open keeps nothing alive.
        if !tcp || session.established {
            session.last_seen = self.now;
        }
    }

    /// The session of `key` has ended for its silence.
    pub(crate) fn end(&mut self, key: &FlowKey<Ipv4Addr>) {
        let at = self.sessions.iter().position(|session| session.key == *key);
        let session = self.sessions.remove(at.expect("only a session can end"));
        assert!(self.now - session.last_seen >= session.timeout(), "ended too early: {session:?}");
        let Some(pool) = session.pool else { return };
        let end = inside_end(pool, key);
        if self.users(&end) == 0 {
            self.mappings.remove(&end);
        }
    }

    /// Sessions that use the mapping of an inside end.
    pub(crate) fn users(&self, end: &InsideEnd) -> u32 {
        let uses = |s: &&Session| s.pool.is_some_and(|pool| inside_end(pool, &s.key) == *end);
        self.sessions.iter().filter(uses).count() as u32
    }

    /// Asserts that no session has outlived its timeout by more than two seconds.
    pub(crate) fn check_age(&self) {
        for session in &self.sessions {
            let silent = self.now - session.last_seen;
            assert!(silent <= session.timeout() + 2_000, "outlived its timeout: {session:?}");
        }
    }
}

fn inside_end(pool: usize, key: &FlowKey<Ipv4Addr>) -> InsideEnd {
    (pool, key.protocol, key.source, key.source_port)
}

fn addresses(pool: usize) -> Vec<Ipv4Addr> {
    let all = [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11)];
    all[..=pool].to_vec()
}

fn ports(pool: usize, protocol: Protocol) -> RangeInclusive<u16> {
    match (protocol, pool) {
        (Protocol::ICMP, _) => 1..=65_535,
        (_, 0) => 2000..=2001,
        _ => 3000..=3002,
    }
}

fn is_ours(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    matches!([a, b, c, d], [203, 0, 113, 10 | 11] | [10, 0, 0, 1] | [192, 0, 2, 1])
}

/// Where the route to the address leads; `None` without one.
fn leads_inside(address: Ipv4Addr) -> Option<bool> {
    match address.octets() {
        [10, 0, 0, _] => Some(true),
        [192, 0, 2, _] | [198, 51, 100, _] => Some(false),
        _ => None,
    }
}

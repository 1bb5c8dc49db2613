//! A configuration as the model knows it, and as the engine reads it ([`Spec::toml`]). What is asked of
//! it here is written from `docs/configuration.md`: the first rule that matches, the longest prefix.

mod text;

use std::net::IpAddr;

use crate::packet::{End, ICMP, ICMPV6, Key, TCP, UDP};

/// A link of the appliance, or the inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Inside,
    Outside,
    /// Between the two halves of a hairpin.
    Hairpin,
}

/// Addresses by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net(pub(crate) IpAddr, pub(crate) u32);

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) name: &'static str,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: (u16, u16),
    pub(crate) endpoint_dependent: bool,
    pub(crate) filtering: Filtering,
    pub(crate) hairpin: bool,
    pub(crate) ping: bool,
    pub(crate) arbitrary: bool,
    /// A host gets the address that has the fewest sessions, and keeps it while it has one.
    pub(crate) least_used: bool,
    pub(crate) parity: bool,
    pub(crate) contiguity: bool,
    /// Ports that remotes share when mappings find none.
    pub(crate) overflow: Option<(u16, u16)>,
    pub(crate) allow: Vec<Net>,
    pub(crate) deny: Vec<Net>,
    /// Only packets from inside keep a session alive.
    pub(crate) outbound: bool,
    /// Seconds that a port rests, and whether without exceptions.
    pub(crate) hold_down: (u64, bool),
    pub(crate) limits: Limits,
    pub(crate) kind: Kind,
    /// All of its addresses have been taken away; they stay the appliance's.
    pub(crate) empty: bool,
    /// Further keys, as they stand in the file.
    pub(crate) more: &'static str,
}

/// How ports are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Random,
    /// The host's own first.
    Preserve,
    /// Of blocks: ports of one, how many a host may have, seconds that one rests.
    Blocks(u16, usize, u64),
    /// By the host's place in a prefix: so many ports each (RFC 7422).
    Slices(Net, u16),
}

/// How much a source, all hosts of a pool, or all sessions of a rule may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Of a pool or a rule.
    pub(crate) sessions: Option<usize>,
    /// Of a source or a pool.
    pub(crate) mappings: Option<usize>,
    pub(crate) half_open: Option<usize>,
    pub(crate) transitory: Option<usize>,
    /// New sessions in a second.
    pub(crate) rate: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtering {
    AddressAndPort,
    Address,
    Endpoint,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) action: Action,
    pub(crate) source: Option<Net>,
    pub(crate) destination: Option<Net>,
    pub(crate) protocol: Option<u8>,
    pub(crate) destination_port: Option<u16>,
    pub(crate) drain: bool,
    pub(crate) allow: Vec<Net>,
    pub(crate) deny: Vec<Net>,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SourceNat(&'static str),
    Bypass,
    Drop,
    /// Inside and outside address.
    Static(IpAddr, IpAddr),
    /// Address, first and last port, target.
    PortForward(IpAddr, u8, (u16, u16), End),
}

#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) pools: Vec<Pool>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) sessions: usize,
    pub(crate) per_source: usize,
    /// Of each source.
    pub(crate) of_source: Limits,
    /// Seconds: udp, established, transitory, half-open, icmp.
    pub(crate) timeouts: [u64; 5],
    pub(crate) evict: bool,
    pub(crate) tcp: Tcp,
    /// Further text for the end of the file.
    pub(crate) more: &'static str,
    /// What the engines are told in its place: to see that it is noticed.
    pub(crate) told: Option<Box<Self>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) pick_up: bool,
    /// Who asks unasked is told, in the end.
    pub(crate) tells: bool,
    /// A host is asked before its session ends.
    pub(crate) probes: bool,
    /// Segments that no end can have sent are dropped.
    pub(crate) windows: bool,
}

impl Pool {
    pub(crate) fn new(name: &'static str, addresses: &[&str], ports: (u16, u16)) -> Self {
        Self {
            name,
            addresses: addresses.iter().map(|text| ip(text)).collect(),
            ports,
            endpoint_dependent: false,
            filtering: Filtering::AddressAndPort,
            hairpin: true,
            ping: true,
            arbitrary: false,
            least_used: false,
            parity: false,
            contiguity: false,
            overflow: None,
            allow: Vec::new(),
            deny: Vec::new(),
            outbound: false,
            hold_down: (120, false),
            limits: Limits::default(),
            kind: Kind::Random,
            empty: false,
            more: "",
        }
    }

    /// The ports that a lease of the protocol may have; identifiers are not limited (RFC 5508 §3).
    pub(crate) fn range(&self, protocol: u8) -> (u16, u16) {
        let calculated = matches!(self.kind, Kind::Blocks(..) | Kind::Slices(..));
        if matches!(protocol, ICMP | ICMPV6) && !calculated { (1, u16::MAX) } else { self.ports }
    }

    /// The address and ports that a host has of a deterministic pool: of slices that are counted through
    /// the addresses, that of the host's number.
    pub(crate) fn slice(&self, host: IpAddr) -> Option<(IpAddr, (u16, u16))> {
        let Kind::Slices(source, size) = self.kind else { return None };
        let number = source.number_of(host)?;
        let slices = u128::from((self.ports.1 - self.ports.0 + 1) / size);
        let address = *self.addresses.get((number / slices) as usize)?;
        let first = self.ports.0 + (number % slices) as u16 * size;
        Some((address, (first, first + size - 1)))
    }

    /// Whether an end is in the host's slice; of a pool without slices all are.
    pub(crate) fn slice_has(&self, host: IpAddr, end: End) -> bool {
        let within = |(address, (first, last)): (IpAddr, (u16, u16))| {
            end.0 == address && (first..=last).contains(&end.1)
        };
        !matches!(self.kind, Kind::Slices(..)) || self.slice(host).is_some_and(within)
    }

    /// The host whose slice an end is in.
    pub(crate) fn host_of_slice(&self, end: End) -> Option<IpAddr> {
        let Kind::Slices(source, _) = self.kind else { return None };
        source.hosts().find(|host| self.slice_has(*host, end))
    }

    /// Whether a port may stand for another by its parity (RFC 4787 REQ-4): of TCP and UDP.
    pub(crate) fn suits(&self, protocol: u8, inside: u16, outside: u16) -> bool {
        !self.parity || !matches!(protocol, TCP | UDP) || inside % 2 == outside % 2
    }

    /// Whether a port is one that remotes share and no mapping gets.
    pub(crate) fn is_overflow(&self, port: u16) -> bool {
        self.overflow.is_some_and(|(first, last)| (first..=last).contains(&port))
    }

    /// How long a port rests that a mapping had (RFC 6888 REQ-8), in milliseconds.
    pub(crate) fn rest(&self, protocol: u8) -> u64 {
        let (seconds, strict) = self.hold_down;
        let known = protocol == TCP || self.filtering != Filtering::Endpoint;
        let calculated = matches!(self.kind, Kind::Blocks(..) | Kind::Slices(..));
        let none = self.endpoint_dependent || calculated || known && !strict;
        if none { 0 } else { seconds * 1000 }
    }
}

impl Rule {
    pub(crate) const fn new(name: &'static str, action: Action) -> Self {
        Self {
            name,
            action,
            source: None,
            destination: None,
            protocol: None,
            destination_port: None,
            drain: false,
            allow: Vec::new(),
            deny: Vec::new(),
            limits: NO_LIMITS,
        }
    }

    /// Whether a flow that its sender begins on `from` and that leaves by `to` is this rule's.
    fn matches(&self, key: &Key, from: Side, to: Side) -> bool {
        let sided = match self.action {
            Action::SourceNat(_) | Action::Static(..) => {
                (from, to) == (Side::Inside, Side::Outside)
            }
            Action::Bypass | Action::Drop => from == Side::Inside,
            Action::PortForward(..) => false,
        };
        let is = |wanted: Option<Net>, address| wanted.is_none_or(|net| net.has(address));
        let source = match self.action {
            Action::Static(inside, _) => key.source.0 == inside,
            _ => is(self.source, key.source.0),
        };
        let has_ports = matches!(key.protocol, TCP | UDP);
        sided
            && source
            && is(self.destination, key.destination.0)
            && self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && self.destination_port.is_none_or(|port| has_ports && port == key.destination.1)
    }
}

impl Net {
    pub(crate) fn of(text: &str) -> Self {
        let (address, len) = text.split_once('/').expect("a prefix");
        Self(ip(address), len.parse().expect("a length"))
    }

    /// Which address of the prefix one is, from 0.
    pub(crate) fn number_of(self, address: IpAddr) -> Option<u128> {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        self.has(address).then(|| bits(address) - bits(self.0))
    }

    /// The addresses of a small prefix.
    pub(crate) fn hosts(self) -> impl Iterator<Item = IpAddr> {
        let bits = if self.0.is_ipv4() { 32 } else { 128 };
        let nth = move |n: u32| match self.0 {
            IpAddr::V4(v4) => IpAddr::from((v4.to_bits() + n).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from((v6.to_bits() + u128::from(n)).to_be_bytes()),
        };
        (0..1_u32 << (bits - self.1)).map(nth)
    }

    pub(crate) fn has(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((ours, all), (theirs, of)) = (bits(self.0), bits(address));
        all == of && (self.1 == 0 || ours >> (all - self.1) == theirs >> (all - self.1))
    }
}

impl Spec {
    pub(crate) const fn new(pools: Vec<Pool>, rules: Vec<Rule>) -> Self {
        Self {
            pools,
            rules,
            sessions: 24,
            per_source: 10,
            of_source: NO_LIMITS,
            timeouts: [30, 90, 20, 12, 10],
            evict: false,
            tcp: Tcp { pick_up: false, tells: false, probes: false, windows: false },
            more: "",
            told: None,
        }
    }

    pub(crate) fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The first rule that matches a flow that its sender begins.
    pub(crate) fn through(&self, key: &Key, from: Side, to: Side) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(key, from, to))
    }

    /// The rule that wants a packet from outside to an address of ours, and whom it is for.
    pub(crate) fn inbound(&self, key: &Key) -> Option<(&Rule, End)> {
        let (address, port) = key.destination;
        self.rules.iter().find_map(|rule| match rule.action {
            Action::Static(inside, outside) if outside == address => Some((rule, (inside, port))),
            Action::PortForward(ours, protocol, (first, last), target)
                if ours == address
                    && protocol == key.protocol
                    && (first..=last).contains(&port)
                    && rule.source.is_none_or(|net| net.has(key.source.0)) =>
            {
                Some((rule, (target.0, target.1 + (port - first))))
            }
            _ => None,
        })
    }

    /// Whether connections that close are limited: of any source, pool or rule.
    pub(crate) fn limits_closing(&self) -> bool {
        let limits = self.pools.iter().map(|pool| &pool.limits);
        let limits = limits.chain(self.rules.iter().map(|rule| &rule.limits));
        limits.chain([&self.of_source]).any(|limits| limits.transitory.is_some())
    }

    pub(crate) fn filters_by_address(&self) -> bool {
        self.pools.iter().any(|pool| pool.filtering == Filtering::Address)
    }

    /// Whether a rule has an outside port for itself.
    pub(crate) fn is_claimed(&self, protocol: u8, (address, port): End) -> bool {
        self.rules.iter().any(|rule| match rule.action {
            Action::PortForward(ours, of, (first, last), _) => {
                (ours, of) == (address, protocol) && (first..=last).contains(&port)
            }
            _ => false,
        })
    }

    /// Whether sessions of a pool may have an outside end.
    pub(crate) fn has_end(&self, pool: &str, protocol: u8, end: End) -> bool {
        self.pool(pool).is_some_and(|pool| {
            let (first, last) = pool.range(protocol);
            !pool.empty && pool.addresses.contains(&end.0) && (first..=last).contains(&end.1)
        }) && !self.is_claimed(protocol, end)
    }

    /// An address that stands for somebody inside: a pool's or a rule's.
    pub(crate) fn is_outside_address(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.addresses.contains(&address))
            || self.rules.iter().any(|rule| match rule.action {
                Action::Static(_, outside) | Action::PortForward(outside, ..) => outside == address,
                _ => false,
            })
    }

    /// Whether a list keeps a remote from pinging an address.
    pub(crate) fn may_ping(&self, address: IpAddr, source: IpAddr) -> bool {
        if let Some(pool) = self.pools.iter().find(|pool| pool.addresses.contains(&address)) {
            return may_begin(&pool.allow, &pool.deny, source);
        }
        let first =
            |rule: &&Rule| matches!(rule.action, Action::PortForward(to, ..) if to == address);
        let rule = self.rules.iter().find(first);
        rule.is_none_or(|rule| may_begin(&rule.allow, &rule.deny, source))
    }

    /// Whether the appliance answers pings to an address for whoever asks from outside.
    pub(crate) fn pings(&self, address: IpAddr) -> bool {
        let pool = self.pools.iter().find(|pool| pool.addresses.contains(&address));
        let forwarded =
            |rule: &Rule| matches!(rule.action, Action::PortForward(to, ..) if to == address);
        match pool {
            Some(pool) => pool.ping,
            None => self.rules.iter().any(forwarded),
        }
    }
}

/// Where the route to an address leads; `None` without one.
pub(crate) fn side_of(address: IpAddr) -> Option<Side> {
    let inside = ["10.0.0.0/24", "fd00:10::/64"];
    let outside = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:1::/64", "2001:db8:2::/64"];
    let among = |nets: &[&str]| nets.iter().any(|net| Net::of(net).has(address));
    match (among(&inside), among(&outside)) {
        (true, _) => Some(Side::Inside),
        (_, true) => Some(Side::Outside),
        _ => None,
    }
}

/// The appliance's own address on a link, in the family of another.
pub(crate) fn own_address(side: Side, like: IpAddr) -> IpAddr {
    ip(match (side, like.is_ipv4()) {
        (Side::Inside, true) => "10.0.0.1",
        (Side::Inside, false) => "fd00:10::1",
        (_, true) => "192.0.2.1",
        (_, false) => "2001:db8:1::1",
    })
}

/// Whether an address is the appliance's own on a link.
pub(crate) fn is_own(address: IpAddr) -> bool {
    [Side::Inside, Side::Outside].iter().any(|side| own_address(*side, address) == address)
}

/// An access list: the longest prefix decides; without one nobody may where somebody is allowed.
pub(crate) fn may_begin(allow: &[Net], deny: &[Net], source: IpAddr) -> bool {
    let longest = |list: &[Net]| list.iter().filter(|net| net.has(source)).map(|net| net.1).max();
    match (longest(allow), longest(deny)) {
        (None, None) => allow.is_empty(),
        (allowed, denied) => allowed > denied,
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// None at all.
pub(crate) const NO_LIMITS: Limits =
    Limits { sessions: None, mappings: None, half_open: None, transitory: None, rate: None };

//! The compiled configuration: what the packet path and admission ask.
//!
//! Immutable once built. Lookups are by longest prefix and do not allocate; they are made for the
//! first packet of a session and for neighbour requests, never for a packet of a known session.

use std::net::IpAddr;

use ipnet::IpNet;
use mooring_wire::Protocol;
use prefix_trie::joint::JointPrefixMap;
use serde::Deserialize;

use crate::claims::Claims;
use crate::classifier::Classifier;
use crate::forwarded::Forwarded;
use crate::holding::Holdings;
use crate::lines::Lines;
use crate::party::{Party, PartyId, parties};
use crate::pool::{Pool, PoolId};
use crate::rule::{Action, Matcher, Question, Rule, RuleId};
use crate::service::{Service, ServiceId};
use crate::side::InterfaceSet;
use crate::spans::Spans;

/// Which interface of [`Policy::interfaces`], in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u8);

/// Which policy: the publisher counts them up, so that a session knows under which it was admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// Everything that decides what happens to a packet.
#[derive(Clone, Debug)]
pub struct Policy {
    /// In the order of the configuration; [`InterfaceId`] is the index.
    pub interfaces: Vec<Interface>,
    /// In the order of the configuration, which is the order they are asked in.
    pub rules: Vec<Rule>,
    /// In the order of the configuration; [`PoolId`] is the index.
    pub pools: Vec<Pool>,
    /// In the order of the configuration; [`ServiceId`] is the index.
    pub services: Vec<Service>,
    /// How long idle sessions live.
    pub timeouts: Timeouts,
    /// How TCP connections are followed.
    pub tcp: Tcp,
    /// Where `pick_up` and `unsolicited_syn` of `[tcp]` stand.
    pub tcp_lines: Lines,
    /// How many sessions there may be.
    pub limits: Limits,
    pub(crate) claims: Claims,
    /// Which addresses are held; `None`: all that are claimed.
    pub(crate) holdings: Option<Holdings>,
    pub(crate) forwarded: Forwarded,
    delivered: Vec<(InterfaceId, IpAddr)>,
    routes: JointPrefixMap<IpNet, Route>,
    /// The same, for one address at a time.
    pub(crate) ways: Spans<Route>,
    parties: Spans<Party>,
    /// Of sessions that their sender begins.
    through: Classifier,
    /// Of packets to addresses of ours: the rules that claim them, wherever that leads.
    claiming: Classifier,
    /// The same rules and those that drop.
    inbound: Classifier,
}

/// One of the appliance's links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name rules and `show` use; unique.
    pub name: String,
    /// The kernel's name of the device; unique.
    pub device: String,
    /// How packets are read and written.
    pub backend: Backend,
    /// Its addresses with the prefix that is connected: host bits kept. The appliance's own, or the
    /// kernel's if `from_kernel`.
    pub addresses: Vec<IpNet>,
    /// Addresses and routes are the kernel's, which keeps answering for them: they are not ours, but
    /// what we send in our own name (ARP, ICMP errors) comes from them.
    pub from_kernel: bool,
    /// Next hops of hosts on this link that we answer for as long as we hold addresses.
    pub gateway_addresses: Vec<IpAddr>,
    /// Hosts on this link are told by IPv6 router advertisements that we are a router.
    pub router_advertisements: bool,
    /// Packets of one flow that leave together are joined to a super-packet.
    pub tx_coalescing: bool,
    /// The network that it is on, as those who give addresses call it; `None` if nobody says.
    pub network: Option<String>,
    /// Bytes of the largest IP packet; `None` takes the device's.
    pub mtu: Option<u16>,
}

/// How packets of an interface are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A packet socket on a device that the kernel has too.
    #[default]
    AfPacket,
    /// A TAP device: the kernel is the other end.
    Tap,
    /// The same without offloads: the plain one, to compare with.
    #[serde(rename = "tun-tap")]
    TunTap,
    /// An AF_XDP socket.
    AfXdp,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where it leaves.
    pub interface: InterfaceId,
    /// Whose link address it is sent to: the router's, or the destination itself when on-link.
    pub next_hop: IpAddr,
}

/// Whose address it is, if it is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The interface's own address.
    Interface(InterfaceId),
    /// A gateway address of the interface.
    Gateway(InterfaceId),
    /// An address of the pool. Where several pools share it by ports, one of them.
    Pool(PoolId),
    /// Of no pool: the rule claims it, `static`, `port-forward` or `deliver`. Where several rules
    /// forward its ports, the first of them.
    Rule(RuleId),
}

/// Seconds without a packet after which a session ends (and at most 2 s later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP and whatever has no class of its own (RFC 4787 REQ-5: at least 120).
    pub udp: u32,
    /// TCP between the handshake and the first FIN or RST (RFC 5382 REQ-5: at least 7,440).
    pub tcp_established: u32,
    /// TCP after that (RFC 5382 REQ-5: at least 240).
    pub tcp_transitory: u32,
    /// TCP before that (RFC 7857 §2.1 lets it be shorter than `tcp_transitory`).
    pub tcp_half_open: u32,
    /// ICMP queries (RFC 5508 REQ-2: at least 60).
    pub icmp: u32,
}

/// How TCP connections are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Segments outside of the window change nothing of a session, and are dropped.
    pub window_tracking: bool,
    /// What an unsolicited SYN from outside meets.
    pub unsolicited_syn: UnsolicitedSyn,
    /// An established connection that falls silent is asked whether it still lives, before it ends.
    pub probe: bool,
    /// A segment without SYN from inside, of a connection older than the appliance, begins a session.
    pub pick_up: bool,
}

/// What a SYN from outside meets that nobody has asked for (RFC 5382 REQ-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnsolicitedSyn {
    /// Silence (REQ-4 a).
    #[default]
    Drop,
    /// Port Unreachable after 6 s, unless a host inside has sent a SYN the other way by then.
    Icmp,
}

/// How many sessions there may be.
///
/// A source is an inside prefix: one address, unless its length says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the session table, allocated at start.
    pub sessions: u32,
    /// Sources that have sessions at a time, at most; allocated at start.
    pub sources: u32,
    /// Begun by one source; what others begin does not count.
    pub sessions_per_source: u32,
    /// Endpoint-independent mappings of one source; `None`: as many as it has sessions.
    pub mappings_per_source: Option<u32>,
    /// TCP sessions of one source that are not open yet.
    pub half_open_per_source: Option<u32>,
    /// TCP sessions of one source that are no longer open.
    pub transitory_per_source: Option<u32>,
    /// New sessions of one source in a second, and a burst of as many.
    pub session_rate_per_source: Option<u32>,
    /// Bits of an IPv4 address that make a source.
    pub source_prefix_v4: u8,
    /// Bits of an IPv6 address that make a source. All of them by default: the hosts of a shared link are
    /// of one /64, and would be one source.
    pub source_prefix_v6: u8,
    /// Datagrams whose fragments are remembered at a time.
    pub fragments: u32,
    /// Those of one source, or `None` for no limit of its own.
    pub fragments_per_source: Option<u32>,
    /// ICMP errors of our own in a second, and a burst of as many (RFC 1812 §4.3.2.8).
    pub icmp_error_rate: u32,
    /// Echo replies of our own in a second, and a burst of as many.
    pub echo_reply_rate: u32,
    /// What a new session meets when the table is full.
    pub on_full: OnFull,
}

/// What a new session meets when the table is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// It is refused: nobody's session is ended for it (RFC 6888 REQ-11).
    #[default]
    Refuse,
    /// It takes the place of one that is not established.
    EvictTransitory,
}

/// A route as compiled; connected prefixes are routes without `via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) interface: InterfaceId,
    pub(crate) via: Option<IpAddr>,
}

impl Route {
    /// Where a packet to `destination` goes by it.
    #[inline]
    pub(crate) fn hop(self, destination: IpAddr) -> Hop {
        Hop { interface: self.interface, next_hop: self.via.unwrap_or(destination) }
    }
}

/// The parts of a policy, already validated.
pub(crate) struct Parts {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) routes: Vec<(IpNet, Route)>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) services: Vec<Service>,
    pub(crate) delivered: Vec<(InterfaceId, IpAddr)>,
    pub(crate) timeouts: Timeouts,
    pub(crate) tcp: Tcp,
    pub(crate) tcp_lines: Lines,
    pub(crate) limits: Limits,
}

impl Policy {
    /// Compiles the lookups. Connected prefixes and delivered addresses become routes.
    pub(crate) fn compile(parts: Parts) -> Self {
        let Parts { interfaces, routes, pools, rules, services, delivered, .. } = parts;
        let Parts { timeouts, tcp, tcp_lines, limits, .. } = parts;
        let mut routes: JointPrefixMap<IpNet, Route> = routes.into_iter().collect();
        for (index, interface) in interfaces.iter().enumerate() {
            let route = Route { interface: InterfaceId(index as u8), via: None };
            for address in &interface.addresses {
                routes.insert(address.trunc(), route);
            }
        }
        for (tap, address) in &delivered {
            routes.insert(IpNet::from(*address), Route { interface: *tap, via: None });
        }
        let claiming = |rule: &Rule| {
            let claims = rule.inbound().filter(|_| rule.action != Action::Drop);
            claims.map(|matcher| Matcher { to: None, ..matcher })
        };
        let mut policy = Self {
            through: Classifier::new(rules.iter().map(Rule::through).collect()),
            claiming: Classifier::new(rules.iter().map(claiming).collect()),
            inbound: Classifier::new(rules.iter().map(Rule::inbound).collect()),
            claims: Claims::default(),
            holdings: None,
            forwarded: Forwarded::default(),
            interfaces,
            rules,
            pools,
            services,
            timeouts,
            tcp,
            tcp_lines,
            limits,
            delivered,
            ways: Spans::new(&routes),
            parties: Spans::default(),
            routes,
        };
        policy.claims = Claims::new(&policy);
        policy.forwarded = Forwarded::new(&policy);
        policy.parties = parties(&policy, &policy.through, &policy.forwarded);
        policy
    }

    /// Where a packet to `destination` leaves, by longest prefix. `None` if no route covers it.
    #[must_use]
    pub fn route(&self, destination: IpAddr) -> Option<Hop> {
        Some(self.ways.at(destination)?.hop(destination))
    }

    /// All that is to be said of an address alone: one search, where each of the questions that a
    /// [`Party`] answers is one.
    #[inline]
    #[must_use]
    pub fn party(&self, address: IpAddr) -> &Party {
        self.party_of(self.party_id(address, PartyId::default()))
    }

    /// Which party an address belongs to: without a search if it is `near`, as it is for most that come one after the
    /// other.
    #[inline]
    #[must_use]
    pub fn party_id(&self, address: IpAddr, near: PartyId) -> PartyId {
        PartyId(self.parties.span_near(address, near.0))
    }

    /// The party that [`Policy::party_id`] named; nobody, if that was of another policy.
    #[inline]
    #[must_use]
    pub fn party_of(&self, id: PartyId) -> &Party {
        self.parties.value(id.0).unwrap_or(&Party::NOBODY)
    }

    /// Where the hosts of a prefix are: the interfaces of the routes within it or, without one, that
    /// of the route that has all of it.
    pub(crate) fn ways_to<'a>(
        &'a self,
        prefix: &'a IpNet,
    ) -> impl Iterator<Item = InterfaceId> + 'a {
        let within = || self.routes.children(prefix).map(|(_, route)| route);
        let around = self.routes.get_lpm(prefix).map(|(_, route)| route);
        let around = around.filter(|_| within().next().is_none());
        within().chain(around).map(|route| route.interface)
    }

    /// The first rule that matches a session that its sender begins. `None` means that the packet
    /// is dropped (`no_rule`).
    ///
    /// Its destination is not ours, or the session is a hairpin: then `egress` is the outside
    /// interface of the destination. `port-forward` has no say here.
    ///
    /// Cost: two prefix lookups and a few words per 64 rules.
    #[must_use]
    pub fn decide(&self, question: &Question) -> Option<RuleId> {
        self.through.first(question).map(rule_id)
    }

    /// As [`Policy::decide`], for a sender and the other end that were looked up with [`Policy::party`].
    #[inline]
    #[must_use]
    pub fn decide_between(
        &self,
        question: &Question,
        [sender, other]: [&Party; 2],
    ) -> Option<RuleId> {
        self.through.first_between(question, [sender.rows[0], other.rows[1]]).map(rule_id)
    }

    /// Whether [`Policy::decide_between`] names the same rule whatever the ports of the question are.
    #[must_use]
    pub fn ports_do_not_matter(&self, question: &Question, [sender, other]: [&Party; 2]) -> bool {
        self.through.is_alike_between(question, [sender.rows[0], other.rows[1]])
    }

    /// The first rule that matches a packet to an address of ours from its outside: `static`,
    /// `port-forward` or `drop`. `None` means that no rule wants it.
    ///
    /// What `to` is compared with is where the claiming rule sends the packet, if one matches, else
    /// the question's `egress`.
    #[must_use]
    pub fn inbound(&self, question: &Question) -> Option<RuleId> {
        let mut question = *question;
        if let Some(claim) = self.claiming.first(&question) {
            let target = self.rules[claim].target(&question);
            if let Some(hop) = target.and_then(|target| self.route(target)) {
                question.egress = hop.interface;
            }
        }
        self.inbound.first(&question).map(rule_id)
    }

    /// Whether, and by what, the address is one of ours.
    #[must_use]
    pub fn ownership(&self, address: IpAddr) -> Option<Ownership> {
        self.claims.owner(address)
    }

    /// The interfaces on which an address of ours is outside: others are there. Empty for addresses
    /// that are not ours, and for those of an interface.
    #[must_use]
    pub fn outside_of(&self, address: IpAddr) -> InterfaceSet {
        self.claims.sides(address)
    }

    /// Up to which port rules and services take this one, and those after it, out of any pool. `None`
    /// when it is left to the pools. Its cost does not grow with the claims but by their logarithm.
    #[must_use]
    pub fn claimed_until(&self, address: IpAddr, protocol: Protocol, port: u16) -> Option<u16> {
        self.claims.until(address, protocol, port)
    }

    /// Whether rules or services take any port of the addresses of a pool out of it.
    #[must_use]
    pub fn claims_ports_of(&self, pool: &Pool) -> bool {
        pool.addresses.iter().any(|prefix| self.claims.any_within(prefix))
    }

    /// The outside end of an inside one that leaves by `egress`, if a rule forwards a port of that side
    /// to it. Its cost does not grow with the rules but by their logarithm.
    #[must_use]
    pub fn forwarded_end(
        &self,
        egress: InterfaceId,
        inside: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<(IpAddr, u16)> {
        self.forwarded.end(egress, inside, protocol, port)
    }

    /// The addresses that the kernel's side of each tap interface gets.
    pub fn delivered(&self) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        self.delivered.iter().copied()
    }

    /// The service at a port of an address.
    #[must_use]
    pub fn service(&self, address: IpAddr, protocol: Protocol, port: u16) -> Option<ServiceId> {
        self.claims.service(address, protocol, port)
    }

    /// The rule that [`Policy::decide`] named.
    ///
    /// # Panics
    /// If the id is of another policy.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[usize::from(id.0)]
    }

    /// The pool that an action or [`Policy::ownership`] named.
    ///
    /// # Panics
    /// If the id is of another policy.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[usize::from(id.0)]
    }

    /// The interface that a route or [`Policy::ownership`] named.
    ///
    /// # Panics
    /// If the id is of another policy.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> &Interface {
        &self.interfaces[usize::from(id.0)]
    }
}

impl Limits {
    /// Whether more of a source is limited than its sessions.
    #[must_use]
    pub const fn count_more(&self) -> bool {
        self.mappings_per_source.is_some()
            || self.half_open_per_source.is_some()
            || self.transitory_per_source.is_some()
            || self.session_rate_per_source.is_some()
    }

    /// The source that an inside address belongs to: the first address of its prefix.
    #[must_use]
    pub fn source_of(&self, address: IpAddr) -> IpAddr {
        let bits = if address.is_ipv4() { self.source_prefix_v4 } else { self.source_prefix_v6 };
        IpNet::new(address, bits).map_or(address, |prefix| prefix.network())
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { udp: 300, tcp_established: 7440, tcp_transitory: 240, tcp_half_open: 240, icmp: 60 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 1_000_000,
            sources: 500_000,
            sessions_per_source: 4096,
            mappings_per_source: None,
            half_open_per_source: None,
            transitory_per_source: None,
            session_rate_per_source: None,
            source_prefix_v4: 32,
            source_prefix_v6: 128,
            fragments: 4096,
            fragments_per_source: Some(1024),
            icmp_error_rate: 1000,
            echo_reply_rate: 1000,
            on_full: OnFull::Refuse,
        }
    }
}

/// Rules are at most 10,000.
fn rule_id(index: usize) -> RuleId {
    RuleId(index as u16)
}

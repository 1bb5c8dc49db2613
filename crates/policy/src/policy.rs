//! The compiled configuration: what the packet path and admission ask.
//!
//! Immutable once built. Lookups are by longest prefix and do not allocate; they are made for the
//! first packet of a session and for neighbour requests, never for a packet of a known session.

use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use serde::Deserialize;

use crate::classifier::Classifier;
use crate::pool::{Pool, PoolId};
use crate::rule::{Question, Rule, RuleId};

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
    /// How long idle sessions live.
    pub timeouts: Timeouts,
    /// How many sessions there may be.
    pub limits: Limits,
    routes: JointPrefixMap<IpNet, Route>,
    owners: JointPrefixMap<IpNet, Ownership>,
    classifier: Classifier,
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
    /// The appliance's own addresses with the prefix that is connected: host bits kept.
    pub addresses: Vec<IpNet>,
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
    /// An address of the pool. Where several pools share it by ports, one of them.
    Pool(PoolId),
}

/// Seconds without a packet after which a session ends (and at most 2 s later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP and whatever has no class of its own (RFC 4787 REQ-5: at least 120).
    pub udp: u32,
    /// TCP between the handshake and the first FIN or RST (RFC 5382 REQ-5: at least 7,440).
    pub tcp_established: u32,
    /// TCP before and after that (RFC 5382 REQ-5: at least 240).
    pub tcp_transitory: u32,
    /// ICMP queries (RFC 5508 REQ-2: at least 60).
    pub icmp: u32,
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the session table, allocated at start.
    pub sessions: u32,
    /// Of one inside address.
    pub sessions_per_source: u32,
}

/// A route as compiled; connected prefixes are routes without `via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) interface: InterfaceId,
    pub(crate) via: Option<IpAddr>,
}

/// The parts of a policy, already validated.
pub(crate) struct Parts {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) routes: Vec<(IpNet, Route)>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
}

impl Policy {
    /// Compiles the lookups. Connected prefixes become routes.
    pub(crate) fn compile(parts: Parts) -> Self {
        let Parts { interfaces, routes, pools, rules, timeouts, limits } = parts;
        let mut routes: JointPrefixMap<IpNet, Route> = routes.into_iter().collect();
        let mut owners = JointPrefixMap::new();
        for (index, pool) in pools.iter().enumerate() {
            let owner = Ownership::Pool(PoolId(index as u16));
            for prefix in &pool.addresses {
                owners.insert(*prefix, owner);
            }
        }
        for (index, interface) in interfaces.iter().enumerate() {
            let id = InterfaceId(index as u8);
            for address in &interface.addresses {
                routes.insert(address.trunc(), Route { interface: id, via: None });
                owners.insert(IpNet::from(address.addr()), Ownership::Interface(id));
            }
        }
        let classifier = Classifier::new(&rules);
        Self { interfaces, rules, pools, timeouts, limits, routes, owners, classifier }
    }

    /// Where a packet to `destination` leaves, by longest prefix. `None` if no route covers it.
    #[must_use]
    pub fn route(&self, destination: IpAddr) -> Option<Hop> {
        let (_, route) = self.routes.get_lpm(&IpNet::from(destination))?;
        Some(Hop { interface: route.interface, next_hop: route.via.unwrap_or(destination) })
    }

    /// The first rule that matches. `None` means the packet is dropped (`no_rule`).
    ///
    /// Cost: two prefix lookups and a few words per 64 rules.
    #[must_use]
    pub fn decide(&self, question: &Question) -> Option<RuleId> {
        let index = self.classifier.first(question, &self.rules)?;
        Some(RuleId(index as u16))
    }

    /// Whether, and by what, the address is one of ours.
    #[must_use]
    pub fn ownership(&self, address: IpAddr) -> Option<Ownership> {
        self.owners.get_lpm(&IpNet::from(address)).map(|(_, owner)| *owner)
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

impl Default for Timeouts {
    fn default() -> Self {
        Self { udp: 300, tcp_established: 7440, tcp_transitory: 240, icmp: 60 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 1_000_000, sessions_per_source: 4096 }
    }
}

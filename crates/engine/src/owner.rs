//! Which worker a packet belongs to: a pure function of its addresses and ports and of the policy, so
//! that every worker says the same, of both directions of every session.
//!
//! Asked only for packets without a session: whoever has the session is the owner.
//!
//! - To an address of ours: a port that rules claim, and all of a `static` address, belongs to the
//!   worker of the host inside; a port of a pool to the worker that leases it: by its place in the
//!   round of all workers, by its block, or by the host that it is of by arithmetic; without ports, to
//!   hash(remote, protocol).
//! - To an address of ours from inside (the first half of a hairpin): the worker of the sender. Its
//!   second half is a packet to an address of ours.
//! - Else: the worker of the source, hash(source), so that all of a host's mappings are together. Where
//!   a `bypass` rule matches in either direction, that of the lower address, for both directions.
//!   Hosts of one source (`limits.source_prefix_v4`, `_v6`) have one worker, so that its limits hold.
//! - An ICMP error: as the packet that would answer the quoted one.
//! - A service: worker 0.

use std::net::IpAddr;

use mooring_nat::{PortOwner, PortOwners, question};
use mooring_policy::{Action, Limits, Policy, PortForward, StaticMap};
use mooring_session::{Address, FlowKey};
use mooring_wire::Protocol;

/// What is needed of a policy to name the owner of a packet.
#[derive(Debug)]
pub(crate) struct Owners {
    of: u8,
    /// They say which hosts are one source.
    limits: Limits,
    ports: PortOwners,
    /// By address, protocol and first port; they do not overlap.
    forwards: Box<[PortForward]>,
    /// By outside prefix; they do not overlap.
    statics: Box<[StaticMap]>,
}

impl Owners {
    /// Of `of` workers, under `policy`.
    pub(crate) fn new(policy: &Policy, of: u8) -> Self {
        let actions = || policy.rules.iter().map(|rule| &rule.action);
        let forwards = actions().filter_map(|action| match action {
            Action::PortForward(forward) => Some(forward.clone()),
            _ => None,
        });
        let statics = actions().filter_map(|action| match action {
            Action::Static(map) => Some(*map),
            _ => None,
        });
        let mut forwards: Vec<PortForward> = forwards.collect();
        let mut statics: Vec<StaticMap> = statics.collect();
        forwards.sort_by_key(start);
        statics.sort_by_key(|map| map.outside.network());
        Self {
            of,
            limits: policy.limits,
            ports: PortOwners::new(policy),
            forwards: forwards.into(),
            statics: statics.into(),
        }
    }

    /// The owner of a packet of the flow `key`, as it arrived.
    pub(crate) fn of_flow<A: Address>(&self, policy: &Policy, key: &FlowKey<A>) -> u8 {
        let (source, destination) = (key.source.into(), key.destination.into());
        if policy.ownership(destination).is_some() {
            let from = policy.route(source).map(|hop| hop.interface);
            let sides = policy.outside_of(destination);
            return match from {
                _ if policy.ownership(source).is_some() => self.of_delivered(policy, key),
                Some(from) if !sides.is_empty() && !sides.contains(from) => self.of_host(source),
                _ => self.of_ours(policy, key),
            };
        }
        let passes = |key: &FlowKey<A>| is_bypassed(policy, key);
        if passes(key) || passes(&key.exchanged()) {
            return self.of_host(source.min(destination));
        }
        self.of_host(source)
    }

    /// The worker that remembers the pieces of a packet. It can be named by every one of them, without
    /// ports; `key` has none. By the first piece that worker then finds the owner.
    pub(crate) fn of_pieces<A: Address>(
        &self,
        policy: &Policy,
        key: &FlowKey<A>,
        identification: u32,
    ) -> u8 {
        let (source, destination) = (key.source.into(), key.destination.into());
        if policy.ownership(destination).is_none() {
            return self.of_flow(policy, key);
        }
        let ([a, b], [c, d]) = (words(source), words(destination));
        self.pick([a ^ d ^ u64::from(identification) << 16, b ^ c ^ u64::from(key.protocol.0)])
    }

    /// The owner of a packet to an address of ours that comes from its outside, or out of the first
    /// half of a hairpin.
    pub(crate) fn of_ours<A: Address>(&self, policy: &Policy, key: &FlowKey<A>) -> u8 {
        let (protocol, port) = (key.protocol, key.destination_port);
        let address = key.destination.into();
        if policy.service(address, protocol, port).is_some() {
            return 0;
        }
        if let Some(inside) = self.claimed(address, protocol, port) {
            return self.of_host(inside);
        }
        match protocol {
            Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => {
                match self.ports.of(policy, address, port, self.of) {
                    PortOwner::Worker(worker) => worker,
                    PortOwner::HostsWorker(host) => self.of_host(host),
                }
            }
            _ => self.pick([words(key.source.into())[0], u64::from(protocol.0)]),
        }
    }

    /// The owner of a packet between two addresses of ours: the source is delivered, stands for itself
    /// and so has no half of a hairpin. The answer must name the same worker.
    fn of_delivered<A: Address>(&self, policy: &Policy, key: &FlowKey<A>) -> u8 {
        let (source, destination) = (key.source.into(), key.destination.into());
        let target = self.claimed(destination, key.protocol, key.destination_port);
        let from = target.and_then(|target| policy.route(target));
        match from.map(|hop| policy.outside_of(source).contains(hop.interface)) {
            Some(true) => self.of_host(source),
            _ => self.of_ours(policy, key),
        }
    }

    /// The host inside that a rule gives a port of an address of ours to.
    fn claimed(&self, address: IpAddr, protocol: Protocol, port: u16) -> Option<IpAddr> {
        let before = self.forwards.partition_point(|f| start(f) <= (address, protocol, port));
        let forward = self.forwards[..before].last();
        let forward = forward.filter(|f| (f.address, f.protocol) == (address, protocol));
        if let Some((target, _)) = forward.and_then(|forward| forward.target(port)) {
            return Some(target);
        }
        let behind = self.statics.partition_point(|map| map.outside.network() <= address);
        self.statics[..behind].last()?.inward(address)
    }

    /// The worker that a host's sessions belong to.
    fn of_host(&self, host: IpAddr) -> u8 {
        self.pick(words(self.limits.source_of(host)))
    }

    /// A worker, by a mix that needs no secret: a table of one worker has its own.
    fn pick(&self, words: [u64; 2]) -> u8 {
        let mut mixed = words[0].wrapping_mul(MIX) ^ words[1].rotate_left(32);
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(MIX);
        (((mixed >> 32) * u64::from(self.of)) >> 32) as u8
    }
}

/// What port forwards are sorted by.
fn start(forward: &PortForward) -> (IpAddr, Protocol, u16) {
    (forward.address, forward.protocol, *forward.ports.start())
}

/// Whether the policy lets a flow pass as it is, whoever begins it.
fn is_bypassed<A: Address>(policy: &Policy, key: &FlowKey<A>) -> bool {
    let (source, destination) = (key.source.into(), key.destination.into());
    let interface = |address| policy.route(address).map(|hop| hop.interface);
    let (Some(ingress), Some(egress)) = (interface(source), interface(destination)) else {
        return false;
    };
    let rule = policy.decide(&question(key, ingress, egress));
    rule.is_some_and(|rule| policy.rule(rule).action == Action::Bypass)
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => address.words(),
        IpAddr::V6(address) => address.words(),
    }
}

/// An odd number whose bits look random: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests;

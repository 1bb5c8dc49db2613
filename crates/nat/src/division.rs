//! Whose the outside ports are under one policy: of the rules that claim them, or of the workers that
//! lease them. Also one of before, for what the policy of now gives to nobody: sessions that drain are
//! found as they were.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mooring_policy::{Action, Policy, PortForward, StaticMap};
use mooring_wire::Protocol;

use crate::owner::has_number;
use crate::{PortOwner, PortOwners};

/// What a policy says of outside ports.
#[derive(Debug)]
pub(crate) struct Division {
    pub(crate) policy: Arc<Policy>,
    pub(crate) ports: PortOwners,
    /// By address, protocol and first port; they do not overlap.
    forwards: Box<[PortForward]>,
    /// By outside prefix; they do not overlap.
    statics: Box<[StaticMap]>,
    /// First and last address of those that rules forward to, in their order; they do not overlap.
    targets: Box<[(IpAddr, IpAddr)]>,
    /// Some rule lets its sessions drain.
    pub(crate) drains: bool,
}

impl Division {
    /// By a policy.
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
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
            ports: PortOwners::new(&policy),
            targets: targets(&forwards, &statics),
            forwards: forwards.into(),
            statics: statics.into(),
            drains: policy.rules.iter().any(|rule| rule.drain),
            policy,
        }
    }

    /// The inside end that a rule gives a port of an address of ours to.
    pub(crate) fn claimed(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<(IpAddr, u16)> {
        let before = self.forwards.partition_point(|f| start(f) <= (address, protocol, port));
        let forward = self.forwards[..before].last();
        let forward = forward.filter(|f| (f.address, f.protocol) == (address, protocol));
        if let Some(target) = forward.and_then(|forward| forward.target(port)) {
            return Some(target);
        }
        let behind = self.statics.partition_point(|map| map.outside.network() <= address);
        Some((self.statics[..behind].last()?.inward(address)?, port))
    }

    /// Whose, of `of` workers, a port is; `None` where neither a rule nor a pool has it.
    pub(crate) fn named(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
        of: u8,
    ) -> Option<PortOwner> {
        self.policy.ownership(address)?;
        if let Some((inside, _)) = self.claimed(address, protocol, port) {
            return Some(PortOwner::HostsWorker(inside));
        }
        // Identifiers are not limited by the ports of a pool.
        let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
        let mut pools = self.policy.pools.iter();
        let leased = has_number(protocol)
            && pools.any(|p| p.contains(address) && (!has_ports || p.ports.contains(&port)));
        leased.then(|| self.ports.of(&self.policy, address, port, of))
    }

    /// Whether rules forward to a host.
    pub(crate) fn is_target(&self, host: IpAddr) -> bool {
        let behind = self.targets.partition_point(|(first, _)| *first <= host);
        self.targets[..behind].last().is_some_and(|(_, last)| host <= *last)
    }

    /// Whether another policy says the same of all ports.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let parts = |division: &Self| {
            let pools = division.policy.pools.iter();
            pools.map(|p| (p.addresses.clone(), p.ports.clone(), p.allocation.clone())).collect()
        };
        let (mine, others): (Vec<_>, Vec<_>) = (parts(self), parts(other));
        let outside =
            |address: IpAddr| self.policy.outside_of(address) == other.policy.outside_of(address);
        mine == others
            && self.forwards == other.forwards
            && self.statics == other.statics
            && mine.iter().flat_map(|(nets, ..)| nets).all(|net| outside(net.addr()))
            && self.forwards.iter().all(|forward| outside(forward.address))
            && self.statics.iter().all(|map| outside(map.outside.addr()))
    }
}

/// The hosts that rules forward to, as ranges that do not overlap.
fn targets(forwards: &[PortForward], statics: &[StaticMap]) -> Box<[(IpAddr, IpAddr)]> {
    let of_net = |net: &IpNet| (net.network(), net.broadcast());
    let hosts = forwards.iter().map(|forward| (forward.target, forward.target));
    let mut all: Vec<_> = hosts.chain(statics.iter().map(|map| of_net(&map.inside))).collect();
    all.sort_unstable();
    all.dedup_by(|next, last| {
        let overlaps = next.0 <= last.1;
        if overlaps {
            last.1 = last.1.max(next.1);
        }
        overlaps
    });
    all.into()
}

/// What port forwards are sorted by.
fn start(forward: &PortForward) -> (IpAddr, Protocol, u16) {
    (forward.address, forward.protocol, *forward.ports.start())
}

//! Which worker a packet belongs to: a pure function of its addresses and ports and of the policies that
//! the workers have had, so that every worker says the same, of both directions of every session.
//!
//! Asked only for packets without a session: whoever has the session is the owner.
//!
//! - To an address of ours: a port that rules claim, and all of a `static` address, belongs to the
//!   worker of the host inside; a port of a pool to the worker that leases it: by its place in the
//!   round of all workers, by its block, or by the host that it is of by arithmetic; without ports, to
//!   hash(remote, protocol).
//! - To an address of ours from inside (the first half of a hairpin): the worker of the sender. Its
//!   second half is a packet to an address of ours.
//! - To an address or port that the policy of now gives to nobody, but one before gave to somebody: as
//!   that one had it (`division.rs`), for sessions that drain.
//! - Else: the worker of the source, hash(source), so that all of a host's mappings are together. Where
//!   a `bypass` rule matches in either direction, one host of the two, for both: that which the other
//!   direction translates or rules forward to, else the lower address.
//!   Hosts of one source (`limits.source_prefix_v4`, `_v6`) have one worker, so that its limits hold.
//! - An ICMP error: as the packet that would answer the quoted one.
//! - A service: worker 0.
//!
//! The workers take a policy up one after the other. Until all of them have, a flow begins only where
//! both directions belong under the policies of before, too (`Owners::is_settled`): so nothing begins
//! at one worker that another still passes packets of, and no outside end is two flows.

use std::net::IpAddr;
use std::sync::Arc;

use mooring_policy::{Action, Limits, Policy};
use mooring_session::{Address, Direction, FlowKey, Session};
use mooring_wire::Protocol;

use crate::division::Division;
use crate::{PortOwner, Share, question};

/// What is needed of the policies to name the owner of a packet.
#[derive(Debug)]
pub struct Owners {
    share: Share,
    /// They say which hosts are one source; their prefixes are those of the start.
    limits: Limits,
    now: Divisions,
    /// Those that some worker may still work by.
    before: Vec<Divisions>,
}

/// The policy of now, and behind it those before that sessions may drain of, the latest first.
#[derive(Clone, Debug)]
struct Divisions(Vec<Arc<Division>>);

impl Owners {
    /// Of the workers of which this is one, under `policy`.
    #[must_use]
    pub fn new(policy: Arc<Policy>, share: Share) -> Self {
        let limits = policy.limits;
        let now = Divisions(vec![Arc::new(Division::new(policy))]);
        Self { share, limits, now, before: Vec::new() }
    }

    /// Follows another policy. What it gives to nobody stays as it was where sessions may drain.
    pub fn follow(&mut self, policy: Arc<Policy>) {
        let next = self.now.followed_by(policy);
        let before = std::mem::replace(&mut self.now, next);
        if self.share.of() > 1 {
            self.before.push(before);
        }
    }

    /// Every worker works by the policy of now.
    pub fn all_follow(&mut self) {
        self.before.clear();
    }

    /// The owner of a packet of the flow `key`, as it arrived.
    #[must_use]
    pub fn of_flow<A: Address>(&self, key: &FlowKey<A>) -> u8 {
        self.by(&self.now).of_flow(key)
    }

    /// The worker that remembers the pieces of a packet. It can be named by every one of them, without
    /// ports; `key` has none. By the first piece that worker then finds the owner.
    #[must_use]
    pub fn of_pieces<A: Address>(&self, key: &FlowKey<A>, identification: u32) -> u8 {
        let (source, destination) = (key.source.into(), key.destination.into());
        let by = self.by(&self.now);
        if by.policy().ownership(destination).is_none() {
            return by.of_flow(key);
        }
        let ([a, b], [c, d]) = (words(source), words(destination));
        by.pick([a ^ d ^ u64::from(identification) << 16, b ^ c ^ u64::from(key.protocol.0)])
    }

    /// The owner of a packet to an address of ours that comes from its outside, or out of the first
    /// half of a hairpin.
    #[must_use]
    pub fn of_ours<A: Address>(&self, key: &FlowKey<A>) -> u8 {
        self.by(&self.now).of_ours(key)
    }

    /// Whether packets of both directions of a session belong to this worker.
    pub(crate) fn has_both<A: Address>(&self, session: &Session<A>) -> bool {
        self.share.of() == 1 || self.has_both_by(&self.now, session)
    }

    /// Whether some worker may still work by another policy.
    pub(crate) fn is_moving(&self) -> bool {
        !self.before.is_empty()
    }

    /// Whether a session may begin here, whichever of the policies the other workers work by.
    pub(crate) fn is_settled<A: Address>(&self, session: &Session<A>) -> bool {
        let mut all = self.before.iter().chain([&self.now]);
        !self.is_moving() || all.all(|by| self.has_both_by(by, session))
    }

    /// Whether a port of a pool was this worker's under all policies that others may still work by.
    pub(crate) fn had<A: Address>(&self, key: &FlowKey<A>) -> bool {
        self.before.iter().all(|by| self.by(by).of_flow(key) == self.share.worker())
    }

    /// Whether the policy of now gives the outside end of a session to somebody else by a rule, a service
    /// or an interface. What pools may do with it is not asked.
    pub(crate) fn gives_away<A: Address>(&self, session: &Session<A>) -> bool {
        let division = self.now.first();
        let (address, port) = (session.outside.into(), session.outside_port);
        let policy = &division.policy;
        let of_a_link =
            || policy.ownership(address).is_some() && policy.outside_of(address).is_empty();
        if policy.service(address, session.protocol, port).is_some() || of_a_link() {
            return true;
        }
        match division.claimed(address, session.protocol, port) {
            Some(inside) => inside != (session.inside.into(), session.inside_port),
            // A ping of an address of ours is ours.
            None => {
                let is_icmp = matches!(session.protocol, Protocol::ICMP | Protocol::ICMPV6);
                is_icmp && port == 0 && policy.ownership(address).is_some()
            }
        }
    }

    fn has_both_by<A: Address>(&self, by: &Divisions, session: &Session<A>) -> bool {
        let both = [Direction::Forward, Direction::Reverse];
        let by = self.by(by);
        both.iter().all(|way| by.of_flow(&session.key(*way)) == self.share.worker())
    }

    fn by<'a>(&'a self, divisions: &'a Divisions) -> By<'a> {
        By { of: self.share.of(), limits: &self.limits, divisions }
    }

    #[cfg(test)]
    pub(crate) fn of_host(&self, host: IpAddr) -> u8 {
        self.by(&self.now).of_host(host)
    }
}

impl Divisions {
    /// A function of the policies alone, in their order, so that all workers come to the same.
    fn followed_by(&self, policy: Arc<Policy>) -> Self {
        let mut all = vec![Arc::new(Division::new(policy))];
        for old in self.0.iter().filter(|old| old.drains) {
            if !all.iter().any(|other| other.says_the_same(old)) {
                all.push(Arc::clone(old));
            }
        }
        all.truncate(1 + FORMER);
        Self(all)
    }

    fn first(&self) -> &Division {
        &self.0[0]
    }

    fn former(&self) -> &[Arc<Division>] {
        &self.0[1..]
    }
}

/// How ownership is found by some divisions.
#[derive(Clone, Copy)]
struct By<'a> {
    of: u8,
    limits: &'a Limits,
    divisions: &'a Divisions,
}

impl By<'_> {
    fn policy(&self) -> &Policy {
        &self.divisions.first().policy
    }

    /// See [`Owners::of_flow`].
    fn of_flow<A: Address>(&self, key: &FlowKey<A>) -> u8 {
        let (source, destination) = (key.source.into(), key.destination.into());
        let policy = self.policy();
        if policy.ownership(destination).is_some() {
            let from = policy.route(source).map(|hop| hop.interface);
            let sides = policy.outside_of(destination);
            return match from {
                _ if policy.ownership(source).is_some() => self.of_delivered(key),
                Some(from) if !sides.is_empty() && !sides.contains(from) => self.of_host(source),
                _ => self.of_ours(key),
            };
        }
        let there = Fate::of(policy, key);
        if there == Fate::Translated && self.divisions.former().is_empty() {
            return self.of_host(source);
        }
        match (there, Fate::of(policy, &key.exchanged())) {
            (Fate::Passed, Fate::Translated) => self.of_host(destination),
            (Fate::Translated, Fate::Passed) => self.of_host(source),
            (Fate::Passed, _) | (_, Fate::Passed) => self.of_pair(source, destination),
            _ => self.of_former(key).unwrap_or_else(|| self.of_host(source)),
        }
    }

    /// The owner of a packet between two hosts that a `bypass` rule lets pass.
    fn of_pair(&self, a: IpAddr, b: IpAddr) -> u8 {
        let division = self.divisions.first();
        match (division.is_target(a), division.is_target(b)) {
            (true, false) => self.of_host(a),
            (false, true) => self.of_host(b),
            _ => self.of_host(a.min(b)),
        }
    }

    /// The owner of a packet to an address that is no longer ours, from where it was outside or, of the
    /// half of a hairpin, from an address of ours.
    fn of_former<A: Address>(&self, key: &FlowKey<A>) -> Option<u8> {
        let former = self.divisions.former();
        if former.is_empty() {
            return None;
        }
        let (source, address) = (key.source.into(), key.destination.into());
        let is_ours = self.policy().ownership(source).is_some();
        let from = self.policy().route(source).filter(|_| !is_ours).map(|hop| hop.interface);
        let was_outside = |division: &&Arc<Division>| {
            from.is_none_or(|from| division.policy.outside_of(address).contains(from))
        };
        let mut former = former.iter().filter(was_outside);
        former.find_map(|division| self.named(division, key))
    }

    /// See [`Owners::of_ours`].
    fn of_ours<A: Address>(&self, key: &FlowKey<A>) -> u8 {
        let (protocol, port) = (key.protocol, key.destination_port);
        let address = key.destination.into();
        let now = self.divisions.first();
        if now.policy.service(address, protocol, port).is_some() {
            return 0;
        }
        let former = self.divisions.former();
        let named = || {
            let all = std::iter::once(now).chain(former.iter().map(|division| &**division));
            all.into_iter().find_map(|division| self.named(division, key))
        };
        let claimed = now.claimed(address, protocol, port).map(|(inside, _)| self.of_host(inside));
        let first = if former.is_empty() { claimed } else { named() };
        first.unwrap_or_else(|| match has_number(protocol) {
            true => self.worker(now.ports.of(&now.policy, address, port, self.of)),
            false => self.pick([words(key.source.into())[0], u64::from(protocol.0)]),
        })
    }

    /// The owner by a division that gives the destination's port to somebody.
    fn named<A: Address>(&self, division: &Division, key: &FlowKey<A>) -> Option<u8> {
        let (address, port) = (key.destination.into(), key.destination_port);
        division.named(address, key.protocol, port, self.of).map(|owner| self.worker(owner))
    }

    /// The owner of a packet between two addresses of ours: the source is delivered, stands for itself
    /// and so has no half of a hairpin. The answer must name the same worker.
    fn of_delivered<A: Address>(&self, key: &FlowKey<A>) -> u8 {
        let (source, destination) = (key.source.into(), key.destination.into());
        let policy = self.policy();
        let division = self.divisions.first();
        let target = division.claimed(destination, key.protocol, key.destination_port);
        let from = target.and_then(|(target, _)| policy.route(target));
        match from.map(|hop| policy.outside_of(source).contains(hop.interface)) {
            Some(true) => self.of_host(source),
            _ => self.of_ours(key),
        }
    }

    fn worker(&self, owner: PortOwner) -> u8 {
        match owner {
            PortOwner::Worker(worker) => worker,
            PortOwner::HostsWorker(host) => self.of_host(host),
        }
    }

    /// The worker that a host's sessions belong to.
    fn of_host(&self, host: IpAddr) -> u8 {
        self.pick(words(self.limits.source_of(host)))
    }

    /// A worker, by a mix that needs no secret: a table of one worker has its own. Classic BPF can say it
    /// (`fan_out.rs`), so it has no word longer than 32 bits.
    fn pick(&self, words: [u64; 2]) -> u8 {
        let [low, high] = words;
        let words = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
        let sum =
            |sum: u32, (word, factor): (u32, u32)| sum.wrapping_add(word.wrapping_mul(factor));
        let mut mixed = words.into_iter().zip(FACTORS).fold(0, sum);
        for (shift, factor) in MIX {
            mixed = (mixed ^ (mixed >> shift)).wrapping_mul(factor);
        }
        (mixed % u32::from(self.of)) as u8
    }
}

/// What the rules make of a flow between two hosts that its sender would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It passes as it is.
    Passed,
    Translated,
    Refused,
}

impl Fate {
    fn of<A: Address>(policy: &Policy, key: &FlowKey<A>) -> Self {
        let interface = |address: A| policy.route(address.into()).map(|hop| hop.interface);
        let (Some(ingress), Some(egress)) = (interface(key.source), interface(key.destination))
        else {
            return Self::Refused;
        };
        let rule = policy.decide(&question(key, ingress, egress));
        match rule.map(|rule| &policy.rule(rule).action) {
            Some(Action::Bypass) => Self::Passed,
            Some(Action::SourceNat(_) | Action::Static(_)) => Self::Translated,
            Some(Action::Drop | Action::PortForward(_)) | None => Self::Refused,
        }
    }
}

/// Whether packets of a protocol have a number that pools give out.
pub(crate) const fn has_number(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6)
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => address.words(),
        IpAddr::V6(address) => address.words(),
    }
}

/// An odd number for each word of an address, the last word first. Any whose bits look random would do.
pub(crate) const FACTORS: [u32; 4] = [0xc331_f3ab, 0x85eb_ca77, 0xc2b2_ae3d, 0xa827_688d];

/// How the sum is mixed: by how much it is shifted and by what multiplied (the end of MurmurHash3, whose
/// last step mixes the low bits only, which a remainder needs).
pub(crate) const MIX: [(u32, u32); 3] = [(16, 0x85eb_ca6b), (13, 0xc2b2_ae35), (16, 1)];

/// Policies of before that are remembered for sessions that drain. At the next one more the oldest is
/// forgotten, and its sessions end with the sweep, unless their outside ends are found without it.
pub(crate) const FORMER: usize = 8;

#[cfg(test)]
mod tests;

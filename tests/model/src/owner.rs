//! Which worker a packet comes to that has no session yet, by its addresses and ports and the policies
//! so far: written from `docs/architecture.md`, `docs/port-allocation.md` and what stands at the head of
//! `crates/nat/src/owner.rs`, without any of its code.

use std::net::IpAddr;

use crate::packet::{End, GRE, ICMP, ICMPV6, Key, TCP, UDP};
use crate::spec::{Action, Kind, Pool, Side, Spec, is_own, side_of};

#[derive(Clone, Debug)]
pub(crate) struct Owners {
    workers: usize,
    /// The policy of now, and behind it those that sessions may drain of, the latest first.
    policies: Vec<Spec>,
}

/// What the rules make of a flow that its sender would begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Translated,
    Refused,
}

impl Owners {
    pub(crate) fn new(spec: &Spec, workers: usize) -> Self {
        Self { workers, policies: vec![spec.clone()] }
    }

    /// Another policy. One that says the same of all ports as a later one needs no place of its own, and
    /// eight are remembered.
    pub(crate) fn follow(&mut self, spec: &Spec) {
        let mut known = vec![spec.division()];
        self.policies.retain(|former| {
            let division = former.division();
            let is_new = former.drains() && !known.contains(&division);
            known.extend(is_new.then_some(division));
            is_new
        });
        self.policies.truncate(8);
        self.policies.insert(0, spec.clone());
    }

    /// The worker of a packet that comes in by `from`.
    pub(crate) fn of(&self, key: &Key, from: Side) -> usize {
        if self.workers == 1 {
            return 0;
        }
        let (source, destination) = (key.source.0, key.destination.0);
        let now = &self.policies[0];
        let is_outside = now.is_outside_address(destination);
        if is_outside || is_own(destination) {
            // Of the first half of a hairpin, that of its sender.
            let begins =
                from != Side::Hairpin && is_outside && side_of(source) == Some(Side::Inside);
            return if begins { self.of_host(source) } else { self.of_ours(key) };
        }
        match (fate(now, key), fate(now, &key.turned())) {
            (Fate::Passed, Fate::Translated) => self.of_host(destination),
            (Fate::Translated, Fate::Passed) => self.of_host(source),
            (Fate::Passed, _) | (_, Fate::Passed) => self.of_pair(source, destination),
            _ => self.of_former(key).unwrap_or_else(|| self.of_host(source)),
        }
    }

    /// The worker of all that a host begins.
    pub(crate) fn of_host(&self, host: IpAddr) -> usize {
        let [low, high] = match host {
            IpAddr::V4(v4) => [v4.to_bits().into(), 0],
            IpAddr::V6(v6) => [v6.to_bits() as u64, (v6.to_bits() >> 64) as u64],
        };
        self.hash(low, high)
    }

    /// Any function would do that is the same for all. This one is written in 64 bits, cut to 32 at every
    /// step: a sum of products of the four words, the last word of an address first, and the end of
    /// MurmurHash3.
    fn hash(&self, low: u64, high: u64) -> usize {
        let cut = |number: u64| number % (1 << 32);
        let products = [
            cut(low) * 3_274_830_763,
            (low >> 32) * 2_246_822_519,
            cut(high) * 3_266_489_917,
            (high >> 32) * 2_821_154_957,
        ];
        let mut mixed = cut(products.map(cut).iter().sum());
        mixed = cut((mixed ^ (mixed >> 16)) * 2_246_822_507);
        mixed = cut((mixed ^ (mixed >> 13)) * 3_266_489_909);
        ((mixed ^ (mixed >> 16)) % self.workers as u64) as usize
    }

    /// Between two hosts that a rule lets pass as they are: one of the two, for both directions.
    fn of_pair(&self, a: IpAddr, b: IpAddr) -> usize {
        let is_target = |host| {
            self.policies[0].rules.iter().any(|rule| match rule.action {
                Action::Static(inside, _) => inside == host,
                Action::PortForward(.., target) => target.0 == host,
                _ => false,
            })
        };
        match (is_target(a), is_target(b)) {
            (true, false) => self.of_host(a),
            (false, true) => self.of_host(b),
            _ => self.of_host(a.min(b)),
        }
    }

    /// To an address that was ours, from where it was outside.
    fn of_former(&self, key: &Key) -> Option<usize> {
        let (source, address) = (key.source.0, key.destination.0);
        let is_ours = self.policies[0].is_outside_address(source);
        let from = side_of(source).filter(|_| !is_ours);
        let was_outside = |spec: &&Spec| {
            spec.is_outside_address(address) && from.is_none_or(|from| from == Side::Outside)
        };
        let mut former = self.policies[1..].iter().filter(was_outside);
        former.find_map(|spec| self.named(spec, key.protocol, key.destination))
    }

    /// To an address of ours.
    fn of_ours(&self, key: &Key) -> usize {
        let Key { protocol, destination: end, source } = *key;
        let named = self.policies.iter().find_map(|spec| self.named(spec, protocol, end));
        named.unwrap_or_else(|| match protocol {
            TCP | UDP | ICMP | ICMPV6 => self.of_port(&self.policies[0], end),
            _ => {
                let low = match source.0 {
                    IpAddr::V4(v4) => v4.to_bits().into(),
                    IpAddr::V6(v6) => v6.to_bits() as u64,
                };
                self.hash(low, protocol.into())
            }
        })
    }

    /// By a policy that gives an end to somebody: a rule, or a pool whose ports have it. Identifiers are
    /// not limited by the ports of a pool, and GRE has no number.
    fn named(&self, spec: &Spec, protocol: u8, end: End) -> Option<usize> {
        if let Some((host, _)) = spec.claimant(protocol, end) {
            return Some(self.of_host(host));
        }
        let leases = spec.pools.iter().any(|pool| pool.leases(protocol, end));
        leases.then(|| self.of_port(spec, end))
    }

    /// The worker that leases a port: by its block, by the host that it is of by arithmetic, or by its
    /// place in the round.
    fn of_port(&self, spec: &Spec, end: End) -> usize {
        let has_own = |pool: &&Pool| {
            matches!(pool.kind, Kind::Blocks(..) | Kind::Slices(..)) && pool.leases(TCP, end)
        };
        let pool = spec.pools.iter().find(has_own);
        if let Some(host) = pool.and_then(|pool| pool.host_of_slice(end)) {
            return self.of_host(host);
        }
        let turn = pool.and_then(|pool| pool.turn(end.1)).unwrap_or(end.1 / 2);
        usize::from(turn) % self.workers
    }
}

fn fate(spec: &Spec, key: &Key) -> Fate {
    let (Some(from), Some(to)) = (side_of(key.source.0), side_of(key.destination.0)) else {
        return Fate::Refused;
    };
    match spec.through(key, from, to).map(|rule| &rule.action) {
        Some(Action::Bypass) => Fate::Passed,
        Some(Action::SourceNat(_) | Action::Static(..)) => Fate::Translated,
        _ => Fate::Refused,
    }
}

impl Pool {
    /// Whether a pool may give an end to somebody.
    pub(crate) fn leases(&self, protocol: u8, end: End) -> bool {
        let (first, last) = self.ports;
        let has_ports = matches!(protocol, TCP | UDP);
        !self.empty
            && protocol != GRE
            && self.addresses.contains(&end.0)
            && (!has_ports || (first..=last).contains(&end.1))
    }

    /// The place of a port in the round of the workers: that of its pair, or of its block. A port of a
    /// slice has none.
    pub(crate) fn turn(&self, port: u16) -> Option<u16> {
        match self.kind {
            Kind::Random | Kind::Preserve => Some(port / 2),
            Kind::Blocks(size, ..) => Some(port.saturating_sub(self.ports.0) / size),
            Kind::Slices(..) => None,
        }
    }
}

//! Which addresses are ours, by what, and on which side they are answered for.
//!
//! An address of an interface, and a gateway address, is answered for on that interface. All others
//! are answered for outside: an address of a pool on the interfaces that the rules that use the pool
//! lead to (`to` or, where a rule leaves that open, all but its `from`, else all but those that lead
//! to its `source`), an address that rules claim on the interfaces that they name, else on all but the
//! one that leads to the host inside.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use mooring_wire::Protocol;
use prefix_trie::joint::JointPrefixMap;

use crate::policy::{InterfaceId, Ownership, Policy};
use crate::pool::{Pool, PoolId, address_count, nth_address};
use crate::rule::{Action, Matcher, Rule, RuleId};
use crate::service::ServiceId;
use crate::side::InterfaceSet;
use crate::spans::Spans;

/// The addresses of a policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// The prefix that is looked up says by what it is ours and where it is outside.
    owners: Spans<(Ownership, InterfaceSet)>,
    /// Addresses that rules claim and no pool has, in the order of the rules, each once.
    claimed: Vec<IpNet>,
    /// By address, protocol and first port; they do not overlap.
    ports: Vec<Claim>,
    /// The same, those that follow each other as one.
    taken: Vec<Claim>,
}

/// By what prefixes are ours, and where they are outside.
type Owners = JointPrefixMap<IpNet, (Ownership, InterfaceSet)>;

/// Ports of an address that a rule or a service has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) address: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) service: Option<ServiceId>,
}

impl Claims {
    /// From a policy whose routes are in place.
    pub(crate) fn new(policy: &Policy) -> Self {
        let ports = ports(policy);
        let mut claims = Self { taken: joined(&ports), ports, ..Self::default() };
        let mut owners = Owners::new();
        for (index, pool) in policy.pools.iter().enumerate() {
            for prefix in &pool.addresses {
                let owner = Ownership::Pool(PoolId(index as u16));
                owners.insert(*prefix, (owner, sides_of_pools(policy, prefix)));
            }
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            claims.add_rule(&mut owners, policy, RuleId(index as u16), rule);
        }
        for (index, interface) in policy.interfaces.iter().enumerate() {
            let id = InterfaceId(index as u8);
            let own = interface.addresses.iter().filter(|_| !interface.from_kernel);
            let own = own.map(|net| (net.addr(), Ownership::Interface(id)));
            let gateways = interface.gateway_addresses.iter();
            let gateways = gateways.map(|address| (*address, Ownership::Gateway(id)));
            for (address, owner) in gateways.chain(own) {
                let prefix = IpNet::from(address);
                // Ports of an interface's address may be forwarded as well.
                let sides = owners.get(&prefix).map_or(InterfaceSet::EMPTY, |(_, s)| *s);
                owners.insert(prefix, (owner, sides));
                claims.claimed.retain(|claimed| *claimed != prefix);
            }
        }
        claims.owners = Spans::new(&owners);
        claims
    }

    pub(crate) const fn owners(&self) -> &Spans<(Ownership, InterfaceSet)> {
        &self.owners
    }

    pub(crate) fn owner(&self, address: IpAddr) -> Option<Ownership> {
        self.owners.at(address).map(|(owner, _)| owner)
    }

    pub(crate) fn sides(&self, address: IpAddr) -> InterfaceSet {
        self.owners.at(address).map_or(InterfaceSet::EMPTY, |(_, sides)| sides)
    }

    /// The service that has a port.
    pub(crate) fn service(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<ServiceId> {
        claim_of(&self.ports, address, protocol, port)?.service
    }

    /// Up to which port this one and those after it are claimed.
    pub(crate) fn until(&self, address: IpAddr, protocol: Protocol, port: u16) -> Option<u16> {
        claim_of(&self.taken, address, protocol, port).map(|claim| *claim.ports.end())
    }

    /// Whether any port of a prefix is claimed.
    pub(crate) fn any_within(&self, prefix: &IpNet) -> bool {
        let before = self.taken.partition_point(|claim| claim.address < prefix.network());
        self.taken.get(before).is_some_and(|claim| prefix.contains(&claim.address))
    }

    fn add_rule(&mut self, owners: &mut Owners, policy: &Policy, id: RuleId, rule: &Rule) {
        let (prefix, named, target) = match &rule.action {
            Action::Static(map) => (map.outside, rule.matcher.to, map.inside.addr()),
            Action::PortForward(forward) => {
                (forward.address.into(), rule.matcher.from, forward.target)
            }
            Action::SourceNat(_) | Action::Bypass | Action::Drop => return,
        };
        let (owner, earlier) = match owners.get_lpm(&prefix.addr().into()) {
            Some((_, (owner, sides))) => (*owner, *sides),
            None => {
                self.claimed.push(prefix);
                (Ownership::Rule(id), InterfaceSet::EMPTY)
            }
        };
        let sides = match named {
            Some(interface) => InterfaceSet::only(interface),
            None if matches!(owner, Ownership::Pool(_)) && !earlier.is_empty() => earlier,
            None => away_from(policy, target),
        };
        owners.insert(prefix, (owner, earlier.union(sides)));
    }
}

impl Claim {
    /// What claims are sorted by.
    fn start(&self) -> (IpAddr, Protocol, u16) {
        (self.address, self.protocol, *self.ports.start())
    }

    /// Whether it goes on where an earlier one ends.
    fn follows(&self, earlier: &Self) -> bool {
        let next = earlier.ports.end().checked_add(1);
        next.is_some_and(|next| self.start() == (earlier.address, earlier.protocol, next))
    }
}

/// The claim on a port, of claims that are sorted and do not overlap.
fn claim_of(claims: &[Claim], address: IpAddr, protocol: Protocol, port: u16) -> Option<&Claim> {
    let before = claims.partition_point(|claim| claim.start() <= (address, protocol, port));
    let claim = claims[..before].last()?;
    let of = (claim.address, claim.protocol) == (address, protocol);
    (of && claim.ports.contains(&port)).then_some(claim)
}

/// Sorted claims, those that follow each other as one: a lease then passes them in one step.
fn joined(claims: &[Claim]) -> Vec<Claim> {
    let mut joined: Vec<Claim> = Vec::new();
    for claim in claims {
        match joined.last_mut() {
            Some(last) if claim.follows(last) => {
                last.ports = *last.ports.start()..=*claim.ports.end();
            }
            _ => joined.push(Claim { service: None, ..claim.clone() }),
        }
    }
    joined
}

/// What rules and services take, sorted.
fn ports(policy: &Policy) -> Vec<Claim> {
    let forwards = policy.rules.iter().filter_map(|rule| match &rule.action {
        Action::PortForward(forward) => Some(Claim {
            address: forward.address,
            protocol: forward.protocol,
            ports: forward.ports.clone(),
            service: None,
        }),
        _ => None,
    });
    let services = policy.services.iter().enumerate().map(|(index, service)| Claim {
        address: service.address,
        protocol: service.protocol,
        ports: service.port..=service.port,
        service: Some(ServiceId(index as u16)),
    });
    let mut ports: Vec<Claim> = forwards.chain(services).collect();
    ports.sort_by_key(Claim::start);
    ports
}

/// Where rules lead to that translate to a pool which has the whole prefix.
fn sides_of_pools(policy: &Policy, prefix: &IpNet) -> InterfaceSet {
    let mut sides = InterfaceSet::EMPTY;
    for rule in &policy.rules {
        let Action::SourceNat(pool) = rule.action else { continue };
        if policy.pool(pool).addresses.iter().any(|theirs| theirs.contains(prefix)) {
            sides = sides.union(match rule.matcher.to {
                Some(to) => InterfaceSet::only(to),
                None => away_from_senders(policy, &rule.matcher),
            });
        }
    }
    sides
}

/// Every interface but those that the senders of a rule are behind: its `from`, else where the
/// routes to its `source` lead. All of them, where that leaves none.
fn away_from_senders(policy: &Policy, matcher: &Matcher) -> InterfaceSet {
    if matcher.from.is_some() {
        return all_but(policy, matcher.from);
    }
    let all = InterfaceSet::first(policy.interfaces.len());
    let mut away = all;
    for interface in matcher.source.iter().flat_map(|prefix| policy.ways_to(prefix)) {
        away.remove(interface);
    }
    if away.is_empty() { all } else { away }
}

/// Every interface but the one that leads to a host.
fn away_from(policy: &Policy, host: IpAddr) -> InterfaceSet {
    all_but(policy, policy.route(host).map(|hop| hop.interface))
}

fn all_but(policy: &Policy, interface: Option<InterfaceId>) -> InterfaceSet {
    let mut all = InterfaceSet::first(policy.interfaces.len());
    if let Some(interface) = interface {
        all.remove(interface);
    }
    all
}

impl Policy {
    /// Whether `interface` answers for `address`: ARP, neighbor discovery, ping. Not for one that is
    /// not held.
    #[must_use]
    pub fn answers_for(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.is_side_of(interface, address)
            && self.is_held(address)
            && self.is_given_on(address, interface)
    }

    /// Whether `interface` is where `address` would be answered for.
    fn is_side_of(&self, interface: InterfaceId, address: IpAddr) -> bool {
        match self.ownership(address) {
            None => false,
            Some(Ownership::Interface(own) | Ownership::Gateway(own)) => own == interface,
            Some(Ownership::Pool(_) | Ownership::Rule(_)) => {
                self.outside_of(address).contains(interface)
            }
        }
    }

    /// The addresses that are held, to announce when they are taken up, each with the interface that answers for
    /// it: those of the interfaces, and up to 256 of each pool and rule.
    pub fn announced(&self) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        self.answered(ANNOUNCED)
    }

    /// Every address that we hold (the first 65,536 of each `static` rule), each with the interface that answers for it.
    pub fn addresses(&self) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        self.answered(Pool::MAX_ADDRESSES)
    }

    /// The addresses of the interfaces, and the first `limit` of each pool and rule.
    fn answered(&self, limit: u32) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        let ids = || (0..self.interfaces.len()).map(|index| InterfaceId(index as u8));
        let own = ids().flat_map(|id| {
            let interface = self.interface(id);
            let own = interface.addresses.iter().filter(|_| !interface.from_kernel);
            let own = own.map(|net| net.addr());
            own.chain(interface.gateway_addresses.iter().copied()).map(move |address| (id, address))
        });
        let pools = self.pools.iter().flat_map(move |pool| {
            (0..pool.address_count().min(limit)).filter_map(|n| pool.nth_address(n))
        });
        let claimed = self.claims.claimed.iter().flat_map(move |prefix| {
            (0..address_count(prefix).min(limit.into())).map(|n| nth_address(prefix, n))
        });
        let outside = pools.chain(claimed).flat_map(|address| {
            self.outside_of(address).iter().map(move |interface| (interface, address))
        });
        // Without somebody who gives addresses nothing is to be asked: all are held.
        let is_held = |(interface, address): &(InterfaceId, IpAddr)| {
            self.holdings.is_none() || self.answers_for(*interface, *address)
        };
        own.chain(outside).filter(is_held)
    }
}

/// Most addresses of a pool or rule that are announced at start: the rest is learned by asking.
const ANNOUNCED: u32 = 256;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use crate::{InterfaceId, load};

    const CONFIG: &str = r#"
        [[interface]]
        name = "inside"
        device = "in0"
        addresses = ["10.0.0.1/24"]

        [[interface]]
        name = "outside"
        device = "out0"
        addresses = ["192.0.2.1/24"]

        [[pool]]
        name = "egress"
        addresses = ["203.0.113.10/31"]

        [[rule]]
        name = "egress"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        pool = "egress"
    "#;

    #[test]
    fn addresses_are_answered_for_on_their_own_side_only() {
        let policy = load(CONFIG).expect("the configuration is valid").policy;
        let answered = |address: [u8; 4]| {
            [0, 1].map(|id| policy.answers_for(InterfaceId(id), Ipv4Addr::from(address).into()))
        };
        assert_eq!(answered([10, 0, 0, 1]), [true, false]);
        assert_eq!(answered([192, 0, 2, 1]), [false, true]);
        assert_eq!(answered([203, 0, 113, 11]), [false, true]);
        assert_eq!(answered([203, 0, 113, 12]), [false, false]);
        assert_eq!(answered([10, 0, 0, 2]), [false, false]);
    }

    #[test]
    fn a_rule_without_to_has_its_outside_where_it_does_not_come_from() {
        let config = CONFIG.replace("to = \"outside\"", "");
        let policy = load(&config).expect("the configuration is valid").policy;
        let pool = IpAddr::from([203, 0, 113, 10]);
        assert!(policy.answers_for(InterfaceId(1), pool));
        assert!(!policy.answers_for(InterfaceId(0), pool));
    }

    #[test]
    fn what_is_answered_for_is_announced() {
        let policy = load(CONFIG).expect("the configuration is valid").policy;
        let announced: Vec<_> = policy.announced().map(|(id, a)| (id.0, a.to_string())).collect();
        let expected =
            [(0, "10.0.0.1"), (1, "192.0.2.1"), (1, "203.0.113.10"), (1, "203.0.113.11")];
        assert_eq!(announced, expected.map(|(id, a)| (id, a.to_owned())));
    }

    #[test]
    fn a_large_pool_is_announced_in_part_and_listed_whole() {
        let config = CONFIG.replace("203.0.113.10/31", "203.0.112.0/22");
        let policy = load(&config).expect("the configuration is valid").policy;
        assert_eq!(policy.announced().count(), 2 + 256);
        assert_eq!(policy.addresses().count(), 2 + 1024);
    }
}

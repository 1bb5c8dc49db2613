//! Memory that changes hands at a reload. What a policy needs and the one before did not is made by
//! whoever makes the policy: a worker that did it would forward nothing meanwhile. What no policy needs
//! any more goes back the same way, so that the worker does not take the time to free it, either.

use std::collections::HashSet;

use mooring_policy::{Action, Filtering, Mapping as Kind, Policy, Pool, PoolLimits, Rule};
use mooring_session::{Address, Contact, CountTable, KeyedHash, MappingTable, Windows};

use crate::Share;
use crate::ports::AddressPorts;
use crate::tally::Tally;
use crate::transitory::Closing;

/// Parts that a worker may take for its tables of one family, and parts that it has no use for. What is
/// missing it makes itself.
pub struct Stock<A> {
    /// The leases of addresses that nothing is leased of.
    pub(crate) ports: Vec<AddressPorts>,
    pub(crate) mappings: Option<MappingTable<A>>,
    pub(crate) contacts: Option<CountTable<Contact<A>>>,
    pub(crate) tally: Option<Tally>,
    /// The part of a tally for sessions that are no longer open.
    pub(crate) closing: Option<Closing>,
    pub(crate) windows: Option<Windows>,
}

/// The tables that a policy needs for a family, beside those that every one needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) mappings: bool,
    pub(crate) contacts: bool,
    pub(crate) tally: bool,
    /// The tally has a part for sessions that are no longer open.
    pub(crate) closing: bool,
    /// No table: how many connections wait for an answer is limited.
    pub(crate) half_open: bool,
    pub(crate) windows: bool,
}

impl<A: Address> Stock<A> {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            ports: Vec::new(),
            mappings: None,
            contacts: None,
            tally: None,
            closing: None,
            windows: None,
        }
    }

    /// What a worker with this share lacks that works by one policy and is to work by another: 24 KB for
    /// each address that is new, and tables of the size that the limits say.
    #[must_use]
    pub fn between(before: &Policy, after: &Policy, share: Share) -> Self {
        let known: HashSet<A> = addresses(before).collect();
        let ports = addresses::<A>(after).filter(|address| !known.contains(address));
        let (has, needs) = (Needs::of::<A>(before), Needs::of::<A>(after));
        let (sessions, sources) =
            (share.part(after.limits.sessions), share.part(after.limits.sources));
        // The worker has a key of its own.
        let hash = || KeyedHash::new([0; 4]);
        let new = |has: bool, needs: bool| needs && !has;
        Self {
            ports: ports.map(|_| AddressPorts::make()).collect(),
            mappings: new(has.mappings, needs.mappings)
                .then(|| MappingTable::new(sessions, hash())),
            contacts: new(has.contacts, needs.contacts).then(|| CountTable::new(sessions, hash())),
            tally: new(has.tally, needs.tally).then(|| Tally::new(sessions, sources)),
            closing: new(has.closing, needs.closing).then(|| Closing::new(sessions, sources)),
            windows: new(has.windows, needs.windows).then(|| Windows::new(sessions)),
        }
    }
}

impl<A> Stock<A> {
    /// How many addresses the leases are enough for.
    #[must_use]
    pub const fn addresses(&self) -> usize {
        self.ports.len()
    }
}

impl Needs {
    pub(crate) fn of<A: Address>(policy: &Policy) -> Self {
        let ours = |pool: &&Pool| pool.nth_address(0).and_then(A::from_ip).is_some();
        let any = |wanted: fn(&Pool) -> bool| policy.pools.iter().filter(ours).any(wanted);
        let its_rules = || policy.rules.iter().filter(|rule| is_of::<A>(rule));
        let limited = |wanted: fn(&PoolLimits) -> bool| {
            policy.pools.iter().filter(ours).any(|pool| wanted(&pool.limits))
                || its_rules().any(|rule| wanted(&rule.limits))
        };
        Self {
            mappings: any(|pool| pool.mapping == Kind::EndpointIndependent),
            contacts: any(|pool| pool.filtering == Filtering::AddressDependent),
            tally: policy.limits.count_more() || limited(|limits| *limits != PoolLimits::default()),
            closing: policy.limits.transitory_per_source.is_some()
                || limited(|limits| limits.transitory.is_some()),
            half_open: policy.limits.half_open_per_source.is_some()
                || limited(|limits| limits.half_open.is_some()),
            windows: policy.tcp.window_tracking,
        }
    }
}

/// Whether a rule has an outside end of its own in this family.
fn is_of<A: Address>(rule: &Rule) -> bool {
    let outside = match &rule.action {
        Action::Static(map) => map.outside.addr(),
        Action::PortForward(forward) => forward.address,
        Action::SourceNat(_) | Action::Bypass | Action::Drop => return false,
    };
    A::from_ip(outside).is_some()
}

/// All addresses of the pools of a family.
pub(crate) fn addresses<A: Address>(policy: &Policy) -> impl Iterator<Item = A> + Clone + '_ {
    policy.pools.iter().flat_map(|pool| {
        let all = (0..pool.address_count()).filter_map(|n| pool.nth_address(n));
        all.filter_map(A::from_ip)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use mooring_policy::Generation;
    use mooring_wire::Protocol;

    use super::{Needs, Stock};
    use crate::fixture::{World, addresses_made, flow, policy};
    use crate::{Nat, Share};

    /// Remotes share the ports of one address; nothing else is asked for.
    const SMALL: &str = r#"
        limits = { sessions = 100 }
        pool = [{ name = "egress", addresses = ["203.0.113.10"], mapping = "endpoint-dependent" }]
        rule = [{ name = "egress", kind = "source-nat", pool = "egress", drain = true }]
    "#;

    /// Every table, and 255 addresses more.
    const LARGE: &str = r#"
        limits = { sessions = 100, mappings_per_source = 50 }
        tcp = { window_tracking = true }
        pool = [{ name = "egress", addresses = ["203.0.113.0/24"], filtering = "address-dependent" }]
        rule = [{ name = "egress", kind = "source-nat", pool = "egress", drain = true }]
    "#;

    /// Addresses, and which of the four tables.
    fn held(stock: &Stock<Ipv4Addr>) -> (usize, [bool; 4]) {
        let Stock { ports, mappings, contacts, tally, closing: _, windows } = stock;
        let tables = [mappings.is_some(), contacts.is_some(), tally.is_some(), windows.is_some()];
        (ports.len(), tables)
    }

    fn tables(nat: &Nat<Ipv4Addr>) -> [usize; 4] {
        let all = nat.allocations();
        ["mappings", "contacts", "limits", "windows"].map(|name| {
            let (_, bytes) = all.iter().find(|(table, _)| *table == name).expect("it is listed");
            *bytes
        })
    }

    fn adopt(world: &mut World, next: &str) -> [Stock<Ipv4Addr>; 2] {
        let next = policy(next);
        world.nat.supply(Stock::between(&world.policy, &next, Share::ALL));
        world.policy = next;
        world.generation = Generation(world.generation.0 + 1);
        world.nat.adopt(&world.policy, world.generation);
        world.nat.give_back()
    }

    #[test]
    fn what_a_policy_needs_is_made_beside_the_worker_and_taken_by_it() {
        let (small, large) = (policy(SMALL), policy(LARGE));
        let stock = Stock::between(&small, &large, Share::ALL);
        assert_eq!(held(&stock), (255, [true; 4]), "one address is there");
        assert_eq!(held(&Stock::between(&large, &small, Share::ALL)), (0, [false; 4]));
        let windows = Stock::<Ipv6Addr>::between(&small, &large, Share::ALL);
        assert!(windows.ports.is_empty() && windows.mappings.is_none(), "no pool is of IPv6");

        let mut world = World::new(SMALL);
        let [unused, old] = adopt(&mut world, LARGE);
        assert_eq!(held(&unused), (0, [false; 4]), "all of it is in use");
        assert_eq!(held(&old), (0, [false; 4]));
        assert!(tables(&world.nat).iter().all(|bytes| *bytes > 100));
        assert_eq!(world.nat.ports.addresses(), 256);
        world.session(flow(Protocol::UDP, "10.0.0.2:5000", "192.0.2.7:53"));
    }

    #[test]
    fn what_counts_connections_that_close_is_made_beside_a_worker_that_counts_already() {
        let closing = LARGE.replace("mappings_per_source = 50", "transitory_per_source = 50");
        let (counts, closing) = (policy(LARGE), policy(&closing));
        let stock = Stock::<Ipv4Addr>::between(&counts, &closing, Share::ALL);
        assert!(stock.tally.is_none() && stock.closing.is_some());
        let mut world = World::new(LARGE);
        world.nat.supply(stock);
        world.nat.adopt(&closing, Generation(world.generation.0 + 1));
        assert!(world.nat.give_back()[0].closing.is_none(), "it is in use");
    }

    /// A rule with limits is counted where it has its outside end.
    #[test]
    fn limits_of_a_rule_make_tables_of_its_family() {
        let forwards = r#"
            limits = { sessions = 100 }

            [[rule]]
            name = "web"
            kind = "port-forward"
            address = "203.0.113.10"
            port = 80
            target = "10.0.0.2:80"
            limits = { half_open = 10, transitory = 10 }
        "#;
        let policy = policy(forwards);
        let (v4, v6) = (Needs::of::<Ipv4Addr>(&policy), Needs::of::<Ipv6Addr>(&policy));
        assert!(v4.tally && v4.closing && v4.half_open);
        assert_eq!(v6, Needs::default());
    }

    /// What a packet thread does at a reload makes no memory for leases, be they of a /20.
    #[test]
    fn the_thread_that_adopts_a_policy_makes_no_memory_for_its_pools() {
        let mut world = World::new(SMALL);
        for (addresses, made) in [("203.0.113.0/24", 255), ("203.0.112.0/20", 4096 - 256)] {
            let next = policy(&LARGE.replace("203.0.113.0/24", addresses));
            addresses_made();
            let stock = Stock::between(&world.policy, &next, Share::ALL);
            assert_eq!(addresses_made(), made);
            world.nat.supply(stock);
            world.policy = next;
            world.generation = Generation(world.generation.0 + 1);
            world.nat.adopt(&world.policy, world.generation);
            assert_eq!(addresses_made(), 0);
            assert_eq!(held(&world.nat.give_back()[0]), (0, [false; 4]), "all of it is in use");
        }
        assert_eq!(world.nat.ports.addresses(), 4096);
        // Nothing is supplied, but that of addresses which are gone is there.
        world.reload(&SMALL.replace("203.0.113.10", "198.51.100.10"));
        assert_eq!(addresses_made(), 0);
    }

    #[test]
    fn what_no_policy_needs_goes_back_once_nothing_is_in_it() {
        let mut world = World::new(LARGE);
        world.session(flow(Protocol::UDP, "10.0.0.2:5000", "192.0.2.7:53"));
        let [unused, old] = adopt(&mut world, SMALL);
        assert!(unused.ports.len() >= 254, "but that of the session");
        assert_eq!(held(&old), (0, [false, false, true, true]), "its mapping drains");
        world.sweep();
        world.pass(10_000_000);
        let [_, old] = adopt(&mut world, SMALL);
        assert_eq!(held(&old), (0, [true, false, false, false]));
        let [mappings, contacts, limits, windows] = tables(&world.nat);
        assert!(mappings <= 64 && (limits, windows) == (0, 0));
        assert!(contacts > 64, "whom hosts talk to is known when a policy asks again");
        assert_eq!(world.nat.ports.addresses(), 1);
        let [_, old] = adopt(&mut world, LARGE);
        assert_eq!(held(&old), (0, [false; 4]));
        world.session(flow(Protocol::UDP, "10.0.0.2:5001", "192.0.2.7:53"));
        assert_eq!(world.nat.mappings.len(), 1);
    }

    #[test]
    fn what_a_worker_was_not_given_it_makes() {
        let mut world = World::new(SMALL);
        world.reload(LARGE);
        assert_eq!(world.nat.ports.addresses(), 256);
        assert!(tables(&world.nat).iter().all(|bytes| *bytes > 100));
        // Of another size: of no use.
        let other = LARGE.replace("sessions = 100", "sessions = 77");
        world.nat.supply(Stock::between(&policy(SMALL), &policy(&other), Share::ALL));
        world.reload(SMALL);
        world.reload(LARGE);
        assert!(world.nat.sessions.capacity() == 100 && world.nat.mappings.capacity() == 100);
    }
}

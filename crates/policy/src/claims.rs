//! Where an address is answered for.
//!
//! An address of an interface is answered for on that interface. An address of a pool is answered
//! for on the outside of the rules that use the pool: the interface that their `to` names, or, where
//! a rule leaves that open, every interface but the one that its `from` names.

use std::net::IpAddr;

use crate::policy::{InterfaceId, Ownership, Policy};
use crate::pool::PoolId;
use crate::rule::{Action, Rule};

/// Most addresses of a pool that are announced at start: the rest is learned by asking.
const ANNOUNCED_PER_POOL: u32 = 256;

impl Policy {
    /// Whether `interface` answers for `address`: ARP, neighbor discovery, ping.
    #[must_use]
    pub fn answers_for(&self, interface: InterfaceId, address: IpAddr) -> bool {
        match self.ownership(address) {
            None => false,
            Some(Ownership::Interface(own)) => own == interface,
            Some(Ownership::Pool(pool)) => self.is_outside(pool, interface),
        }
    }

    /// The addresses to announce when they are taken up, each with the interface that answers for
    /// it: those of the interfaces, and up to 256 of each pool.
    pub fn announced(&self) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        self.answered(ANNOUNCED_PER_POOL)
    }

    /// Every address of ours, each with the interface that answers for it.
    pub fn addresses(&self) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        self.answered(u32::MAX)
    }

    /// The addresses of the interfaces, and the first `per_pool` of each pool on its sides.
    fn answered(&self, per_pool: u32) -> impl Iterator<Item = (InterfaceId, IpAddr)> {
        let ids = || (0..self.interfaces.len()).map(|index| InterfaceId(index as u8));
        let own = ids().flat_map(|id| {
            self.interface(id).addresses.iter().map(move |address| (id, address.addr()))
        });
        let pools = self.pools.iter().enumerate().flat_map(move |(index, pool)| {
            ids().filter(move |id| self.is_outside(PoolId(index as u16), *id)).flat_map(move |id| {
                let addresses = 0..pool.address_count().min(per_pool);
                addresses.filter_map(move |n| pool.nth_address(n)).map(move |address| (id, address))
            })
        });
        own.chain(pools)
    }

    /// Whether a rule translates to this pool on this interface.
    fn is_outside(&self, pool: PoolId, interface: InterfaceId) -> bool {
        self.rules.iter().any(|rule| rule.uses(pool) && rule.has_outside(interface))
    }
}

impl Rule {
    fn uses(&self, pool: PoolId) -> bool {
        self.action == Action::SourceNat(pool)
    }

    fn has_outside(&self, interface: InterfaceId) -> bool {
        match self.matcher.to {
            Some(to) => to == interface,
            None => self.matcher.from != Some(interface),
        }
    }
}

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

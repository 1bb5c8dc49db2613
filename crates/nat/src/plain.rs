//! The short way to an outside end, for pools as most are: every host may have any port of one address, and
//! neither a rule nor another worker has one of them. What the long way (`lease.rs`, `turn.rs`) finds by asking
//! for each property that a pool can have is one draw here. Where that finds nothing, or the pool is of another
//! kind, the long way is taken.

use mooring_policy::{AddressChoice, Allocation, Mapping as Kind, Policy, Pool, Pooling};
use mooring_session::{Address, FlowKey};
use mooring_wire::Protocol;

use crate::choice::Choice;
use crate::lease::Ask;
use crate::{Nat, Share};

/// A pool of which every host has any port of one address.
#[derive(Clone, Debug)]
pub(crate) struct Plain<A> {
    first: A,
    addresses: u32,
    ports: Choice,
}

impl<A: Address> Plain<A> {
    /// `None` of a pool of another kind.
    pub(crate) fn new(pool: &Pool, policy: &Policy, share: Share) -> Option<Self> {
        let [prefix] = pool.addresses[..] else { return None };
        let is_plain = pool.allocation == Allocation::Random
            && pool.pooling == Pooling::Paired
            && pool.address_choice == AddressChoice::Hash
            && pool.overflow_ports.is_none()
            && pool.held.is_none()
            && !pool.parity
            && !pool.contiguity
            && !policy.claims_ports_of(pool);
        let first = A::from_ip(prefix.network()).filter(|_| is_plain)?;
        let ports = Choice::of(pool.ports.clone(), share);
        Some(Self { first, addresses: pool.address_count(), ports })
    }
}

impl<A: Address> Nat<A> {
    /// An outside end of the pool that is asked, by one draw, which may have been made ahead; of a pool with mappings it is
    /// leased, of another no session has the flow of its answers.
    pub(crate) fn plain_end(&mut self, ask: &Ask<'_, A>) -> Option<(A, u16)> {
        let is_mapped = ask.pool.mapping == Kind::EndpointIndependent;
        // Of what rests the host is asked first whether it was its own.
        let rests = is_mapped && self.resting.len(self.pools.number(ask.id)) > 0;
        if rests || self.plain_of(ask).is_none() {
            return None;
        }
        if !matches!(ask.key.protocol, Protocol::TCP | Protocol::UDP) {
            return None;
        }
        // What was made of the number ahead, unless the packet has another, for others drew more or less than was foreseen.
        let made_of = (ask.number, self.ports.freed());
        if let Some(drawn) = ask.drawn.filter(|drawn| (drawn.number, drawn.freed) == made_of) {
            let end = (drawn.address, drawn.port);
            if self.take_if_free(ask, end, Some(drawn.answers)) {
                return Some(end);
            }
        }
        // With mappings, and if that has been taken in between, the same number leads on to another end.
        let end = self.draw(self.plain_of(ask)?, is_mapped, ask.key, ask.number)?;
        self.take_if_free(ask, end, None).then_some(end)
    }

    /// What the pool that is asked is, if it is plain and the one that most ask.
    #[inline]
    fn plain_of(&self, ask: &Ask<'_, A>) -> Option<&Plain<A>> {
        let usual = self.usual.as_ref().filter(|usual| usual.pool == ask.id && !ask.is_moving())?;
        usual.plain.as_ref()
    }

    /// Whether nobody has an outside end that is drawn for a flow; one that is to be mapped is leased then. `answers` is
    /// the hash of the flow of its answers, where it is known.
    #[inline]
    fn take_if_free(
        &mut self,
        ask: &Ask<'_, A>,
        (address, port): (A, u16),
        answers: Option<u64>,
    ) -> bool {
        let key = ask.key;
        if ask.pool.mapping == Kind::EndpointIndependent {
            return self.ports.take(address, key.protocol, port);
        }
        let reverse = FlowKey { source: address, source_port: port, ..*key }.exchanged();
        let hash = answers.unwrap_or_else(|| self.sessions.hash(&reverse));
        !self.ports.is_leased(address, key.protocol, port)
            && self.sessions.find(hash, &reverse).is_none()
    }

    /// The outside end that a flow of TCP or UDP draws by a random number. With mappings it is one that nobody has.
    #[inline]
    pub(crate) fn draw(
        &self,
        plain: &Plain<A>,
        is_mapped: bool,
        key: &FlowKey<A>,
        number: u32,
    ) -> Option<(A, u16)> {
        let address = plain.first.after(self.pairing.spread(key.source, plain.addresses));
        let port = match is_mapped {
            true => self.ports.next_random(address, key.protocol, &plain.ports, number),
            // At the edges of the range it may be another worker's.
            false => plain.ports.drawn(number).filter(|port| plain.ports.has(*port)),
        };
        Some((address, port?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use mooring_policy::{Pool, PoolId};
    use mooring_session::KeyedHash;
    use mooring_wire::Protocol;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::Plain;
    use crate::fixture::{World, flow, policy};
    use crate::{Nat, Share};

    /// A pool of one address with these properties, and `rest`.
    fn config(properties: &str, rest: &str) -> String {
        format!(
            r#"
            pool = [{{ name = "egress", addresses = ["203.0.113.10"], {properties} }}]
            {rest}
            [[rule]]
            name = "egress"
            kind = "source-nat"
            from = "inside"
            to = "outside"
            pool = "egress"
            "#
        )
    }

    fn is_plain(config: &str) -> bool {
        let policy = policy(config);
        Plain::<Ipv4Addr>::new(policy.pool(PoolId(0)), &policy, Share::ALL).is_some()
    }

    fn forward(address: &str) -> String {
        format!(
            r#"
            [[rule]]
            name = "web"
            kind = "port-forward"
            from = "outside"
            address = "{address}"
            port = 8080
            target = "10.0.0.2:80"
            "#
        )
    }

    fn health(address: &str) -> String {
        format!(
            r#"
            [[service]]
            name = "health"
            kind = "health"
            address = "{address}"
            port = 8080
            "#
        )
    }

    #[test]
    fn what_a_worker_draws_is_its_own_to_the_edges_of_the_range() {
        let policy = policy(
            r#"
            pool = [{ name = "egress", addresses = ["203.0.113.10"], ports = "30001-30008" }]
            "#,
        );
        let key = flow(Protocol::UDP, "10.0.0.2:4000", "198.51.100.7:53");
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for share in (0..3).filter_map(|worker| Share::new(worker, 3)) {
            let nat: Nat<Ipv4Addr> = Nat::new(&policy, share, KeyedHash::new([1, 2, 3, 4]));
            let plain = Plain::new(policy.pool(PoolId(0)), &policy, share).expect("it is plain");
            let drawn = (0..200).filter_map(|_| nat.draw(&plain, false, &key, random.next_u32()));
            let drawn: BTreeSet<u16> = drawn.map(|(_, port)| port).collect();
            let own: BTreeSet<u16> = (30_001..=30_008).filter(|port| share.has(*port)).collect();
            assert_eq!(drawn, own);
        }
    }

    #[test]
    fn what_the_long_way_looks_at_makes_a_pool_special() {
        let dependent = "mapping = \"endpoint-dependent\"";
        assert!(is_plain(&config("", "")) && is_plain(&config(dependent, "")));
        for special in [
            "allocation = { kind = \"preserve\" }",
            "allocation = { kind = \"port-block\", size = 512 }",
            "pooling = \"arbitrary\"",
            "address_choice = \"least-used\"",
            "parity = true",
            "contiguity = true",
            "overflow_ports = \"60000-60999\"",
        ] {
            assert!(!is_plain(&config(special, "")), "{special}");
        }
        let of = |addresses: &str| config("", "").replace("\"203.0.113.10\"", addresses);
        assert!(is_plain(&of("\"203.0.113.8/30\"")), "several addresses in a row");
        assert!(!is_plain(&of("\"203.0.113.10\", \"203.0.113.12\"")), "several prefixes");
    }

    #[test]
    fn a_pool_is_special_where_a_rule_or_a_service_has_a_port_of_it() {
        for of in [forward, health] {
            assert!(!is_plain(&config("", &of("203.0.113.10"))));
        }
        assert!(is_plain(&config("", &forward("203.0.113.11"))), "of another address");
        assert!(is_plain(&config("", &health("10.0.0.1"))), "of an interface");
    }

    #[test]
    fn a_pool_is_special_where_somebody_says_what_is_held_of_it() {
        let policy = policy(&config("", ""));
        for held in [vec![], vec![0]] {
            let pool = Pool { held: Some(held), ..policy.pool(PoolId(0)).clone() };
            assert!(Plain::<Ipv4Addr>::new(&pool, &policy, Share::ALL).is_none());
        }
    }

    /// Half of the worker's ports were another's before: those that were its own, too, are looked for.
    #[test]
    fn while_workers_move_a_flow_gets_a_port_that_was_this_ones_before() {
        let ports = "ports = \"2000-2255\"";
        let blocks = "allocation = { kind = \"port-block\", size = 8, max_blocks = 8 }";
        let share = Share::new(0, 2).expect("one of two");
        let mut world = World::of_share(share, &config(&format!("{ports}, {blocks}"), ""), 1);
        let key = |host: u8, port: u16| {
            flow(Protocol::UDP, &format!("10.0.0.{host}:{port}"), "198.51.100.7:53")
        };
        let its_own = |host: &u8| world.owners.of_flow(&key(*host, 5000)) == 0;
        let host = (2..20).find(its_own).expect("some host is its own");
        world.adopt(&config(ports, ""));
        assert!(world.owners.is_moving() && is_plain(&config(ports, "")));
        for port in 5000..5032 {
            world.session(key(host, port));
        }
    }
}

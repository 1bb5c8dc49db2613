//! What the admission of a packet will read, loaded while others are walked: a new session has a line of
//! its source, one of the index of sessions and, where there are mappings, two of theirs, anywhere in tables of
//! many megabytes.
//!
//! What is loaded is a guess: that the packet is to be translated, by the pool that the one before it got its
//! outside end from, and that it will draw the random number that it is foreseen to. What is made of that is kept for
//! admission, which takes it if it draws that number. Loading decides nothing and changes nothing. Where the guess is wrong,
//! or a pool is too special for one, admission waits for its memory.

use mooring_policy::{InterfaceId, Mapping as Kind, Policy, PoolId};
use mooring_session::{Address, FlowKey};

use crate::plain::Plain;
use crate::{Nat, Share};

/// An outside end that a flow will draw when it is admitted, so that what it leads to could be loaded. Nobody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn<A> {
    pub(crate) pool: PoolId,
    /// By this random number, where ports were free as [`crate::PortLedger`] counts.
    pub(crate) number: u32,
    pub(crate) freed: u32,
    pub(crate) address: A,
    pub(crate) port: u16,
    /// Hash of the flow of answers to it.
    pub(crate) answers: u64,
}

/// What the last session from inside was: most are like the one before.
#[derive(Clone, Debug)]
pub(crate) struct Usual<A> {
    ingress: InterfaceId,
    pub(crate) pool: PoolId,
    is_mapped: bool,
    pub(crate) plain: Option<Plain<A>>,
}

impl<A: Address> Nat<A> {
    /// First of all: what the key of a packet alone leads to.
    pub fn load_inside(&self, ingress: InterfaceId, key: &FlowKey<A>) {
        let Some(usual) = self.usual(ingress) else {
            // From outside: a mapping may let it in.
            let (address, port) = (key.destination, key.destination_port);
            return self.mappings.prefetch_outside(address, port, key.protocol);
        };
        self.sources.prefetch(self.source_of(key.source));
        if usual.is_mapped {
            self.mappings.prefetch_inside(&self.inside_end(key, usual.pool));
        }
    }

    /// Then, once that is there: the outside end that the flow will draw by a random number. `None` where the flow has a
    /// mapping, or the pool is too special.
    #[must_use]
    pub fn draw_ahead(
        &self,
        ingress: InterfaceId,
        key: &FlowKey<A>,
        number: u32,
    ) -> Option<Drawn<A>> {
        let usual = self.usual(ingress)?;
        self.sources.prefetch_source(self.source_of(key.source));
        let is_mapped = usual.is_mapped;
        if is_mapped && self.mappings.prefetch_mapping(&self.inside_end(key, usual.pool)) {
            return None;
        }
        let (address, port) = self.draw(usual.plain.as_ref()?, is_mapped, key, number)?;
        let translated = FlowKey { source: address, source_port: port, ..*key };
        let answers = self.sessions.hash(&translated.exchanged());
        let freed = self.ports.freed();
        Some(Drawn { pool: usual.pool, number, freed, address, port, answers })
    }

    /// Last of all: where that leads to. For several packets one after the other: each load may wait for a walk of the page
    /// tables, and those that follow each other closely wait together.
    pub fn load_outside(&self, drawn: &Drawn<A>, key: &FlowKey<A>) {
        if self.usual.as_ref().is_some_and(|usual| usual.is_mapped) {
            self.mappings.prefetch_outside(drawn.address, drawn.port, key.protocol);
        }
        self.sessions.prefetch_bucket(drawn.answers);
    }

    /// A session begins that gets its outside end from a pool.
    #[inline]
    pub(crate) fn expect_more(&mut self, ingress: InterfaceId, pool: PoolId, policy: &Policy) {
        let is_same = |usual: &Usual<A>| (usual.ingress, usual.pool) == (ingress, pool);
        if !self.usual.as_ref().is_some_and(is_same) {
            self.usual = Some(Usual::new(ingress, pool, policy, self.share));
        }
    }

    fn usual(&self, ingress: InterfaceId) -> Option<&Usual<A>> {
        self.usual.as_ref().filter(|usual| usual.ingress == ingress)
    }
}

impl<A: Address> Usual<A> {
    #[cold]
    fn new(ingress: InterfaceId, id: PoolId, policy: &Policy, share: Share) -> Self {
        let pool = policy.pool(id);
        let is_mapped = pool.mapping == Kind::EndpointIndependent;
        Self { ingress, pool: id, is_mapped, plain: Plain::new(pool, policy, share) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mooring_session::{Direction, FlowKey};
    use mooring_wire::Protocol;
    use rand_chacha::rand_core::Rng;

    use super::Drawn;
    use crate::fixture::{INSIDE, OUTSIDE, World, flow};

    fn config(of_the_pool: &str) -> String {
        format!(
            r#"
            [[pool]]
            name = "egress"
            addresses = ["203.0.113.0/28"]
            {of_the_pool}

            [[rule]]
            name = "egress"
            kind = "source-nat"
            from = "inside"
            to = "outside"
            pool = "egress"
            "#
        )
    }

    fn nth(n: u16) -> FlowKey<Ipv4Addr> {
        let source = format!("10.0.0.{}:{}", 2 + n % 50, 5_000 + n);
        flow(Protocol::UDP, &source, "198.51.100.7:53")
    }

    /// The outside end that is drawn ahead for a flow that arrives from inside.
    fn drawn(world: &mut World, key: &FlowKey<Ipv4Addr>) -> Option<Drawn<Ipv4Addr>> {
        world.nat.draw_ahead(INSIDE, key, world.random.clone().next_u32())
    }

    #[test]
    fn what_is_drawn_ahead_is_what_the_session_gets() {
        let kinds = ["mapping = \"endpoint-independent\"", "mapping = \"endpoint-dependent\""];
        for of_the_pool in kinds {
            let mut world = World::new(&config(of_the_pool));
            assert_eq!(drawn(&mut world, &nth(0)), None, "nothing is usual yet");
            world.session(nth(0));
            for n in 1..200 {
                let ahead = drawn(&mut world, &nth(n)).expect("all are alike");
                let session = world.session_with(nth(n), ahead);
                assert_eq!((ahead.address, ahead.port), (session.outside, session.outside_port));
                let answers = world.nat.sessions.hash(&session.key(Direction::Reverse));
                assert_eq!(answers, ahead.answers, "{of_the_pool}");
            }
        }
    }

    #[test]
    fn an_end_that_was_drawn_twice_goes_to_the_first_who_comes() {
        for of_the_pool in
            ["mapping = \"endpoint-independent\"", "mapping = \"endpoint-dependent\""]
        {
            let mut world = World::new(&config(of_the_pool));
            world.session(nth(0));
            let ahead = drawn(&mut world, &nth(1)).expect("all are alike");
            let first = world.session_with(nth(1), ahead);
            // To the same remote end, from the same host, by the same number.
            let number = world.random.clone().next_u32();
            let freed = world.nat.ports.freed();
            let second = world.session_with(nth(51), Drawn { number, freed, ..ahead });
            assert_eq!(first.outside, second.outside, "{of_the_pool}");
            assert_ne!(first.outside_port, second.outside_port, "{of_the_pool}");
        }
    }

    #[test]
    fn what_was_drawn_of_another_pool_is_not_taken() {
        let two = r#"
            pool = [
                { name = "egress", addresses = ["203.0.113.0/28"] },
                { name = "voice", addresses = ["203.0.113.16/28"] },
            ]
            rule = [
                { name = "voice", kind = "source-nat", to = "outside", destination = ["198.51.100.9"], pool = "voice" },
                { name = "egress", kind = "source-nat", to = "outside", pool = "egress" },
            ]
        "#;
        let mut world = World::new(two);
        world.session(nth(0));
        let call = FlowKey { destination: [198, 51, 100, 9].into(), ..nth(1) };
        let ahead = drawn(&mut world, &call).expect("all before were alike");
        let session = world.session_with(call, ahead);
        assert!((16..32).contains(&session.outside.octets()[3]), "{}", session.outside);
    }

    #[test]
    fn what_is_too_special_or_over_is_not_drawn_ahead() {
        let mut world = World::new(&config("parity = true"));
        world.session(nth(0));
        assert_eq!(drawn(&mut world, &nth(1)), None);

        let mut world = World::new(&config(""));
        world.session(nth(0));
        assert!(world.nat.usual(OUTSIDE).is_none());
        assert!(drawn(&mut world, &nth(1)).is_some());
        world.reload(&config("parity = true"));
        assert_eq!(drawn(&mut world, &nth(1)), None);
    }
}

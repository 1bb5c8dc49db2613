//! What the admission of a packet will read, loaded while others are walked: a new session has a line of
//! its source, one of the index of sessions and, where there are mappings, two of theirs, anywhere in tables of
//! many megabytes.
//!
//! What is loaded is a guess: that the packet is to be translated, by the pool that the one before it got its
//! outside end from, and, from random numbers that are drawn again in earnest, to which port. Loading
//! decides nothing and changes nothing. Where the guess is wrong, or a pool is too special for one,
//! admission waits for its memory.

use mooring_policy::{InterfaceId, Mapping as Kind, Policy, PoolId};
use mooring_session::{Address, FlowKey};
use rand_core::Rng;

use crate::plain::Plain;
use crate::{Nat, Share};

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

    /// Then, once that is there: where the outside end leads to. `random` is as that of the admission
    /// will be when it is the packet's turn.
    pub fn load_outside(&self, ingress: InterfaceId, key: &FlowKey<A>, random: &mut impl Rng) {
        let Some(usual) = self.usual(ingress) else { return };
        self.sources.prefetch_source(self.source_of(key.source));
        let is_mapped = usual.is_mapped;
        if is_mapped && self.mappings.prefetch_mapping(&self.inside_end(key, usual.pool)) {
            return;
        }
        let Some((address, port)) = self.guess(usual, key, random) else { return };
        if is_mapped {
            self.mappings.prefetch_outside(address, port, key.protocol);
        }
        let translated = FlowKey { source: address, source_port: port, ..*key };
        self.sessions.prefetch_bucket(self.sessions.hash(&translated.exchanged()));
    }

    /// The outside end that a flow will most likely get, if it has none yet.
    fn guess(&self, usual: &Usual<A>, key: &FlowKey<A>, random: &mut impl Rng) -> Option<(A, u16)> {
        self.draw(usual.plain.as_ref()?, usual.is_mapped, key, random)
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

    use mooring_session::FlowKey;
    use mooring_wire::Protocol;

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

    /// The outside end that is guessed for a flow that arrives from inside.
    fn guessed(world: &mut World, key: &FlowKey<Ipv4Addr>) -> Option<(Ipv4Addr, u16)> {
        let mut random = world.admission().1.random.clone();
        let usual = world.nat.usual(INSIDE)?;
        world.nat.guess(usual, key, &mut random)
    }

    #[test]
    fn the_guess_is_what_admission_draws() {
        let kinds = ["mapping = \"endpoint-independent\"", "mapping = \"endpoint-dependent\""];
        for of_the_pool in kinds {
            let mut world = World::new(&config(of_the_pool));
            assert_eq!(guessed(&mut world, &nth(0)), None, "nothing is usual yet");
            world.session(nth(0));
            for n in 1..200 {
                let guessed = guessed(&mut world, &nth(n));
                let session = world.session(nth(n));
                assert_eq!(guessed, Some((session.outside, session.outside_port)), "{of_the_pool}");
            }
        }
    }

    #[test]
    fn what_is_too_special_or_over_is_not_guessed() {
        let mut world = World::new(&config("parity = true"));
        world.session(nth(0));
        assert_eq!(guessed(&mut world, &nth(1)), None);

        let mut world = World::new(&config(""));
        world.session(nth(0));
        assert!(world.nat.usual(OUTSIDE).is_none());
        assert!(guessed(&mut world, &nth(1)).is_some());
        world.reload(&config("parity = true"));
        assert_eq!(guessed(&mut world, &nth(1)), None);
    }
}

//! Which ports have an owner of their own among the workers: those of blocks and of deterministic hosts.
//!
//! A reload that changes them moves ports from one worker to another, and the workers take a policy up
//! one after the other. Until all of them have, a port that is new to one may still be used by the one
//! that had it: so nobody leases a port meanwhile (`Nat::all_follow`), and no outside end is two flows.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use mooring_policy::{Allocation, Policy};

use crate::port_owners::goes_round;

/// The pools whose ports do not go round the workers: as far as says who has which port.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Territory(Vec<(Vec<IpNet>, RangeInclusive<u16>, Allocation)>);

impl Territory {
    /// Under a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        let owned = policy.pools.iter().filter(|pool| !goes_round(pool));
        let part =
            owned.map(|pool| (pool.addresses.clone(), pool.ports.clone(), pool.allocation.clone()));
        Self(part.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mooring_policy::Generation;
    use mooring_session::{FlowKey, KeyedHash};
    use mooring_wire::Protocol;

    use crate::fixture::{World, flow, policy};
    use crate::{Nat, Refusal, Share};

    fn config(allocation: &str) -> String {
        format!(
            r#"
            pool = [{{ name = "egress", addresses = ["203.0.113.10"], ports = "2000-2063"{allocation} }}]
            rule = [{{ name = "egress", kind = "source-nat", pool = "egress" }}]
            "#
        )
    }

    fn udp(port: u16) -> FlowKey<Ipv4Addr> {
        flow(Protocol::UDP, &format!("10.0.0.2:{port}"), "198.51.100.1:53")
    }

    const BLOCKS: &str = ", allocation = { kind = \"port-block\", size = 8, max_blocks = 1 }";

    fn world_of_two_workers(first: &str) -> World {
        let mut world = World::new(&config(first));
        let share = Share::new(0, 2).expect("one of two");
        world.nat = Nat::<Ipv4Addr>::new(&world.policy, share, KeyedHash::new([1, 2, 3, 4]));
        world
    }

    /// A worker that has another policy, before it hears that all have.
    fn adopt(world: &mut World, next: &str) {
        world.policy = policy(&config(next));
        world.generation = Generation(world.generation.0 + 1);
        world.nat.adopt(&world.policy, world.generation);
    }

    #[test]
    fn ports_that_move_between_workers_are_not_leased_until_all_know() {
        let mut world = world_of_two_workers("");
        adopt(&mut world, BLOCKS);
        assert_eq!(world.send(udp(5000)), Err(Refusal::PortsExhausted));
        world.nat.all_follow();
        assert!(world.send(udp(5000)).is_ok());
        adopt(&mut world, "");
        assert_eq!(world.send(udp(5001)), Err(Refusal::PortsExhausted));
        world.nat.all_follow();
        assert!(world.send(udp(5001)).is_ok());
    }

    #[test]
    fn a_reload_that_moves_no_port_goes_on_at_once() {
        let mut world = world_of_two_workers(BLOCKS);
        adopt(&mut world, &format!("{BLOCKS}, ping = false"));
        assert!(world.send(udp(5000)).is_ok());
        let mut alone = World::new(&config(""));
        adopt(&mut alone, BLOCKS);
        assert!(alone.send(udp(5000)).is_ok(), "one worker has all ports");
    }
}

//! How a pool gives out its ports: what a host may get, and whose a port is by calculation alone.

use std::net::IpAddr;

use mooring_policy::{Allocation, Pool};
use mooring_wire::Protocol;

use super::Trail;
use crate::Engine;
use crate::family::Family;

impl Engine {
    /// The source that has a port in one of its blocks, whether it uses it or not.
    pub(super) fn block_of<A: Family>(
        &self,
        address: A,
        port: u16,
        trail: &mut Trail,
    ) -> Option<String> {
        let (source, ports, is_held) = A::nat(&self.nats).block_at(address, port)?;
        let source: IpAddr = source.into();
        let word = if is_held { "has" } else { "had last, and nobody has now," };
        let text = format!("{source} {word} the block {}-{}", ports.start(), ports.end());
        trail.step("block", text);
        is_held.then(|| format!("{source} in its block, used or not"))
    }

    /// The host that has an outside end by the formula of a deterministic pool, whether it uses it or
    /// not (RFC 7422): no state is looked at.
    pub(super) fn calculated(
        &self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        trail: &mut Trail,
    ) -> Option<String> {
        let numbered =
            [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP, Protocol::ICMPV6];
        if !numbered.contains(&protocol) {
            return None;
        }
        // Several pools may share the address; at most one has the port.
        let found = self.policy.pools.iter().find_map(|pool| {
            let host = pool.deterministic_host(address, port)?;
            Some((pool, host, pool.deterministic_slice(host)?.1))
        });
        let Some((pool, host, ports)) = found else {
            self.nobodys(address, port, trail);
            return None;
        };
        let (first, last) = (ports.start(), ports.end());
        let text = format!("pool `{}` has {first}-{last} for {host} and nobody else", pool.name);
        trail.step("formula", text);
        Some(format!("of {host} by the formula of pool `{}`, used or not", pool.name))
    }

    /// Where a deterministic pool has the address, but no host the port.
    fn nobodys(&self, address: IpAddr, port: u16, trail: &mut Trail) {
        let plans = |pool: &&Pool| matches!(pool.allocation, Allocation::Deterministic(_));
        let mut pools = self.policy.pools.iter().filter(plans);
        if let Some(pool) = pools.find(|pool| pool.contains(address) && pool.ports.contains(&port))
        {
            let text = format!("of no slice of pool `{}`: no host has it", pool.name);
            trail.step("formula", text);
        }
    }
}

/// What a pool has for a host, where that is not any port of an address.
pub(super) fn text(pool: &Pool, host: IpAddr) -> Option<String> {
    let name = &pool.name;
    let text = match &pool.allocation {
        Allocation::Random => return None,
        Allocation::Preserve => format!("pool `{name}`: the host's own port, if it is free"),
        Allocation::PortBlock(blocks) => {
            let (size, most) = (blocks.size, blocks.max_blocks);
            format!("pool `{name}`: blocks of {size} ports, at most {most} for a host")
        }
        Allocation::Deterministic(plan) => match pool.deterministic_slice(host) {
            Some((outside, ports)) => {
                let (first, last) = (ports.start(), ports.end());
                format!("pool `{name}`: {host} has {first}-{last} of {outside} by the formula")
            }
            None => format!("pool `{name}`: {host} is not of {}, it has no ports", plan.source),
        },
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooring_policy::{Generation, InterfaceId, load};
    use mooring_wire::{Mac, Protocol};

    use crate::explain::{Asked, Explanation, Outcome};
    use crate::{DropReason, Engine, Link};

    const CONFIG: &str = r#"
        interface = [
            { name = "inside", device = "in0", addresses = ["10.0.0.1/24"] },
            { name = "outside", device = "out0", addresses = ["192.0.2.1/24"] },
        ]
        route = [{ destination = "0.0.0.0/0", via = "192.0.2.2", interface = "outside" }]
        limits = { sessions = 64 }

        [[pool]]
        name = "blocks"
        addresses = ["203.0.113.10"]
        ports = "1024-9999"
        allocation = { kind = "port-block", size = 256, max_blocks = 2 }

        [[pool]]
        name = "calculated"
        addresses = ["203.0.113.10"]
        ports = "10000-11000"
        allocation = { kind = "deterministic", source = "10.0.0.0/30", ports_per_host = 200 }

        [[rule]]
        name = "udp"
        kind = "source-nat"
        from = "inside"
        protocol = "udp"
        source = ["10.0.0.0/24"]
        pool = "calculated"

        [[rule]]
        name = "others"
        kind = "source-nat"
        from = "inside"
        pool = "blocks"

        [[rule]]
        name = "web"
        kind = "port-forward"
        address = "203.0.113.10"
        port = 10300
        target = "10.0.0.9:80"
    "#;

    fn engine() -> Engine {
        let policy = load(CONFIG).expect("the configuration is valid").policy;
        let links = [1, 2].map(|n| Link { mac: Mac([2, 0, 0, 0, 0, n]), mtu: 1500 });
        Engine::new(Arc::new(policy), Generation(1), &links, [7; 32])
    }

    fn step(explanation: &Explanation, about: &str) -> Option<String> {
        let found = explanation.steps.iter().find(|step| step.about == about);
        found.map(|step| step.found.clone())
    }

    // RFC 7422 §2.2: who has a port is calculated, and no session or mapping is needed for it.
    #[test]
    fn the_host_behind_a_port_of_a_deterministic_pool_is_named_without_state() {
        let engine = engine();
        let outside = |port, protocol| {
            let told = engine.explain_outside([203, 0, 113, 10].into(), port, protocol);
            (step(&told, "formula"), told.outcome)
        };
        let host = "of 10.0.0.1 by the formula of pool `calculated`, used or not";
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
            let (formula, outcome) = outside(10_399, protocol);
            assert_eq!(outcome, Outcome::Local(host.to_owned()));
            let formula = formula.expect("it is told");
            assert_eq!(formula, "pool `calculated` has 10200-10399 for 10.0.0.1 and nobody else");
        }
        let (_, outcome) = outside(10_300, Protocol::TCP);
        assert_eq!(outcome, Outcome::Local("held by 10.0.0.9:80".to_owned()), "the rule's");
        let (formula, outcome) = outside(10_800, Protocol::TCP);
        assert_eq!(outcome, Outcome::Dropped(DropReason::NoSession));
        let nobody = "of no slice of pool `calculated`: no host has it";
        assert_eq!(formula.as_deref(), Some(nobody));
        assert_eq!(outside(1_024, Protocol::TCP), (None, Outcome::Dropped(DropReason::NoSession)));
        assert_eq!(outside(10_399, Protocol(47)).0, None, "nothing that has ports");
    }

    #[test]
    fn a_host_is_told_what_its_pool_has_for_it() {
        let engine = engine();
        let told = |source: [u8; 4], protocol| {
            let asked = Asked {
                ingress: InterfaceId(0),
                protocol,
                source: source.into(),
                source_port: 5000,
                destination: [198, 51, 100, 7].into(),
                destination_port: 53,
            };
            step(&engine.explain(&asked), "allocation").expect("it is told")
        };
        let slice = "pool `calculated`: 10.0.0.2 has 10400-10599 of 203.0.113.10 by the formula";
        assert_eq!(told([10, 0, 0, 2], Protocol::UDP), slice);
        let none = "pool `calculated`: 10.0.0.77 is not of 10.0.0.0/30, it has no ports";
        assert_eq!(told([10, 0, 0, 77], Protocol::UDP), none);
        let blocks = "pool `blocks`: blocks of 256 ports, at most 2 for a host";
        assert_eq!(told([10, 0, 0, 2], Protocol::TCP), blocks);
    }
}

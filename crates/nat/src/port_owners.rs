//! Which worker leases an outside port, where it is not simply its place in the round of all workers:
//! the ports of a block have one owner, and those of a deterministic host that host's.
//!
//! Both sides of the engine ask it: who leases a port, and who is to get a packet for it. ICMP
//! identifiers are numbers like ports. A number of such a pool is left to it by pools that share its
//! address, so that a number alone names the worker.

use std::net::IpAddr;

use mooring_policy::{Allocation, Policy, Pool, PoolId};

use crate::share::owner_of_port;

/// Who leases a port of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOwner {
    /// This worker.
    Worker(u8),
    /// The worker of this inside host.
    HostsWorker(IpAddr),
}

/// The pools whose ports do not go round the workers two by two.
#[derive(Clone, Debug, Default)]
pub struct PortOwners {
    pools: Box<[PoolId]>,
}

impl PortOwners {
    /// Under a policy.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let ids = (0..).map(PoolId).zip(&policy.pools);
        Self { pools: ids.filter(|(_, pool)| !goes_round(pool)).map(|(id, _)| id).collect() }
    }

    /// Who, of `of` workers, leases a port of an address of a pool. Its cost grows with the number of
    /// pools that have blocks or are deterministic.
    #[must_use]
    pub fn of(&self, policy: &Policy, address: IpAddr, port: u16, of: u8) -> PortOwner {
        let Some(id) = self.pool(policy, address, port) else {
            return PortOwner::Worker(owner_of_port(port, of));
        };
        let pool = policy.pool(id);
        match &pool.allocation {
            Allocation::PortBlock(blocks) => {
                let block = (port - pool.ports.start()) / blocks.size;
                PortOwner::Worker((block % u16::from(of)) as u8)
            }
            _ => match pool.deterministic_host(address, port) {
                Some(host) => PortOwner::HostsWorker(host),
                None => PortOwner::Worker(owner_of_port(port, of)),
            },
        }
    }

    /// The pool with blocks, or deterministic, that has a port of an address.
    pub(crate) fn pool(&self, policy: &Policy, address: IpAddr, port: u16) -> Option<PoolId> {
        self.pools.iter().copied().find(|id| {
            let pool = policy.pool(*id);
            pool.ports.contains(&port) && pool.contains(address)
        })
    }
}

/// Whether the pool's ports go round the workers, and may be any host's.
pub(crate) const fn goes_round(pool: &Pool) -> bool {
    matches!(pool.allocation, Allocation::Random | Allocation::Preserve)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{PortOwner, PortOwners};
    use crate::fixture::policy;

    #[test]
    fn blocks_have_one_owner_and_the_ports_of_a_host_have_its_worker() {
        let policy = policy(
            r#"
            pool = [
                { name = "blocks", addresses = ["203.0.113.10"], ports = "2000-2999", allocation = { kind = "port-block", size = 100, max_blocks = 1 } },
                { name = "hosts", addresses = ["203.0.113.10"], ports = "4000-4999", allocation = { kind = "deterministic", source = "10.0.0.0/29", ports_per_host = 100 } },
                { name = "rest", addresses = ["203.0.113.10"], ports = "5000-5999" },
            ]
            rule = [
                { name = "tcp", kind = "source-nat", protocol = "tcp", pool = "blocks" },
                { name = "udp", kind = "source-nat", protocol = "udp", source = ["10.0.0.0/29"], pool = "hosts" },
                { name = "rest", kind = "source-nat", pool = "rest" },
            ]"#,
        );
        let owners = PortOwners::new(&policy);
        let address: IpAddr = [203, 0, 113, 10].into();
        let of = |port| owners.of(&policy, address, port, 3);
        for port in 2000..3000 {
            assert_eq!(of(port), PortOwner::Worker(((port - 2000) / 100 % 3) as u8));
        }
        assert_eq!(of(4000), PortOwner::HostsWorker([10, 0, 0, 0].into()));
        assert_eq!(of(4799), PortOwner::HostsWorker([10, 0, 0, 7].into()));
        for port in [80, 3000, 4800, 5000, 5003] {
            assert_eq!(of(port), PortOwner::Worker((port / 2 % 3) as u8), "{port}");
        }
        let other = owners.of(&policy, [203, 0, 113, 11].into(), 2100, 3);
        assert_eq!(other, PortOwner::Worker(0), "not of the pool");
    }
}

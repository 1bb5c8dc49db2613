//! What `show` asks of a worker: plain copies of records, in pages of bounded size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_policy::PoolId;
use mooring_session::{Counts, Direction, SessionIndex, Tick};
use mooring_wire::Protocol;

use crate::Engine;
use crate::family::{Family, Nats};
use crate::neighbours::Neighbours;

/// A session as `show sessions` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// IP protocol number.
    pub protocol: Protocol,
    /// Address and port (or ICMP identifier) of the inside host.
    pub inside: (IpAddr, u16),
    /// What stands for it outside.
    pub outside: (IpAddr, u16),
    /// The other end; port 0 for ICMP.
    pub remote: (IpAddr, u16),
    /// Name of the state.
    pub state: &'static str,
    /// The inside host began it: it is one of its `sessions_per_source`.
    pub begun_inside: bool,
    /// Name of the rule that admitted it.
    pub rule: String,
    /// Milliseconds since it began.
    pub age: u64,
    /// Milliseconds since its last packet.
    pub idle: u64,
    /// Milliseconds until it ends if no packet comes.
    pub expires: u64,
    /// Packets and bytes from the inside host.
    pub forward: Counts,
    /// Packets and bytes to the inside host.
    pub reverse: Counts,
}

/// An endpoint-independent mapping as `show mappings` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingView {
    /// IP protocol number.
    pub protocol: Protocol,
    /// Address and port (or ICMP identifier) of the inside host.
    pub inside: (IpAddr, u16),
    /// What stands for it outside.
    pub outside: (IpAddr, u16),
    /// Name of the pool.
    pub pool: String,
    /// Sessions that use it.
    pub sessions: u32,
}

/// How much of a pool this worker's hosts use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Ports and identifiers that mappings have.
    pub leased: u64,
    /// Those that rest.
    pub resting: u64,
    /// Blocks that hosts have.
    pub blocks_held: u64,
    /// All blocks of the worker.
    pub blocks: u64,
}

impl Engine {
    /// How much of each pool is used, in the order of the policy.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolUsage> {
        let Nats { v4, v6 } = &self.nats;
        let ids = (0..self.policy.pools.len()).map(|at| PoolId(at as u16));
        let usages = ids.map(|id| {
            // A pool is of one family: the other knows nothing of it.
            let (held, blocks) = [v4.blocks_of(id), v6.blocks_of(id)]
                .into_iter()
                .fold((0, 0), |(held, all), (more, of)| {
                    (held + u64::from(more), all + u64::from(of))
                });
            PoolUsage {
                leased: (v4.leased_ports_of(id) + v6.leased_ports_of(id)) as u64,
                resting: (v4.resting_ports_of(id) + v6.resting_ports_of(id)) as u64,
                blocks_held: held,
                blocks,
            }
        });
        usages.collect()
    }

    /// The mappings among at most [`PAGE`] records from number `start` on, and the number to go on
    /// from; `None` after the last. Those of IPv4 come first.
    #[must_use]
    pub fn mappings(&self, start: u32) -> (Vec<MappingView>, Option<u32>) {
        page_of_both(
            start,
            |start| self.mappings_of::<Ipv4Addr>(start),
            |start| self.mappings_of::<Ipv6Addr>(start),
        )
    }

    /// The neighbour table.
    #[must_use]
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// The sessions among at most [`PAGE`] records from number `start` on, and the number to go on
    /// from; `None` after the last. Those of IPv4 come first.
    #[must_use]
    pub fn sessions(&self, now: Tick, start: u32) -> (Vec<SessionView>, Option<u32>) {
        page_of_both(
            start,
            |start| self.sessions_of::<Ipv4Addr>(now, start),
            |start| self.sessions_of::<Ipv6Addr>(now, start),
        )
    }

    fn mappings_of<A: Family>(&self, start: u32) -> (Vec<MappingView>, Option<u32>) {
        let (page, next) = A::nat(&self.nats).mappings.page(start, PAGE);
        let views = page.map(|(mapping, sessions)| MappingView {
            protocol: mapping.protocol,
            inside: (mapping.inside.into(), mapping.inside_port),
            outside: (mapping.outside.into(), mapping.outside_port),
            pool: self.pool_name(A::nat(&self.nats).pool_of(mapping)),
            sessions,
        });
        (views.collect(), next)
    }

    fn sessions_of<A: Family>(&self, now: Tick, start: u32) -> (Vec<SessionView>, Option<u32>) {
        let (page, next) = A::nat(&self.nats).sessions.page(start, PAGE);
        (page.map(|index| self.session_view::<A>(now, index)).collect(), next)
    }

    fn session_view<A: Family>(&self, now: Tick, index: SessionIndex) -> SessionView {
        let sessions = &A::nat(&self.nats).sessions;
        let session = sessions.session(index);
        let [forward, reverse] = sessions.counts(index);
        let idle = u64::from(session.last_seen.age(now));
        let (there, back) = (session.key(Direction::Forward), session.key(Direction::Reverse));
        SessionView {
            protocol: session.protocol,
            inside: (there.source.into(), there.source_port),
            outside: (back.destination.into(), back.destination_port),
            remote: (there.destination.into(), there.destination_port),
            state: session.state.name(),
            begun_inside: sessions.held(index).began == Direction::Forward,
            rule: self.rule_name(session.rule),
            age: now.since(sessions.created(index)),
            idle,
            expires: sessions.timeout(session).saturating_sub(idle),
            forward,
            reverse,
        }
    }

    pub(crate) fn pool_name(&self, pool: Option<PoolId>) -> String {
        pool.map_or_else(String::new, |pool| self.policy.pool(pool).name.clone())
    }

    pub(crate) fn rule_name(&self, rule: u16) -> String {
        self.policy.rules.get(usize::from(rule)).map_or_else(String::new, |rule| rule.name.clone())
    }
}

/// A page of the records of IPv4, then those of IPv6, whose numbers have the highest bit set.
fn page_of_both<T>(
    start: u32,
    v4: impl FnOnce(u32) -> (Vec<T>, Option<u32>),
    v6: impl FnOnce(u32) -> (Vec<T>, Option<u32>),
) -> (Vec<T>, Option<u32>) {
    if start & OF_IPV6 == 0 {
        let (page, next) = v4(start);
        return (page, Some(next.unwrap_or(OF_IPV6)));
    }
    let (page, next) = v6(start & !OF_IPV6);
    (page, next.map(|next| next | OF_IPV6))
}

/// Marks a number of a record of IPv6; a table has at most 2^30 records.
const OF_IPV6: u32 = 1 << 31;

/// Records of a page: what a worker looks at between two batches.
pub const PAGE: u32 = 1_024;

#[cfg(test)]
mod tests {
    use mooring_nat::EventKind;
    use mooring_wire::Protocol;

    use super::PoolUsage;
    use crate::DropReason;
    use crate::explain::Outcome;
    use crate::test_bench::{Bench, CONFIG, HOST, INSIDE, OTHER_HOST, POOL, SERVER, frames};

    #[test]
    fn what_a_pool_has_given_out_is_counted_and_its_blocks_are_told() {
        let blocks = "ports = \"1024-2047\"\n\
                      allocation = { kind = \"port-block\", size = 128, max_blocks = 2 }";
        let pool = "addresses = [\"203.0.113.10/32\"]";
        let mut bench = Bench::ready_with(&CONFIG.replace(pool, &format!("{pool}\n{blocks}")));
        let unused = PoolUsage { blocks: 8, ..PoolUsage::default() };
        assert_eq!(bench.engine.pools(), [unused]);
        for (host, port) in [(HOST, 5000), (HOST, 5001), (OTHER_HOST, 5000)] {
            bench.forward(INSIDE, &frames::inside(host, SERVER).udp(port, 53, b"ahoy"));
        }
        let used = PoolUsage { leased: 3, blocks_held: 2, ..unused };
        assert_eq!(bench.engine.pools(), [used]);
        bench.rest(1);
        let holder = |bench: &Bench| {
            let block = &bench.engine.events(None).events[0].event;
            let ports = block.ports.clone().expect("a block has ports");
            // Two of its ports are mapped: the last that is not is its block's all the same.
            let mapped =
                |port| bench.engine.nats.v4.mappings.find_outside(POOL, port, Protocol::UDP);
            let free = ports.rev().find(|port| mapped(*port).is_none()).expect("128 ports");
            bench.engine.explain_outside(POOL.into(), free, Protocol::UDP)
        };
        let held = format!("held by {HOST} in its block, used or not");
        assert_eq!(holder(&bench).outcome, Outcome::Local(held));
        bench.rest(303_000);
        let told = holder(&bench);
        assert_eq!(told.outcome, Outcome::Dropped(DropReason::NoSession));
        let last = told.steps.last().map(|step| step.found.clone()).expect("it has steps");
        assert!(last.starts_with(&format!("{HOST} had last, and nobody has now,")), "{last}");
        assert_eq!(bench.engine.pools(), [unused]);
        let told = bench.engine.events(None).events;
        let count = |kind| told.iter().filter(|told| told.event.kind == kind).count();
        assert_eq!(count(EventKind::BlockAllocated), 2);
        assert_eq!(count(EventKind::BlockReleased), 2);
        assert!(told.iter().all(|told| told.pool.as_deref() == Some("egress")), "{told:?}");
    }
}

//! The state of translation of one address family in one worker.

use mooring_policy::Policy;
use mooring_session::{
    Address, KeyedHash, MappingIndex, MappingTable, Session, SessionTable, SourceTable, Tick,
    Timeouts,
};

use crate::{NextHops, PortLedger};

/// Sessions, mappings, leases, and how many sessions each source has.
pub struct Nat<A> {
    /// The sessions; the engine looks packets up in it.
    pub sessions: SessionTable<A>,
    /// The endpoint-independent mappings.
    pub mappings: MappingTable<A>,
    pub(crate) ports: PortLedger<A>,
    pub(crate) sources: SourceTable<A>,
    /// Chooses the address of a pool for an inside host. Its choice is seen outside, so its secret is
    /// not that of the tables.
    pub(crate) pairing: KeyedHash,
}

impl<A: Address> Nat<A> {
    /// Tables of the size that the policy's limits say, and room for the leases of its pools. `hash`
    /// is drawn at random for each start.
    #[must_use]
    pub fn new(policy: &Policy, hash: KeyedHash) -> Self {
        let capacity = policy.limits.sessions as usize;
        let timeouts = timeouts(policy);
        let mut nat = Self {
            sessions: SessionTable::new(capacity, hash.clone(), timeouts),
            mappings: MappingTable::new(capacity, hash.clone()),
            ports: PortLedger::new(),
            pairing: hash.derived(),
            sources: SourceTable::new(capacity, hash),
        };
        nat.open_pools(policy);
        nat
    }

    /// Ends a session that has been silent for its timeout and gives back what it held. Looks at no
    /// more than `budget` records and takes what it looked at from it; `None` when nothing is due.
    pub fn expire(
        &mut self,
        now: Tick,
        budget: &mut u32,
        hops: &mut impl NextHops,
    ) -> Option<Session<A>> {
        let (session, mapping) = self.sessions.expire(now, budget)?;
        self.settle(&session, mapping, hops);
        Some(session)
    }

    /// Ports leased now: as many as there are mappings, or a lease was lost.
    #[must_use]
    pub fn leased_ports(&self) -> usize {
        self.ports.leased()
    }

    /// Bytes allocated for the tables that grow with the limit of sessions.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.sessions.allocated() + self.mappings.allocated() + self.sources.allocated()
    }

    /// Takes back what a session that is no longer in the table held.
    fn settle(
        &mut self,
        session: &Session<A>,
        mapping: Option<MappingIndex>,
        hops: &mut impl NextHops,
    ) {
        hops.release(session.forward_hop);
        hops.release(session.reverse_hop);
        if let Some(mapping) = mapping {
            self.release_mapping(mapping);
        }
        self.sources.remove(session.inside);
    }

    /// A mapping loses a user; without users its lease ends.
    pub(crate) fn release_mapping(&mut self, mapping: MappingIndex) {
        if let Some(unused) = self.mappings.release(mapping) {
            let leased = self.ports.release(unused.outside, unused.protocol, unused.outside_port);
            debug_assert!(leased, "a mapping owns the lease of its outside port");
        }
    }

    /// Makes room for leases on every address of this family that a pool names.
    fn open_pools(&mut self, policy: &Policy) {
        for pool in &policy.pools {
            for n in 0..pool.address_count() {
                if let Some(address) = pool.nth_address(n).and_then(A::from_ip) {
                    self.ports.open(address);
                }
            }
        }
    }
}

/// The policy's timeouts, in the milliseconds of the table.
fn timeouts(policy: &Policy) -> Timeouts {
    let millis = |seconds: u32| seconds.saturating_mul(1000);
    let configured = &policy.timeouts;
    Timeouts {
        udp: millis(configured.udp),
        tcp_established: millis(configured.tcp_established),
        tcp_transitory: millis(configured.tcp_transitory),
        icmp: millis(configured.icmp),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mooring_session::{KeyedHash, Timeouts};

    use super::{Nat, timeouts};
    use crate::fixture::policy;

    /// 192 bytes a session, with endpoint-independent mappings: all tables that the limit of sessions
    /// sizes, divided by it.
    #[test]
    fn keeps_within_the_memory_budget() {
        // The default, that of the measurements, and a small one.
        for sessions in [1_000_000, 1_032_192, 65_536] {
            let policy = policy(&format!("limits = {{ sessions = {sessions} }}"));
            let nat: Nat<Ipv4Addr> = Nat::new(&policy, KeyedHash::new([1, 2, 3, 4]));
            let bytes = nat.allocated() as f64 / f64::from(sessions);
            assert!(bytes <= 192.0, "{bytes} bytes a session with room for {sessions}");
        }
    }

    #[test]
    fn seconds_of_the_policy_are_milliseconds_of_the_table() {
        assert_eq!(timeouts(&policy("")), Timeouts::default());
    }
}

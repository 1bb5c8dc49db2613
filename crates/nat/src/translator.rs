//! The state of translation of one address family in one worker.

use std::io;

use mooring_policy::{Policy, Pool, PoolId};
use mooring_session::{
    Address, Contact, CountTable, Held, KeyedHash, Mapping, MappingIndex, MappingTable, Purpose,
    Session, SessionIndex, SessionTable, SourceTable, Tick, Timeouts,
};

use crate::address_choice::AddressUse;
use crate::admit::release;
use crate::ahead::Usual;
use crate::blocks::Blocks;
use crate::decided::Decided;
use crate::hold_down::HoldDown;
use crate::holdings::Leases;
use crate::pool_numbers::{PoolNumbers, RuleNumbers};
use crate::port_owners::PortOwners;
use crate::stock::{Needs, Stock, addresses};
use crate::sweeps::Sweeps;
use crate::tally::{Mark, Numbered, Tally};
use crate::{EventLog, NextHops, PortLedger, Share};

/// Sessions, mappings, leases, and how many sessions each source has begun.
pub struct Nat<A> {
    /// The sessions; the engine looks packets up in it.
    pub sessions: SessionTable<A>,
    /// The endpoint-independent mappings.
    pub mappings: MappingTable<A>,
    pub(crate) ports: PortLedger<A>,
    /// What mappings name their pools by.
    pub(crate) pools: PoolNumbers,
    pub(crate) rules: RuleNumbers,
    /// Who leases which ports, where they do not go round the workers.
    pub(crate) numbers: PortOwners,
    /// What a policy to come may need: unused. Empty but for the time of a reload.
    stock: Stock<A>,
    /// What is needed no more, with all that was in it.
    outgrown: Stock<A>,
    /// How many of its ports each pool has leased.
    pub(crate) leases: Leases,
    /// Ports that nobody has and not everybody may have yet.
    pub(crate) resting: HoldDown<A>,
    /// Blocks of ports, where pools have them.
    pub(crate) blocks: Blocks<A>,
    /// How much addresses are used, where pools choose by it.
    pub(crate) usage: AddressUse<A>,
    pub(crate) sweeps: Sweeps,
    /// Whose sessions they are.
    pub(crate) sources: SourceTable<A>,
    /// What options among the limits count; made when a policy first has one.
    pub(crate) tally: Option<Tally>,
    /// The limits of the start: the lengths of prefix that make a source do not change after it.
    source_prefix: u8,
    /// Which remote addresses each mapping talks to, where filtering asks for it.
    pub(crate) contacts: CountTable<Contact<A>>,
    /// The first generation whose sessions are among the contacts: those admitted before a policy asked
    /// for them join when they are asked about.
    pub(crate) contacts_since: u32,
    /// What a management system is to be told.
    pub events: EventLog,
    /// Sessions that began since the start.
    pub created: u64,
    /// Sessions that were ended to make room since the start.
    pub evicted: u64,
    pub(crate) share: Share,
    /// What the last session from inside was: for what is loaded ahead, and whether its pool has a short way.
    pub(crate) usual: Option<Usual<A>>,
    /// What the rules have said lately.
    pub(crate) decided: Decided,
    /// The record that a sweep after a reload looks at next; `None`: it is done.
    pub(crate) swept: Option<u32>,
    /// A TCP segment may be one that is not to pass, although it is of a live session.
    watching: bool,
    hash: KeyedHash,
    /// Chooses the address of a pool for an inside host. Its choice is seen outside, so its secret is
    /// not that of the tables.
    pub(crate) pairing: KeyedHash,
}

impl<A: Address> Nat<A> {
    /// Tables of the size that the policy's limits say, or of this worker's part of it, and room for
    /// the leases of its pools. `hash` is drawn at random for each start.
    #[must_use]
    pub fn new(policy: &Policy, share: Share, hash: KeyedHash) -> Self {
        let capacity = share.part(policy.limits.sessions);
        let timeouts = timeouts(policy);
        let mut nat = Self {
            sessions: SessionTable::new(capacity, hash.clone(), timeouts),
            mappings: MappingTable::new(0, hash.clone()),
            ports: PortLedger::new(hash.clone()),
            pools: PoolNumbers::default(),
            rules: RuleNumbers::default(),
            numbers: PortOwners::default(),
            stock: Stock::empty(),
            outgrown: Stock::empty(),
            leases: Leases::default(),
            resting: HoldDown::new(hash.clone()),
            blocks: Blocks::new(share, hash.derived(Purpose::Blocks)),
            usage: AddressUse::new(hash.clone()),
            sweeps: Sweeps::new(),
            pairing: hash.derived(Purpose::Pairing),
            sources: SourceTable::new(share.part(policy.limits.sources), hash.clone()),
            tally: None,
            source_prefix: match A::BYTES {
                4 => policy.limits.source_prefix_v4,
                _ => policy.limits.source_prefix_v6,
            },
            contacts: CountTable::new(0, hash.clone()),
            contacts_since: 0,
            events: EventLog::new(),
            created: 0,
            evicted: 0,
            share,
            usual: None,
            decided: Decided::new(),
            swept: None,
            watching: false,
            hash,
        };
        nat.make_room(policy, 0);
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
        self.wake_any(now);
        self.ports.free_one();
        let (index, session, held) = self.sessions.expire(now, budget)?;
        self.settle((index, &session), held, hops, now);
        Some(session)
    }

    /// Whether TCP segments of live sessions are to be looked at before they pass: windows are followed, or
    /// [`Nat::may_turn`] is to be asked.
    #[inline]
    #[must_use]
    pub const fn watches_segments(&self) -> bool {
        self.watching
    }

    /// Ends a live session and gives back what it held.
    pub fn end(&mut self, index: SessionIndex, hops: &mut impl NextHops, now: Tick) -> Session<A> {
        let (session, held) = self.sessions.remove(index);
        self.settle((index, &session), held, hops, now);
        session
    }

    /// Ports leased now: as many as there are mappings, or a lease was lost.
    #[must_use]
    pub fn leased_ports(&self) -> usize {
        self.ports.leased()
    }

    /// The pool that a mapping's outside end was leased from, in the policy of now. `None` when that
    /// has no pool of the name any more.
    #[must_use]
    pub fn pool_of(&self, mapping: &Mapping<A>) -> Option<PoolId> {
        self.pools.pool(mapping.pool)
    }

    /// Makes the pages of what every new session takes be there: records of sessions, mappings and sources.
    ///
    /// # Errors
    /// The operating system's.
    pub fn prefault(&mut self) -> io::Result<()> {
        self.sessions.prefault()?;
        self.mappings.prefault()?;
        self.sources.prefault()
    }

    /// Bytes allocated for the tables that grow with the limit of sessions.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.allocations().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The same, table by table; one that no option of the policy needs has 0.
    #[must_use]
    pub fn allocations(&self) -> [(&'static str, usize); 6] {
        let windows = self.sessions.allocated_for_windows();
        [
            ("sessions", self.sessions.allocated() - windows),
            ("windows", windows),
            ("mappings", self.mappings.allocated()),
            ("sources", self.sources.allocated()),
            ("contacts", self.contacts.allocated()),
            ("limits", self.tally.as_ref().map_or(0, Tally::allocated)),
        ]
    }

    /// Takes back what a session that is no longer in the table held.
    fn settle(
        &mut self,
        (index, session): (SessionIndex, &Session<A>),
        held: Held,
        hops: &mut impl NextHops,
        now: Tick,
    ) {
        self.strike_session(session, held, now);
        let source = self.source_of(session.inside);
        if let Some(tally) = &mut self.tally
            && let Some(source) = self.sources.find(source)
        {
            tally.mark(index, source, held.began, Mark::default());
        }
        release(hops, session.forward_hop);
        release(hops, session.reverse_hop);
        if let Some(mapping) = held.mapping {
            if session.generation >= self.contacts_since {
                self.contacts.remove(Contact { mapping, remote: session.remote });
            }
            self.release_mapping(mapping, now);
        }
        // Last of all: what is counted of it stands by its number.
        self.sources.remove(source, held.began);
    }

    /// The source that an inside host belongs to.
    pub(crate) fn source_of(&self, inside: A) -> A {
        inside.network(self.source_prefix)
    }

    /// A mapping loses a user; without users its lease ends.
    pub(crate) fn release_mapping(&mut self, mapping: MappingIndex, now: Tick) {
        if let Some(unused) = self.mappings.release(mapping) {
            let source = self.source_of(unused.inside);
            if let Some(tally) = &mut self.tally
                && let Some(source) = self.sources.find(source)
            {
                tally.unmap(mapping, source, unused.pool);
            }
            self.end_lease(unused, now);
        }
    }

    /// Takes what the policy that is to be adopted needs, so that nothing has to be made for it.
    pub fn supply(&mut self, stock: Stock<A>) {
        self.stock = stock;
        self.ports.supply(std::mem::take(&mut self.stock.ports));
    }

    /// Gives back what was not needed, or is needed no more.
    pub fn give_back(&mut self) -> [Stock<A>; 2] {
        self.stock.ports = self.ports.give_back();
        [&mut self.stock, &mut self.outgrown].map(|all| std::mem::replace(all, Stock::empty()))
    }

    /// Makes room for what the pools of this family need: leases on their addresses, mappings, and
    /// what mappings talk to. Done at the start and at a reload, never for a packet.
    pub(crate) fn make_room(&mut self, policy: &Policy, generation: u32) {
        let (leases, resting, tally) = (&self.leases, &self.resting, &self.tally);
        let counted = |holder| tally.as_ref().is_some_and(|tally| tally.counts(holder));
        let pools = self.pools.follow(policy, |number| {
            counted(Numbered::Pool(number)) || leases.of(number) > 0 || resting.len(number) > 0
        });
        let rules = self.rules.follow(policy, |number| counted(Numbered::Rule(number)));
        let begun =
            pools.into_iter().map(Numbered::Pool).chain(rules.into_iter().map(Numbered::Rule));
        let begun: Vec<_> = begun.collect();
        self.numbers = PortOwners::new(policy);
        self.sessions.ask_before_the_end(policy.tcp.probe);
        self.ports.follow(addresses(policy));
        self.divide(policy, generation);
        let needs = Needs::of::<A>(policy);
        self.fit_tables(needs);
        if let Some(tally) = &mut self.tally {
            tally.follow(self.pools.count(), self.rules.count());
            begun.into_iter().for_each(|holder| tally.begin(holder));
        }
        self.watching = needs.half_open || needs.windows;
        self.usual = None;
        self.decided = Decided::new();
    }

    /// Takes the tables that a policy needs out of the stock, or makes them; lays those aside that it does
    /// not need and nothing is in.
    fn fit_tables(&mut self, needs: Needs) {
        let (capacity, hash, stock) = (self.sessions.capacity(), &self.hash, &mut self.stock);
        if needs.mappings && self.mappings.capacity() == 0 {
            let made = stock.mappings.take().filter(|made| made.capacity() == capacity);
            let new = || MappingTable::new(capacity, hash.clone());
            self.mappings = made.map_or_else(new, |made| made.keyed(hash.clone()));
        } else if !needs.mappings && self.mappings.capacity() > 0 && self.mappings.is_empty() {
            let none = MappingTable::new(0, hash.clone());
            self.outgrown.mappings = Some(std::mem::replace(&mut self.mappings, none));
        }
        // Kept from then on: a policy that asks again finds all that hosts have been talking to since.
        if needs.contacts && self.contacts.capacity() == 0 {
            let made = stock.contacts.take().filter(|made| made.capacity() == capacity);
            let new = || CountTable::new(capacity, hash.clone());
            self.contacts = made.map_or_else(new, |made| made.keyed(hash.clone()));
        }
        if needs.tally && self.tally.is_none() {
            let sources = self.sources.capacity();
            let made = stock.tally.take().filter(|made| made.is_for(capacity, sources));
            self.tally = Some(made.unwrap_or_else(|| Tally::new(capacity, sources)));
        } else if !needs.tally && self.tally.is_some() {
            self.outgrown.tally = self.tally.take();
        }
        if let Some(tally) = self.tally.as_mut().filter(|_| needs.closing) {
            tally.count_closing(&mut stock.closing);
        }
        let Stock { windows: old, .. } = &mut self.outgrown;
        self.sessions.follow_windows(needs.windows, &mut stock.windows, old);
    }
}

/// What pools ask for beside leases.
impl<A: Address> Nat<A> {
    fn divide(&mut self, policy: &Policy, generation: u32) {
        let pools = &self.pools;
        let number = |place| pools.number(PoolId(place));
        self.blocks.follow(policy, generation, number);
        self.usage.follow(&policy.pools, self.share.part(policy.limits.sources), generation);
        for pool in &policy.pools {
            let addresses = (0..pool.address_count()).filter_map(|n| pool.nth_address(n));
            for address in addresses.filter_map(A::from_ip) {
                self.usage.set_blocks(address, self.blocks.held_on(address));
            }
        }
        let numbered = (0..).zip(&policy.pools).map(|(place, pool)| (number(place), pool));
        numbered.clone().for_each(|(number, _)| self.leases.open(number));
        let ours = |pool: &Pool| pool.nth_address(0).and_then(A::from_ip).is_some();
        let (ports, leases, share) = (&mut self.ports, &self.leases, self.share);
        self.resting.follow(
            numbered.filter(|(_, pool)| ours(pool)),
            |all| share.part(all),
            |pool| leases.of(pool),
            |was| ports.wake(was.outside, was.protocol, was.outside_port),
        );
    }
}

/// The policy's timeouts, in the milliseconds of the table.
pub(crate) fn timeouts(policy: &Policy) -> Timeouts {
    let millis = |seconds: u32| seconds.saturating_mul(1000);
    let configured = &policy.timeouts;
    Timeouts {
        udp: millis(configured.udp),
        tcp_established: millis(configured.tcp_established),
        tcp_transitory: millis(configured.tcp_transitory),
        tcp_half_open: millis(configured.tcp_half_open),
        icmp: millis(configured.icmp),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use mooring_session::{KeyedHash, Timeouts};

    use super::{Nat, timeouts};
    use crate::Share;
    use crate::fixture::policy;

    const HASH: [u64; 4] = [1, 2, 3, 4];

    /// Bytes of all tables that the limit of sessions sizes, divided by it: IPv4 and IPv6.
    fn bytes_per_session(mapping: &str, sessions: u32) -> [f64; 2] {
        let policy = policy(&format!(
            r#"limits = {{ sessions = {sessions} }}
            pool = [
                {{ name = "v4", addresses = ["203.0.113.10"], mapping = "{mapping}" }},
                {{ name = "v6", addresses = ["2001:db8:7::10"], mapping = "{mapping}" }},
            ]
            rule = [
                {{ name = "v4", kind = "source-nat", pool = "v4" }},
                {{ name = "v6", kind = "source-nat", pool = "v6" }},
            ]"#
        ));
        let hash = || KeyedHash::new(HASH);
        let v4 = Nat::<Ipv4Addr>::new(&policy, Share::ALL, hash()).allocated();
        let v6 = Nat::<Ipv6Addr>::new(&policy, Share::ALL, hash()).allocated();
        [v4, v6].map(|bytes| bytes as f64 / f64::from(sessions))
    }

    /// 128 and 208 bytes a session without mappings, 192 and 288 with them.
    #[test]
    fn keeps_within_the_memory_budget() {
        // The default, that of the measurements, and a small one.
        println!("bytes a session         sessions   IPv4     of   IPv6     of");
        for sessions in [1_000_000, 1_032_192, 65_536] {
            for (mapping, most) in
                [("endpoint-dependent", [128.0, 208.0]), ("endpoint-independent", [192.0, 288.0])]
            {
                let [v4, v6] = bytes_per_session(mapping, sessions);
                let [most_v4, most_v6] = most;
                println!(
                    "{mapping:<22} {sessions:>9} {v4:>6.1} {most_v4:>6} {v6:>6.1} {most_v6:>6}"
                );
                assert!(v4 <= most_v4 && v6 <= most_v6, "{v4} and {v6} bytes of {sessions}");
            }
        }
    }

    #[test]
    fn a_worker_of_four_has_a_quarter_of_the_tables() {
        let policy = policy("limits = { sessions = 100000 }");
        let share = Share::new(3, 4).expect("one of four");
        let nat: Nat<Ipv4Addr> = Nat::new(&policy, share, KeyedHash::new(HASH));
        assert_eq!(nat.sessions.capacity(), 25_000);
    }

    #[test]
    fn seconds_of_the_policy_are_milliseconds_of_the_table() {
        assert_eq!(timeouts(&policy("")), Timeouts::default());
    }
}

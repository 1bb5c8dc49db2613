//! Who owns which outside port: one bit for each port of each protocol of each outside address.
//!
//! The ledger lives outside of the policy, so a port that a session uses stays taken whatever a
//! reload does to its pool. Memory is taken when a pool first names an address, never per packet, and
//! given back when none names it any more and none of its ports is leased or rests.

use std::collections::HashMap;

use mooring_session::{Address, KeyedHash};
use mooring_wire::Protocol;
use rand_core::Rng;

use crate::Choice;

/// The port leases of all outside addresses of one family.
pub struct PortLedger<A> {
    addresses: HashMap<A, AddressPorts, KeyedHash>,
    leased: usize,
    /// Ports that are leased, or rest.
    used: usize,
    /// See [`Self::freed`].
    freed: u32,
    /// Some addresses are no pool's.
    has_unnamed: bool,
    /// Memory of addresses that nothing is leased of: for others, or to be given back.
    spare: Vec<AddressPorts>,
}

impl<A: Address> PortLedger<A> {
    /// A ledger without addresses.
    #[must_use]
    pub fn new(hash: KeyedHash) -> Self {
        let addresses = HashMap::with_hasher(hash);
        Self { addresses, leased: 0, used: 0, freed: 0, has_unnamed: false, spare: Vec::new() }
    }

    /// Makes room for the leases of `address`: 24 KB. Does nothing if that was done before.
    pub fn open(&mut self, address: A) {
        let spare = &mut self.spare;
        let ports = self.addresses.entry(address);
        ports.or_insert_with(|| spare.pop().unwrap_or_else(AddressPorts::make)).is_named = true;
    }

    /// Takes memory for addresses that are to come.
    pub(crate) fn supply(&mut self, ports: Vec<AddressPorts>) {
        self.spare.extend(ports);
    }

    /// Gives back what no address has.
    pub(crate) fn give_back(&mut self) -> Vec<AddressPorts> {
        std::mem::take(&mut self.spare)
    }

    /// Frees what one address had, if nobody has asked for it.
    pub(crate) fn free_one(&mut self) {
        self.spare.pop();
    }

    /// From now on pools name these addresses and no others: opens them, and closes those of the others
    /// that nothing is leased of.
    pub fn follow(&mut self, named: impl Iterator<Item = A> + Clone) {
        self.addresses.values_mut().for_each(|ports| ports.is_named = false);
        for address in named.clone() {
            if let Some(ports) = self.addresses.get_mut(&address) {
                ports.is_named = true;
            }
        }
        self.has_unnamed = true;
        // First, so that those of now may have it.
        self.close_unused();
        named.for_each(|address| self.open(address));
    }

    /// Closes addresses that are no pool's any more, unless a port of theirs is leased or rests. Cost:
    /// a look at every address.
    pub fn close_unused(&mut self) {
        if self.has_unnamed {
            let closed = self.addresses.extract_if(|_, ports| !ports.is_named && ports.is_free());
            self.spare.extend(closed.map(|(_, ports)| ports));
            self.has_unnamed = self.addresses.values().any(|ports| !ports.is_named);
        }
    }

    /// Addresses that there is memory for.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Leases a port of `choice`: the first of those that it `prefers` that is free, else a random
    /// one (RFC 6056 §3.3.1, without its predictable successor: the search goes on from the random
    /// port to the next free one, so it finds the last one too).
    ///
    /// `claimed` says up to which port a rule has `port` and those after it for itself.
    pub fn lease(
        &mut self,
        address: A,
        protocol: Protocol,
        choice: &Choice,
        claimed: impl Fn(u16) -> Option<u16>,
        random: &mut impl Rng,
    ) -> Option<u16> {
        let all = self.addresses.get_mut(&address)?;
        let ports = all.read(protocol)?;
        let free = |port: &u16| !ports.is_set(*port) && claimed(*port).is_none();
        let preferred = choice.preferred().find(free);
        let port = preferred.or_else(|| ports.random_free(choice, &claimed, random.next_u32()))?;
        all.set(protocol, port, true);
        self.leased += 1;
        self.used += 1;
        Some(port)
    }

    /// The port that [`Self::lease`] would give by this random number, if none were preferred or claimed.
    pub(crate) fn next_random(
        &self,
        address: A,
        protocol: Protocol,
        choice: &Choice,
        number: u32,
    ) -> Option<u16> {
        self.addresses.get(&address)?.read(protocol)?.random_free(choice, &|_| None, number)
    }

    /// A number that changes whenever a port becomes free that was not.
    pub(crate) const fn freed(&self) -> u32 {
        self.freed
    }

    /// Leases this port. False when it is leased already, or rests, or there is no such.
    pub(crate) fn take(&mut self, address: A, protocol: Protocol, port: u16) -> bool {
        let Some(all) = self.addresses.get_mut(&address) else { return false };
        if all.read(protocol).is_none_or(|ports| ports.is_set(port)) {
            return false;
        }
        all.set(protocol, port, true);
        self.leased += 1;
        self.used += 1;
        true
    }

    /// Gives a port back. False when it was not leased.
    pub fn release(&mut self, address: A, protocol: Protocol, port: u16) -> bool {
        let all = self.addresses.get_mut(&address);
        let was_leased = all.is_some_and(|all| all.set(protocol, port, false));
        self.leased -= usize::from(was_leased);
        self.used -= usize::from(was_leased);
        self.freed = self.freed.wrapping_add(1);
        was_leased
    }

    /// A leased port begins to rest: it is nobody's, and not free. False when it was not leased.
    pub(crate) fn rest(&mut self, address: A, protocol: Protocol, port: u16) -> bool {
        let was_leased = self.is_leased(address, protocol, port);
        self.leased -= usize::from(was_leased);
        was_leased
    }

    /// A port that rests is free.
    pub(crate) fn wake(&mut self, address: A, protocol: Protocol, port: u16) {
        if let Some(all) = self.addresses.get_mut(&address) {
            self.used -= usize::from(all.set(protocol, port, false));
            self.freed = self.freed.wrapping_add(1);
        }
    }

    /// A port that rests is leased again.
    pub(crate) fn take_back(&mut self, address: A, protocol: Protocol, port: u16) {
        debug_assert!(self.is_leased(address, protocol, port), "a port that rests is not free");
        self.leased += 1;
    }

    /// Whether a port is leased now, or rests.
    #[must_use]
    pub fn is_leased(&self, address: A, protocol: Protocol, port: u16) -> bool {
        // Where all pools share ports between remotes nothing has to be looked up.
        if self.used == 0 {
            return false;
        }
        let ports = self.addresses.get(&address).and_then(|all| all.read(protocol));
        ports.is_some_and(|ports| ports.is_set(port))
    }

    /// Ports leased now, of all addresses and protocols.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// True when leases of this protocol exist: it has ports, or identifiers in their place.
    #[must_use]
    pub fn serves(protocol: Protocol) -> bool {
        matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6)
    }
}

/// The leases of one address.
#[derive(Default)]
pub(crate) struct AddressPorts {
    is_named: bool,
    /// Ports that are leased, or rest.
    used: u32,
    tcp: Box<Bitmap>,
    udp: Box<Bitmap>,
    icmp: Box<Bitmap>,
}

impl AddressPorts {
    /// 24 KB: no port is leased.
    pub(crate) fn make() -> Self {
        #[cfg(test)]
        crate::fixture::leases_made();
        Self::default()
    }

    fn of(&mut self, protocol: Protocol) -> Option<&mut Bitmap> {
        match protocol {
            Protocol::TCP => Some(&mut self.tcp),
            Protocol::UDP => Some(&mut self.udp),
            Protocol::ICMP | Protocol::ICMPV6 => Some(&mut self.icmp),
            _ => None,
        }
    }

    /// Says whether a port is leased from now on; returns whether it was.
    fn set(&mut self, protocol: Protocol, port: u16, leased: bool) -> bool {
        let Some(ports) = self.of(protocol) else { return false };
        let was = ports.is_set(port);
        ports.set(port, leased);
        self.used = self.used + u32::from(leased) - u32::from(was);
        was
    }

    /// Whether no port is leased, and none rests.
    const fn is_free(&self) -> bool {
        self.used == 0
    }

    fn read(&self, protocol: Protocol) -> Option<&Bitmap> {
        match protocol {
            Protocol::TCP => Some(&self.tcp),
            Protocol::UDP => Some(&self.udp),
            Protocol::ICMP | Protocol::ICMPV6 => Some(&self.icmp),
            _ => None,
        }
    }
}

/// A bit for each of 65,536 ports; set when leased.
struct Bitmap([u64; 1024]);

impl Bitmap {
    /// A free port of the choice that no rule has for itself: the first from a random one on, which `number` says.
    fn random_free(
        &self,
        choice: &Choice,
        claimed: &impl Fn(u16) -> Option<u16>,
        number: u32,
    ) -> Option<u16> {
        let start = choice.drawn(number)?;
        let free = |from, to| self.first_unclaimed(from, to, choice, claimed);
        free(start, *choice.range.end()).or_else(|| free(*choice.range.start(), start))
    }

    /// The first free port from `from` to `last` that no rule has for itself.
    fn first_unclaimed(
        &self,
        mut from: u16,
        last: u16,
        choice: &Choice,
        claimed: &impl Fn(u16) -> Option<u16>,
    ) -> Option<u16> {
        while from <= last {
            let port = self.first_free(from, last, choice)?;
            match claimed(port) {
                None => return Some(port),
                Some(until) => from = until.max(port).checked_add(1)?,
            }
        }
        None
    }

    /// The first free port from `from` to `last` of those that the choice has.
    fn first_free(&self, from: u16, last: u16, choice: &Choice) -> Option<u16> {
        let (first_word, last_word) = (usize::from(from) / 64, usize::from(last) / 64);
        let before_from = (1u64 << (from % 64)) - 1;
        let mut taken_or_before = self.0[first_word] | !choice.mask(first_word) | before_from;
        for word in first_word..=last_word {
            if word > first_word {
                taken_or_before = self.0[word] | !choice.mask(word);
            }
            if taken_or_before != u64::MAX {
                let port = word as u32 * 64 + taken_or_before.trailing_ones();
                return u16::try_from(port).ok().filter(|&port| port <= last);
            }
        }
        None
    }

    fn is_set(&self, port: u16) -> bool {
        self.0[usize::from(port) / 64] >> (port % 64) & 1 == 1
    }

    fn set(&mut self, port: u16, leased: bool) {
        let bit = 1 << (port % 64);
        let word = &mut self.0[usize::from(port) / 64];
        *word = if leased { *word | bit } else { *word & !bit };
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        Self([0; 1024])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;
    use std::ops::RangeInclusive;

    use mooring_session::KeyedHash;
    use mooring_wire::Protocol;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::PortLedger;
    use crate::choice::Parity;
    use crate::{Choice, Share};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    fn of(range: RangeInclusive<u16>) -> Choice {
        Choice::of(range, Share::ALL)
    }

    fn ledger() -> PortLedger<Ipv4Addr> {
        let mut ledger = PortLedger::new(KeyedHash::new([1, 2, 3, 4]));
        ledger.open(ADDRESS);
        ledger
    }

    proptest! {
        #[test]
        fn leases_every_port_of_a_range_once(first in any::<u16>(), size in 0u16..300, seed in any::<u64>()) {
            let range: RangeInclusive<u16> = first..=first.saturating_add(size);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut ledger = ledger();
            let mut seen = HashSet::new();
            while let Some(port) = ledger.lease(ADDRESS, Protocol::UDP, &of(range.clone()), |_| None, &mut random) {
                prop_assert!(range.contains(&port) && seen.insert(port));
            }
            prop_assert_eq!(seen.len(), range.len());
            prop_assert_eq!(ledger.leased(), range.len());
            for port in seen {
                prop_assert!(ledger.release(ADDRESS, Protocol::UDP, port));
                prop_assert!(!ledger.release(ADDRESS, Protocol::UDP, port));
            }
            prop_assert_eq!(ledger.leased(), 0);
        }
    }

    #[test]
    fn protocols_and_addresses_do_not_share_ports() {
        let mut ledger = ledger();
        let other = Ipv4Addr::new(203, 0, 113, 11);
        ledger.open(other);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut lease =
            |address, protocol| ledger.lease(address, protocol, &of(7..=7), |_| None, &mut random);
        assert_eq!(lease(ADDRESS, Protocol::TCP), Some(7));
        assert_eq!(lease(ADDRESS, Protocol::TCP), None);
        assert_eq!(lease(ADDRESS, Protocol::UDP), Some(7));
        assert_eq!(lease(other, Protocol::TCP), Some(7));
        assert_eq!(lease(Ipv4Addr::UNSPECIFIED, Protocol::TCP), None);
        assert_eq!(lease(ADDRESS, Protocol(47)), None);
    }

    #[test]
    fn opening_an_address_again_keeps_its_leases() {
        let mut ledger = ledger();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        assert!(ledger.lease(ADDRESS, Protocol::TCP, &of(7..=7), |_| None, &mut random).is_some());
        ledger.open(ADDRESS);
        assert!(ledger.lease(ADDRESS, Protocol::TCP, &of(7..=7), |_| None, &mut random).is_none());
    }

    /// Ports of a rule are never leased, nor are those of other workers.
    #[test]
    fn leases_what_is_its_own_and_nobody_claims() {
        let claimed = |port: u16| (4010..=4019).contains(&port).then_some(4019);
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut all = HashSet::new();
        for worker in 0..3 {
            let share = Share::new(worker, 3).expect("one of three");
            let choice = Choice::of(4000..=4039, share);
            let mut ledger = ledger();
            let mut lease = || ledger.lease(ADDRESS, Protocol::TCP, &choice, claimed, &mut random);
            while let Some(port) = lease() {
                assert!(port / 2 % 3 == u16::from(worker) && claimed(port).is_none());
                assert!(all.insert(port), "port {port} twice");
            }
        }
        assert_eq!(all.len(), 30);
    }

    #[test]
    fn what_is_preferred_comes_first_if_it_may_be_leased() {
        let mut ledger = ledger();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let prefers = [Some(3000), Some(4011), Some(4017)];
        let choice = Choice { prefers, ..of(4000..=4039) };
        let claimed = |port: u16| (port == 4011).then_some(4011);
        let mut lease = || ledger.lease(ADDRESS, Protocol::UDP, &choice, claimed, &mut random);
        assert_eq!(lease(), Some(4017), "3000 is out of range, 4011 is claimed");
        assert!(lease().is_some_and(|port| port != 4017 && port != 4011));
    }

    /// RFC 4787 REQ-11: under port pressure the parity is not given up.
    #[test]
    fn a_parity_is_kept_until_its_ports_are_all_leased() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for (parity, rest) in [(Parity::Even, 0), (Parity::Odd, 1)] {
            let mut ledger = ledger();
            let choice = Choice { parity: Some(parity), ..of(4001..=4040) };
            let mut lease = || ledger.lease(ADDRESS, Protocol::UDP, &choice, |_| None, &mut random);
            let ports: HashSet<u16> = std::iter::from_fn(&mut lease).collect();
            assert_eq!(ports.len(), 20);
            assert!(ports.iter().all(|port| port % 2 == rest && (4001..=4040).contains(port)));
        }
    }

    #[test]
    fn ports_do_not_follow_each_other() {
        let mut ledger = ledger();
        let mut random = ChaCha8Rng::seed_from_u64(42);
        let mut lease =
            || ledger.lease(ADDRESS, Protocol::UDP, &of(1024..=65535), |_| None, &mut random);
        let ports: Vec<u16> = std::iter::from_fn(&mut lease).take(100).collect();
        let successors = ports.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count();
        assert!(successors < 3, "{ports:?}");
    }
}

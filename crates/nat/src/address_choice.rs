//! The address of a pool that has the fewest sessions of this worker, and which hosts keep to which
//! address because of it (RFC 4787 REQ-2). Only for pools with `address_choice = "least-used"`: a hash
//! needs no memory.
//!
//! Memory is taken when a policy is adopted: eight bytes an address and pool, and a table of hosts of
//! the size that `limits.sources` says.

use std::collections::HashMap;

use mooring_policy::{AddressChoice, Allocation, Pool};
use mooring_session::index::Index;
use mooring_session::{Address, KeyedHash};
use mooring_wire::Protocol;

/// How much each address of such a pool is used, and by whom.
pub(crate) struct AddressUse<A> {
    /// By the pool's place in the policy.
    pools: Vec<Option<Least>>,
    addresses: HashMap<A, Used>,
    hosts: Hosts<A>,
    hash: KeyedHash,
}

/// One address: what it has, and the places that it has in pools.
#[derive(Debug, Default)]
struct Used {
    /// Sessions that this policy or a later one admitted or checked are counted.
    since: u32,
    sessions: u32,
    blocks: u32,
    places: Vec<(u16, u32)>,
}

/// What the addresses of a pool have, in a tree whose inner nodes have the lesser of their two.
#[derive(Debug)]
struct Least {
    /// It counts blocks, not sessions.
    blocks: bool,
    tree: Vec<u32>,
}

/// Sessions of a host on an address.
struct Hosts<A> {
    index: Index,
    records: Vec<Host<A>>,
    free: Vec<u32>,
    capacity: usize,
}

#[derive(Clone, Copy, Debug)]
struct Host<A> {
    host: A,
    address: A,
    sessions: u32,
}

impl<A: Address> AddressUse<A> {
    /// Of no pool.
    pub(crate) fn new(hash: KeyedHash) -> Self {
        let (pools, addresses) = (Vec::new(), HashMap::new());
        Self { pools, addresses, hosts: Hosts::new(0), hash }
    }

    /// Follows a policy: `pools` are all of its pools, `hosts` is how many hosts there may be. What an
    /// address has is known from when it first was in such a pool: from `generation` on.
    pub(crate) fn follow(&mut self, pools: &[Pool], hosts: usize, generation: u32) {
        self.addresses.values_mut().for_each(|used| used.places.clear());
        self.pools.clear();
        for (place, pool) in pools.iter().enumerate() {
            let counted = pool.address_choice == AddressChoice::LeastUsed;
            let blocks = matches!(pool.allocation, Allocation::PortBlock(_));
            let count = pool.address_count();
            let ours = pool.nth_address(0).and_then(A::from_ip).is_some();
            self.pools.push((counted && ours).then(|| Least::new(blocks, count)));
            let Some(Some(least)) = self.pools.last_mut() else { continue };
            for n in 0..count {
                let Some(address) = pool.nth_address(n).and_then(A::from_ip) else { continue };
                let used = self.addresses.entry(address);
                let used = used.or_insert_with(|| Used { since: generation, ..Used::default() });
                if !pool.is_held(n) {
                    // Nobody's turn until it is held: then it is followed anew.
                    least.set(n, u32::MAX);
                    continue;
                }
                used.places.push((place as u16, n));
                least.set(n, if blocks { used.blocks } else { used.sessions });
            }
        }
        self.addresses.retain(|_, used| used.sessions + used.blocks > 0 || !used.places.is_empty());
        if !self.pools.iter().any(Option::is_some) {
            self.pools.clear();
        } else if self.hosts.capacity == 0 {
            self.hosts = Hosts::new(hosts);
        }
    }

    /// Whether nothing is counted.
    pub(crate) fn is_idle(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The place in the pool of the address that has the fewest; `None` if that is not counted.
    pub(crate) fn least(&self, pool: usize) -> Option<u32> {
        Some(self.pools.get(pool)?.as_ref()?.least())
    }

    /// The address of those that `fits` on which a host has sessions.
    pub(crate) fn address_of(&self, host: A, fits: impl Fn(A) -> bool) -> Option<A> {
        let at = self.hosts.find(host, &self.hash, fits)?;
        Some(self.hosts.records[at as usize].address)
    }

    /// Whether one more address of a host can be remembered, if this one is one more.
    pub(crate) fn has_room(&self, host: A, address: A) -> bool {
        self.hosts.live() < self.hosts.capacity
            || !self.addresses.contains_key(&address)
            || self.hosts.find(host, &self.hash, |its| its == address).is_some()
    }

    /// A host has a session more on an address. Does nothing of an address that is not counted.
    pub(crate) fn add(&mut self, host: A, address: A) {
        let Some(used) = self.addresses.get_mut(&address) else { return };
        used.sessions += 1;
        used.tell(&mut self.pools, false);
        self.hosts.add(host, address, &self.hash);
    }

    /// Whether a session on an address is counted that the policy of `generation` has admitted, or
    /// checked last.
    pub(crate) fn counts(&self, address: A, generation: u32) -> bool {
        self.addresses.get(&address).is_some_and(|used| used.since <= generation)
    }

    /// A host has a session less on an address, one that is counted.
    pub(crate) fn remove(&mut self, host: A, address: A) {
        let Some(used) = self.addresses.get_mut(&address) else { return };
        used.sessions = used.sessions.saturating_sub(1);
        used.tell(&mut self.pools, false);
        self.hosts.remove(host, address, &self.hash);
    }

    /// An address has so many blocks of ports that are somebody's.
    pub(crate) fn set_blocks(&mut self, address: A, blocks: u32) {
        let Some(used) = self.addresses.get_mut(&address) else { return };
        used.blocks = blocks;
        used.tell(&mut self.pools, true);
    }
}

impl Used {
    fn tell(&self, pools: &mut [Option<Least>], blocks: bool) {
        let count = if blocks { self.blocks } else { self.sessions };
        for (pool, n) in &self.places {
            let least = pools.get_mut(usize::from(*pool)).and_then(Option::as_mut);
            if let Some(least) = least.filter(|least| least.blocks == blocks) {
                least.set(*n, count);
            }
        }
    }
}

impl Least {
    fn new(blocks: bool, addresses: u32) -> Self {
        let leaves = (addresses as usize).next_power_of_two();
        let mut tree = vec![0; 2 * leaves];
        // There are fewer addresses than leaves: the others never have the fewest.
        tree[leaves + addresses as usize..].fill(u32::MAX);
        for at in (1..leaves).rev() {
            tree[at] = tree[2 * at].min(tree[2 * at + 1]);
        }
        Self { blocks, tree }
    }

    fn set(&mut self, n: u32, count: u32) {
        let mut at = self.tree.len() / 2 + n as usize;
        self.tree[at] = count;
        while at > 1 {
            at /= 2;
            self.tree[at] = self.tree[2 * at].min(self.tree[2 * at + 1]);
        }
    }

    /// The first of those that have the fewest. Cost: the logarithm of the number of addresses.
    fn least(&self) -> u32 {
        let leaves = self.tree.len() / 2;
        let mut at = 1;
        while at < leaves {
            at = if self.tree[2 * at] <= self.tree[2 * at + 1] { 2 * at } else { 2 * at + 1 };
        }
        (at - leaves) as u32
    }
}

impl<A: Address> Hosts<A> {
    fn new(capacity: usize) -> Self {
        let index = Index::new(capacity);
        let (records, free) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        Self { index, records, free, capacity }
    }

    fn find(&self, host: A, hash: &KeyedHash, fits: impl Fn(A) -> bool) -> Option<u32> {
        self.index.find(host_hash(hash, host), |at| {
            let record = &self.records[at as usize];
            record.host == host && fits(record.address)
        })
    }

    fn live(&self) -> usize {
        self.records.len() - self.free.len()
    }

    fn add(&mut self, host: A, address: A, hash: &KeyedHash) {
        if let Some(at) = self.find(host, hash, |its| its == address) {
            self.records[at as usize].sessions += 1;
            return;
        }
        let record = Host { host, address, sessions: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.records[at as usize] = record;
                at
            }
            None if self.records.len() == self.capacity => return,
            None => {
                self.records.push(record);
                self.records.len() as u32 - 1
            }
        };
        self.index.insert(host_hash(hash, host), at);
    }

    fn remove(&mut self, host: A, address: A, hash: &KeyedHash) {
        let Some(at) = self.find(host, hash, |its| its == address) else { return };
        let record = &mut self.records[at as usize];
        record.sessions -= 1;
        if record.sessions == 0 {
            self.free.push(at);
            self.index.remove(host_hash(hash, host), at);
        }
    }
}

fn host_hash<A: Address>(hash: &KeyedHash, host: A) -> u64 {
    hash.end(host, 0, Protocol(0), 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::Least;

    proptest! {
        #[test]
        fn the_tree_knows_the_first_of_the_least(
            count in 1u32..40,
            steps in prop::collection::vec((0u32..40, 0u32..5), 0..60),
        ) {
            let mut tree = Least::new(false, count);
            let mut model = vec![0; count as usize];
            for (n, used) in steps {
                let n = n % count;
                tree.set(n, used);
                model[n as usize] = used;
                let fewest = *model.iter().min().expect("there is one at least");
                let first = model.iter().position(|used| *used == fewest);
                prop_assert_eq!(Some(tree.least() as usize), first);
            }
        }
    }
}

//! The engine of one worker: its state, and what the worker calls between batches.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mooring_nat::{Nat, NextHops, Owners, Share};
use mooring_policy::{Generation, Hop, InterfaceId, Policy};
use mooring_session::{KeyedHash, NextHopIndex, Purpose, Tick};
use mooring_wire::Mac;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::classify::Classified;
use crate::family::{Family, Nats};
use crate::fragments::Fragments;
use crate::history::History;
use crate::limiter::Limiter;
use crate::lots::Lots;
use crate::neighbours::{InterfaceLink, Neighbours, Role};
use crate::outbox::Outbox;
use crate::silent::{SilentHop, SilentHops};
use crate::unsolicited::Unsolicited;
use crate::walk::STRETCH;
use crate::{Counters, DropReason};

/// Everything that one worker needs to translate packets. Knows no socket, thread, clock or random
/// source: bytes, time and a seed go in, bytes and verdicts come out.
pub struct Engine {
    pub(crate) policy: Arc<Policy>,
    pub(crate) generation: Generation,
    pub(crate) share: Share,
    pub(crate) owners: Owners,
    pub(crate) links: Box<[Link]>,
    /// In their order.
    kernel_addresses: Box<[IpAddr]>,
    pub(crate) nats: Nats,
    pub(crate) fragments: Fragments,
    pub(crate) neighbours: Neighbours,
    silent: SilentHops,
    /// What a management system is to be told.
    pub(crate) history: History,
    pub(crate) random: ChaCha8Rng,
    /// What packets that begin something draw by.
    pub(crate) lots: Lots,
    pub(crate) unsolicited: Unsolicited,
    pub(crate) error_limit: Limiter,
    /// Apart from the other errors: a connection hangs that is not told how long its packets may be.
    pub(crate) too_big_limit: Limiter,
    pub(crate) echo_limit: Limiter,
    /// What the packets of a stretch of the batch are; written by hop 2, read by hops 3 and 4.
    pub(crate) classified: Box<[Classified]>,
    /// What happened. The worker adds what its ports did.
    pub counters: Counters,
}

/// A link of the worker, as its device says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Our Ethernet address there.
    pub mac: Mac,
    /// Bytes of the longest IP packet.
    pub mtu: u16,
}

impl Engine {
    /// The engine of the only worker; see [`Engine::for_worker`].
    ///
    /// # Panics
    /// When there are not as many links as interfaces.
    #[must_use]
    pub fn new(
        policy: Arc<Policy>,
        generation: Generation,
        links: &[Link],
        seed: [u8; 32],
    ) -> Self {
        Self::for_worker(Share::ALL, policy, generation, links, seed)
    }

    /// Makes the pages of all sessions, mappings and sources be there, which otherwise come with the first
    /// packets that need them, each of which waits for its own.
    ///
    /// # Errors
    /// The operating system's. What is not there still comes with the packets.
    pub fn prefault(&mut self) -> io::Result<()> {
        self.nats.v4.prefault()?;
        self.nats.v6.prefault()
    }

    /// An engine for `policy`, with one link for each of its interfaces, in their order. All that is
    /// random in it comes from `seed`: the same seed and the same packets give the same answers.
    ///
    /// Takes all memory that it will need, its share of what the limits say, and announces the
    /// addresses that it owns, if it is the first worker.
    ///
    /// # Panics
    /// When there are not as many links as interfaces.
    #[must_use]
    pub fn for_worker(
        share: Share,
        policy: Arc<Policy>,
        generation: Generation,
        links: &[Link],
        seed: [u8; 32],
    ) -> Self {
        assert_eq!(links.len(), policy.interfaces.len(), "every interface has a link");
        let mut random = ChaCha8Rng::from_seed(seed);
        let hash = KeyedHash::new(std::array::from_fn(|_| random.next_u64()));
        let neighbour_links: Vec<InterfaceLink> = links
            .iter()
            .zip(&policy.interfaces)
            .map(|(link, interface)| InterfaceLink {
                mac: link.mac,
                mtu: link.mtu,
                addresses: interface.addresses.clone(),
                fixed_peer: None,
            })
            .collect();
        let mut engine = Self {
            generation,
            share,
            owners: Owners::new(Arc::clone(&policy), share),
            links: links.into(),
            kernel_addresses: Box::default(),
            fragments: Fragments::new(&policy.limits, share, &hash),
            nats: Nats {
                v6: Nat::new(&policy, share, hash.derived(Purpose::Ipv6)),
                v4: Nat::new(&policy, share, hash),
            },
            neighbours: Neighbours::new(&neighbour_links, NEIGHBOURS, seed).with_role(role(share)),
            silent: SilentHops::default(),
            history: History::new(&policy),
            lots: Lots::new(ChaCha8Rng::from_rng(&mut random)),
            random,
            unsolicited: Unsolicited::new(&policy),
            error_limit: Limiter::new(share.part(policy.limits.icmp_error_rate) as u32),
            too_big_limit: Limiter::new(share.part(policy.limits.icmp_error_rate) as u32),
            echo_limit: Limiter::new(share.part(policy.limits.echo_reply_rate) as u32),
            classified: Box::new([Classified::NOTHING; STRETCH]),
            counters: Counters::new(links.len()),
            policy,
        };
        engine.neighbours.take_up(&engine.policy, Tick::ZERO);
        engine
    }

    /// Takes the engine off the wire, for a replay: it announces nothing, and on an interface that has
    /// a peer in `peers` (in their order) every next hop has that MAC address. To be called before the
    /// first packet.
    pub fn go_offline(&mut self, peers: &[Option<Mac>]) {
        self.neighbours.go_offline(peers);
    }

    /// Does what time asks for: neighbours, announcements, sessions that end. A bounded number of
    /// records a call; the worker calls it once per loop. True when there is more to do at once.
    pub fn poll(&mut self, now: Tick, outbox: &mut Outbox) -> bool {
        let dropped = self.neighbours.poll(now, outbox);
        self.counters.drops[DropReason::NeighborUnresolved as usize] += dropped;
        while let Some(waited) = self.neighbours.next_unreachable() {
            let (interface, address) = (waited.interface, waited.address);
            self.silent.note(SilentHop { interface, address, last: now });
            let mut packet = waited.packet;
            self.unreachable(now, (interface, &mut packet), outbox);
            outbox.discard(packet);
        }
        self.expire_pieces(now, outbox);
        // Before sessions end: what was opened in time counts, however late we come.
        self.answer_unsolicited::<Ipv4Addr>(now, outbox);
        self.answer_unsolicited::<Ipv6Addr>(now, outbox);
        let mut budget = RECORDS_PER_POLL;
        self.expire_sessions::<Ipv4Addr>(now, &mut budget, outbox);
        self.expire_sessions::<Ipv6Addr>(now, &mut budget, outbox);
        self.sweep::<Ipv4Addr>(now, &mut budget);
        self.sweep::<Ipv6Addr>(now, &mut budget);
        self.collect_events();
        budget == 0
    }

    /// Says what is to be said before the worker ends, which transmits the outbox once more.
    pub fn farewell(&mut self, now: Tick, outbox: &mut Outbox) {
        self.neighbours.farewell(now, outbox);
    }

    /// Addresses that the kernel of our devices answers for itself, in place of those told before.
    /// Packets for them are not ours to carry, and no session begins for one. An address that is
    /// ours by the policy stays ours.
    pub fn set_kernel_addresses(&mut self, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        self.kernel_addresses = addresses.into();
    }

    /// Whether the kernel answers for `address`, as far as we were told.
    pub(crate) fn is_the_kernels(&self, address: IpAddr) -> bool {
        self.kernel_addresses.binary_search(&address).is_ok()
    }

    /// When [`Engine::poll`] has something to do next for a neighbour, for a packet that waits for its
    /// first piece, or for a SYN that nobody has asked for, at the earliest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let deadlines = [
            self.neighbours.next_deadline(),
            self.fragments.next_deadline(),
            self.unsolicited.v4.next_deadline(),
            self.unsolicited.v6.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether this worker speaks for all: it alone knows of conflicts.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.share.worker() == 0
    }

    /// The policy that the engine works by, and its generation.
    #[must_use]
    pub fn policy(&self) -> (&Policy, Generation) {
        (&self.policy, self.generation)
    }

    /// Next hops that did not answer, the last few.
    #[must_use]
    pub fn silent_hops(&self) -> &[SilentHop] {
        self.silent.all()
    }

    /// The links of the engine, in the order of the interfaces.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Live sessions, live mappings and leased ports of both families; a lease without a user would be
    /// lost.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        let Nats { v4, v6 } = &self.nats;
        Occupancy {
            sessions: self.nats.sessions(),
            mappings: v4.mappings.len() + v6.mappings.len(),
            leased_ports: v4.leased_ports() + v6.leased_ports(),
            fragmented: self.fragments.len().0,
            waiting_fragments: self.fragments.len().1,
        }
    }

    /// The address of a family on an interface in whose name our errors go out: the first that means
    /// something beyond the link, if there is one (RFC 6724 §5, rule 2).
    pub(crate) fn own_address<A: Family>(&self, interface: InterfaceId) -> Option<A> {
        let all = &self.policy.interface(interface).addresses;
        let addresses = || all.iter().filter_map(|net| A::from_ip(net.addr()));
        addresses().find(|address| !address.stays_on_link()).or_else(|| addresses().next())
    }

    /// Ends the sessions of a family whose time is over, as far as the budget goes.
    fn expire_sessions<A: Family>(&mut self, now: Tick, budget: &mut u32, outbox: &mut Outbox) {
        let nat = A::nat_mut(&mut self.nats);
        while nat.expire(now, budget, &mut Hops(&mut self.neighbours)).is_some() {
            self.counters.sessions_expired += 1;
        }
        self.probe::<A>(now, outbox);
    }
}

/// The first worker speaks for all.
fn role(share: Share) -> Role {
    if share.worker() == 0 { Role::Speaker } else { Role::Listener }
}

/// How much of the engine's bounded memory is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Live sessions.
    pub sessions: usize,
    /// Live endpoint-independent mappings.
    pub mappings: usize,
    /// Leased outside ports and identifiers.
    pub leased_ports: usize,
    /// Packets of which pieces have come.
    pub fragmented: usize,
    /// Pieces that wait for the first one of their packet.
    pub waiting_fragments: usize,
}

/// The neighbour table as admission sees it.
pub(crate) struct Hops<'n>(pub(crate) &'n mut Neighbours);

impl NextHops for Hops<'_> {
    fn acquire(&mut self, hop: Hop, now: Tick) -> Option<NextHopIndex> {
        self.0.acquire(hop.interface, hop.next_hop, now)
    }

    fn acquire_for_others(&mut self, hop: Hop, now: Tick) -> Option<NextHopIndex> {
        self.0.acquire_for_others(hop.interface, hop.next_hop, now)
    }

    fn release(&mut self, hop: NextHopIndex) {
        self.0.release(hop);
    }
}

/// Entries of the neighbour table: every next hop of a session has one, so this is also the most
/// inside hosts on connected prefixes that can have sessions at a time.
const NEIGHBOURS: usize = 65_535;

/// Session records looked at per [`Engine::poll`].
const RECORDS_PER_POLL: u32 = 64;

//! An engine, its sessions, and frames that walk through it, a window of 8,192 at a time.

use std::sync::Arc;

use mooring_engine::{Engine, Link, Occupancy, Outbox, Verdict, Verdicts};
use mooring_io::tsc;
use mooring_nat::{Nat, Share};
use mooring_packet::{BATCH_CAPACITY, Batch, BufferPool, Offload, Packet};
use mooring_policy::{Generation, InterfaceId, Policy, load};
use mooring_session::memory::{Room, room_for};
use mooring_session::{KeyedHash, Tick};
use mooring_wire::Mac;

use crate::config::{Mapping, addresses, config};
use crate::flows::{Family, Outside};
use crate::frames::{Between, Datagram, Shape};
use crate::oracle::Judge;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the inside host.
    Out,
    /// To the inside host.
    In,
}

/// One engine and all that it is asked.
pub(crate) struct Scene {
    pub(crate) family: Family,
    pub(crate) shape: Shape,
    engine: Engine,
    outbox: Outbox,
    slots: Room<Slot>,
    lens: Vec<usize>,
    /// Of each session that has begun, by its number.
    outside: Vec<Outside>,
    addresses: u32,
    /// The engine's time.
    micros: u64,
    /// Sessions that were begun by filling.
    begun: Vec<u32>,
    /// Frames so far.
    sequence: u32,
}

/// A batch that has walked.
pub(crate) struct Walked<'w, 'b> {
    /// The time-stamp counter's, of ageing and the five hops.
    pub(crate) clocks: u64,
    /// The session of each packet.
    pub(crate) flows: &'w [u32],
    batch: &'w Batch<'b>,
    verdicts: &'w Verdicts,
    first_sequence: u32,
}

/// Where a frame lies: as far from the next as buffers of a device are, its first line on its own.
#[repr(align(64))]
#[derive(Clone)]
struct Slot([u8; SLOT_LEN]);

impl Way {
    /// The Ethernet addresses of frames that come.
    pub(crate) const fn comes_between(self) -> Between {
        match self {
            Self::Out => (NEIGHBOUR.0, OUR_INSIDE.0),
            Self::In => (NEIGHBOUR.0, OUR_OUTSIDE.0),
        }
    }

    /// The Ethernet addresses of frames that leave.
    pub(crate) const fn leaves_between(self) -> Between {
        match self {
            Self::Out => (OUR_OUTSIDE.0, NEIGHBOUR.0),
            Self::In => (OUR_INSIDE.0, NEIGHBOUR.0),
        }
    }

    /// The interfaces that packets come and leave by.
    const fn interfaces(self) -> (InterfaceId, InterfaceId) {
        match self {
            Self::Out => (InterfaceId(0), InterfaceId(1)),
            Self::In => (InterfaceId(1), InterfaceId(0)),
        }
    }
}

impl Scene {
    /// An engine with room for `sessions`, and none yet.
    pub(crate) fn new(family: Family, mapping: Mapping, sessions: u32) -> Self {
        Self::of_share(Share::ALL, Arc::new(policy(family, mapping, sessions)), family, sessions)
    }

    /// The engine of one of the workers that have room for `sessions` together, by `policy`.
    pub(crate) fn of_share(
        share: Share,
        policy: Arc<Policy>,
        family: Family,
        sessions: u32,
    ) -> Self {
        let links = [Link { mac: OUR_INSIDE, mtu: 1500 }, Link { mac: OUR_OUTSIDE, mtu: 1500 }];
        let mut engine = Engine::for_worker(share, policy, Generation(1), &links, [7; 32]);
        // Nobody is there who would answer for a neighbour.
        engine.go_offline(&[Some(NEIGHBOUR), Some(NEIGHBOUR)]);
        engine.prefault().expect("there is so much memory");
        // As memory that is shared with a device lies.
        let mut slots = room_for(WINDOW);
        slots.resize(WINDOW, Slot([0; SLOT_LEN]));
        Self {
            family,
            shape: Shape::Short,
            engine,
            outbox: Outbox::new(BufferPool::new(512, 8)),
            slots,
            lens: vec![0; WINDOW],
            outside: vec![Outside::default(); sessions as usize],
            begun: Vec::new(),
            addresses: addresses(sessions),
            micros: 0,
            sequence: 0,
        }
    }

    /// Begins sessions `from` to `to` within `millis` of the engine's time; nobody looks.
    pub(crate) fn fill(&mut self, (from, to): (u32, u32), millis: u64) {
        self.begin((from..to).collect(), millis);
    }

    /// The same for sessions of any numbers.
    pub(crate) fn begin(&mut self, flows: Vec<u32>, millis: u64) {
        let step = millis * 1_000 * BATCH_CAPACITY as u64 / flows.len().max(1) as u64;
        let mut begun = Vec::with_capacity(flows.len());
        let (family, addresses) = (self.family, self.addresses);
        self.walk(Way::Out, &flows, step.max(1), |walked| {
            walked.all_leave(Way::Out);
            begun.extend(walked.left().map(|left| family.read_source(left, addresses)));
        });
        for (n, outside) in flows.iter().zip(begun) {
            self.outside[*n as usize] = outside.expect("every source is of the pool");
        }
        self.begun.extend(flows);
    }

    /// Compares every frame of `flows`, some of which may begin a session from the number `new` on: of those the
    /// source is free, and all else is as it was.
    pub(crate) fn judge(&mut self, way: Way, flows: &[u32], new: u32, judge: &mut Judge) {
        let (family, addresses, shape) = (self.family, self.addresses, self.shape);
        for &n in &self.begun {
            judge.take(self.outside[n as usize], family.remote(n), family.inside(n));
        }
        // Writing what comes from outside needs them at the same time.
        let mut outside = self.outside.clone();
        self.walk(way, flows, STEP, |walked| {
            walked.all_leave(way);
            for ((n, left), sequence) in
                walked.flows.iter().zip(walked.left()).zip(walked.first_sequence..)
            {
                let known = &mut outside[*n as usize];
                if *n >= new {
                    *known = family.read_source(left, addresses).expect("it is of the pool");
                    judge.take(*known, family.remote(*n), family.inside(*n));
                }
                let expected = translated(shape, way, (*n, family, *known), sequence);
                judge.compare(left, (expected, shape), way.leaves_between());
            }
        });
        self.outside = outside;
    }

    /// Lets a frame of each of `flows` walk, in batches that are `step` microseconds apart, and shows each batch.
    /// Frames are written before the batches of a window are timed.
    pub(crate) fn walk(
        &mut self,
        way: Way,
        flows: &[u32],
        step: u64,
        mut see: impl FnMut(&Walked<'_, '_>),
    ) {
        // The first piece of a datagram is an even one.
        self.sequence = self.sequence.next_multiple_of(2);
        for window in flows.chunks(WINDOW) {
            self.lay(way, window);
            self.walk_laid(way, window, step, &mut see);
        }
    }

    /// Writes a frame of each of `flows`, a window of them at most.
    pub(crate) fn lay(&mut self, way: Way, flows: &[u32]) {
        for ((n, slot), len) in flows.iter().zip(&mut self.slots).zip(&mut self.lens) {
            let known = (*n, self.family, self.outside[*n as usize]);
            let sent = sent(self.shape, way, known, self.sequence);
            *len = sent.write(self.shape, way.comes_between(), &mut slot.0[START..]);
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// Lets the frames walk that were just written of `flows`.
    pub(crate) fn walk_laid(
        &mut self,
        way: Way,
        flows: &[u32],
        step: u64,
        mut see: impl FnMut(&Walked<'_, '_>),
    ) {
        let ingress = way.interfaces().0;
        let mut first_sequence = self.sequence.wrapping_sub(flows.len() as u32);
        let slots = self.slots.chunks_mut(BATCH_CAPACITY);
        let lens = self.lens.chunks(BATCH_CAPACITY);
        for ((slots, lens), flows) in slots.zip(lens).zip(flows.chunks(BATCH_CAPACITY)) {
            let mut batch = Batch::new();
            for ((slot, len), _) in slots.iter_mut().zip(lens).zip(flows) {
                let packet = Packet::new(&mut slot.0, START, *len, Offload::NONE);
                batch.push(packet).expect("it has as many slots as a batch takes");
            }
            let now = Tick::from_millis(self.micros / 1_000);
            let (clocks, verdicts) =
                timed(&mut self.engine, now, ingress, &mut batch, &mut self.outbox);
            self.micros += step;
            see(&Walked { clocks, flows, batch: &batch, verdicts: &verdicts, first_sequence });
            first_sequence = first_sequence.wrapping_add(flows.len() as u32);
            self.outbox.clear();
        }
    }

    /// Ends all sessions by letting their time go by: clocks of each turn of ageing, and how many it ended.
    pub(crate) fn expire(&mut self, mut see: impl FnMut(u64, u64)) {
        self.micros += 302_000_000;
        while self.engine.occupancy().sessions > 0 {
            let now = Tick::from_millis(self.micros / 1_000);
            let before = self.engine.counters.sessions_expired;
            let start = tsc::read();
            self.engine.poll(now, &mut self.outbox);
            let clocks = tsc::read() - start;
            see(clocks, self.engine.counters.sessions_expired - before);
            self.outbox.clear();
        }
    }

    /// What the engine holds.
    pub(crate) fn occupancy(&self) -> Occupancy {
        self.engine.occupancy()
    }
}

impl Walked<'_, '_> {
    /// The frames as they are now.
    pub(crate) fn left(&self) -> impl Iterator<Item = &[u8]> {
        self.batch.packets().iter().map(Packet::bytes)
    }

    /// Every packet has left, by the other interface.
    pub(crate) fn all_leave(&self, way: Way) {
        let leaves = Verdict::Tx(way.interfaces().1);
        let other = self.verdicts.iter().find(|verdict| **verdict != leaves);
        assert_eq!(other, None, "every packet of the bench is forwarded");
    }
}

/// What is timed: what a worker does between a batch and the next.
///
/// A function of its own and never inlined: instructions are counted in it.
#[inline(never)]
pub(crate) fn timed(
    engine: &mut Engine,
    now: Tick,
    ingress: InterfaceId,
    batch: &mut Batch<'_>,
    outbox: &mut Outbox,
) -> (u64, Verdicts) {
    let start = tsc::read();
    engine.poll(now, outbox);
    let verdicts = engine.process(now, ingress, batch, outbox);
    (tsc::read() - start, verdicts)
}

/// Bytes that a session takes: of every table of the family that `limits.sessions` sizes.
pub(crate) fn bytes_per_session(family: Family, mapping: Mapping, sessions: u32) -> f64 {
    let policy = policy(family, mapping, sessions);
    let hash = KeyedHash::new([1, 2, 3, 4]);
    let bytes = match family {
        Family::V4 => Nat::<std::net::Ipv4Addr>::new(&policy, Share::ALL, hash).allocated(),
        Family::V6 => Nat::<std::net::Ipv6Addr>::new(&policy, Share::ALL, hash).allocated(),
    };
    bytes as f64 / f64::from(sessions)
}

/// The policy that is measured.
pub(crate) fn policy(family: Family, mapping: Mapping, sessions: u32) -> Policy {
    load(&config(family, mapping, sessions)).expect("the bench's own configuration is valid").policy
}

/// Frame number `sequence` of a session as it comes, or what it quotes.
fn sent(shape: Shape, way: Way, (session, family, outside): Known, sequence: u32) -> Datagram {
    let (inside, remote) = (family.inside(session), family.remote(session));
    let outside = family.outside(outside);
    let (from, to) = match (way, shape) {
        (Way::Out, _) => (inside, remote),
        (Way::In, Shape::Errors) => (outside, remote),
        (Way::In, _) => (remote, outside),
    };
    Datagram { from, to, ttl: 64, session, sequence }
}

/// The same as it must leave.
fn translated(shape: Shape, way: Way, known: Known, sequence: u32) -> Datagram {
    let (session, family, outside) = known;
    let sent = sent(shape, way, known, sequence);
    let ttl = sent.ttl - 1;
    match (way, shape) {
        (Way::Out, _) => Datagram { from: family.outside(outside), ttl, ..sent },
        (Way::In, Shape::Errors) => Datagram { from: family.inside(session), ttl, ..sent },
        (Way::In, _) => Datagram { to: family.inside(session), ttl, ..sent },
    }
}

/// A session: its number and its outside end.
type Known = (u32, Family, Outside);

/// Frames that are written before they walk.
pub(crate) const WINDOW: usize = 8_192;

/// Microseconds from a batch to the next: more time goes by for a packet than at full speed, and so more
/// ageing.
pub(crate) const STEP: u64 = 1_000;

/// Bytes of a slot, and where a frame begins in it.
const SLOT_LEN: usize = 2_048;
const START: usize = 64;

const OUR_INSIDE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OUR_OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 2]);
const NEIGHBOUR: Mac = Mac([2, 0xff, 0, 0, 0, 1]);

//! Packets from worker to worker: between any two of them a ring for packets and one for the empty
//! buffers on their way back. Bounded; nothing is allocated once the workers run.
//!
//! A packet is copied into a buffer of the giver, walked in it by the taker, and the buffer comes
//! back. What finds no buffer or no room is dropped and counted (`hand_over_full`). A worker that
//! sleeps is woken, one that turns finds the packets by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;
use mio::Waker;
use mooring_engine::{Counters, DropReason, HandOver, Outbox, Stage, Verdict, Verdicts, WorkerId};
use mooring_packet::{BATCH_CAPACITY, Batch, BufferPool, OwnedPacket, Packet};
use mooring_policy::InterfaceId;
use rtrb::{Consumer, Producer, RingBuffer};

/// What is common to the packets of a batch from another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batched {
    /// Where they arrived.
    pub ingress: InterfaceId,
    /// How far they have come.
    pub stage: Stage,
}

/// A packet on its way to another worker.
#[derive(Debug)]
struct Handed {
    from: Batched,
    packet: OwnedPacket,
}

/// The ways from one worker to the others.
#[derive(Debug)]
pub struct Giving {
    pool: BufferPool,
    /// By worker; none to itself.
    ways: Box<[Option<WayOut>]>,
}

/// The ways from the others to one worker.
#[derive(Debug)]
pub struct Taking {
    ways: Box<[WayIn]>,
    /// Whose turn it is.
    next: usize,
    /// The batch that is walked, and the way that its buffers go back.
    lent: ArrayVec<OwnedPacket, BATCH_CAPACITY>,
    lender: usize,
    sleep: Arc<Sleep>,
}

#[derive(Debug)]
struct WayOut {
    packets: Producer<Handed>,
    returned: Consumer<OwnedPacket>,
    taker: Arc<Sleep>,
    /// Something was put in that the taker may not know of.
    fresh: bool,
}

#[derive(Debug)]
struct WayIn {
    packets: Consumer<Handed>,
    returned: Producer<OwnedPacket>,
}

/// Whether a worker sleeps, and what wakes it.
#[derive(Debug)]
struct Sleep {
    asleep: CachePadded<AtomicBool>,
    waker: Arc<Waker>,
}

/// The rings between workers, each of which is woken by one of `wakers`: for each worker, in their
/// order, its two sides of them.
#[must_use]
pub fn between(wakers: &[Arc<Waker>]) -> Vec<(Giving, Taking)> {
    let sleeps: Vec<Arc<Sleep>> = wakers
        .iter()
        .map(|waker| Sleep { asleep: CachePadded::default(), waker: Arc::clone(waker) })
        .map(Arc::new)
        .collect();
    let mut ins: Vec<Vec<WayIn>> = wakers.iter().map(|_| Vec::new()).collect();
    let mut outs: Vec<Vec<Option<WayOut>>> = Vec::new();
    for giver in 0..wakers.len() {
        let out = sleeps.iter().enumerate().map(|(taker, sleep)| {
            (taker != giver).then(|| {
                let (out, way_in) = way(Arc::clone(sleep));
                ins[taker].push(way_in);
                out
            })
        });
        outs.push(out.collect());
    }
    let sides = outs.into_iter().zip(ins).zip(sleeps);
    sides.map(|((outs, ins), sleep)| (Giving::new(outs), Taking::new(ins, sleep))).collect()
}

impl Giving {
    fn new(ways: Vec<Option<WayOut>>) -> Self {
        Self { pool: BufferPool::new(SMALL_BUFFERS, LARGE_BUFFERS), ways: ways.into() }
    }

    /// Gives the packets of a batch to the workers that their verdicts name, and wakes those of them
    /// that sleep.
    pub fn give(
        &mut self,
        ingress: InterfaceId,
        batch: &Batch<'_>,
        verdicts: &Verdicts,
        counters: &mut Counters,
    ) {
        let mut full = 0;
        let from = |stage| Batched { ingress, stage };
        for (packet, verdict) in batch.packets().iter().zip(verdicts) {
            let given = match *verdict {
                Verdict::HandOver(to) => self.hand(to, from(Stage::Arrived), packet),
                Verdict::HandOverHalf(to) => self.hand(to, from(Stage::Half), packet),
                Verdict::ToAll => self.hand_all(from(Stage::Arrived), packet),
                _ => continue,
            };
            full += u64::from(!given);
        }
        counters.drops[DropReason::HandOverFull as usize] += full;
        self.wake();
    }

    /// Gives the packets of the outbox that are other workers', and wakes those of them that sleep.
    pub fn give_waited(&mut self, outbox: &mut Outbox, counters: &mut Counters) {
        for (HandOver { to, ingress, stage }, waited) in outbox.handed() {
            if !self.hand(to, Batched { ingress, stage }, &waited.as_packet()) {
                counters.drops[DropReason::HandOverFull as usize] += 1;
            }
        }
        self.wake();
    }

    fn hand_all(&mut self, from: Batched, packet: &Packet<'_>) -> bool {
        let workers = self.ways.len() as u8;
        let others = (0..workers).filter(|to| self.ways[usize::from(*to)].is_some());
        let others: ArrayVec<u8, MAX_WORKERS> = others.collect();
        others.into_iter().fold(true, |all, to| all & self.hand(WorkerId(to), from, packet))
    }

    /// False when there is no buffer or no room.
    fn hand(&mut self, to: WorkerId, from: Batched, packet: &Packet<'_>) -> bool {
        let Some(Some(way)) = self.ways.get_mut(usize::from(to.0)) else { return false };
        while let Ok(returned) = way.returned.pop() {
            self.pool.give_back(returned);
        }
        if way.packets.is_full() {
            return false;
        }
        let Some(copy) = self.pool.copy(packet) else { return false };
        if let Err(rtrb::PushError::Full(handed)) = way.packets.push(Handed { from, packet: copy })
        {
            self.pool.give_back(handed.packet);
            return false;
        }
        way.fresh = true;
        true
    }

    fn wake(&mut self) {
        let mut fenced = false;
        for way in self.ways.iter_mut().flatten().filter(|way| way.fresh) {
            way.fresh = false;
            if !fenced {
                // The push above comes before the look at `asleep` below: see `Taking::may_sleep`.
                fence(Ordering::SeqCst);
                fenced = true;
            }
            if way.taker.asleep.swap(false, Ordering::Relaxed) {
                // A worker that cannot be woken has ended, and so does the process.
                let _ = way.taker.waker.wake();
            }
        }
    }
}

impl Taking {
    fn new(ways: Vec<WayIn>, sleep: Arc<Sleep>) -> Self {
        Self { ways: ways.into(), next: 0, lent: ArrayVec::new(), lender: 0, sleep }
    }

    /// How many other workers there are.
    #[must_use]
    pub fn givers(&self) -> usize {
        self.ways.len()
    }

    /// Takes packets that one other worker has given and that have arrived alike, as many as fit in
    /// a batch. The next call looks at the next worker's.
    pub fn take(&mut self) -> Option<Batched> {
        self.give_back();
        let from = (0..self.ways.len()).find_map(|turn| {
            let at = (self.next + turn) % self.ways.len();
            let from = self.ways[at].packets.peek().ok()?.from;
            self.lender = at;
            Some(from)
        })?;
        let packets = &mut self.ways[self.lender].packets;
        while !self.lent.is_full()
            && packets.peek().is_ok_and(|handed| handed.from == from)
            && let Ok(handed) = packets.pop()
        {
            self.lent.push(handed.packet);
        }
        self.next = (self.lender + 1) % self.ways.len();
        Some(from)
    }

    /// The packets that the last call of [`Self::take`] took.
    pub fn batch(&mut self) -> Batch<'_> {
        let mut batch = Batch::new();
        for packet in &mut self.lent {
            batch.push(packet.as_packet()).expect("a batch has room for as many as are lent");
        }
        batch
    }

    /// Whether nothing waits, so that the worker may sleep until it is woken. To be followed by
    /// [`Self::awake`].
    ///
    /// Either the giver sees that we sleep, or we see what it has put in: each writes, then has a
    /// fence, then reads.
    pub fn may_sleep(&self) -> bool {
        self.sleep.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.ways.iter().all(|way| way.packets.is_empty())
    }

    /// The worker looks by itself again.
    pub fn awake(&self) {
        self.sleep.asleep.store(false, Ordering::Relaxed);
    }

    fn give_back(&mut self) {
        let Some(way) = self.ways.get_mut(self.lender) else { return };
        for packet in self.lent.drain(..) {
            way.returned.push(packet).expect("it has room for all buffers of the giver");
        }
    }
}

/// A ring of packets, and one for their buffers that has room for all that the giver has.
fn way(taker: Arc<Sleep>) -> (WayOut, WayIn) {
    let (to, from) = RingBuffer::new(RING);
    let (back, returned) = RingBuffer::new(SMALL_BUFFERS + LARGE_BUFFERS);
    (WayOut { packets: to, returned, taker, fresh: false }, WayIn { packets: from, returned: back })
}

/// The most workers that there may be.
pub const MAX_WORKERS: usize = 64;

/// Packets that wait for one worker from another: two batches.
const RING: usize = 2 * BATCH_CAPACITY;

/// Buffers of a worker for packets that it gives away: 2 KB each.
const SMALL_BUFFERS: usize = 1_024;

/// The same for super-packets: 64 KB each.
const LARGE_BUFFERS: usize = 64;

#[cfg(test)]
mod tests;

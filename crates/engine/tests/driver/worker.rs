//! One worker of a program: an engine, its buffers, and what was given to it.

use std::sync::Arc;

use mooring_engine::{Engine, HandOver, Outbox, Share, Stage, Verdict, Verdicts};
use mooring_packet::{Batch, BufferPool, Offload, Packet};
use mooring_policy::{Generation, InterfaceId, Policy};
use mooring_session::Tick;

use super::{LARGE, LINKS, SMALL, checks};

/// A packet on its way, perhaps through several workers.
#[derive(Clone)]
pub(crate) struct Travelling {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
    /// Its number among the frames that were given, or [`WAITED`].
    pub(crate) number: usize,
}

/// How packets come to a worker.
#[derive(Clone, Copy)]
pub(crate) struct Arriving {
    pub(crate) ingress: InterfaceId,
    /// Handed over by another worker.
    pub(crate) handed: Option<Stage>,
}

pub(crate) struct Worker {
    pub(crate) engine: Engine,
    pub(crate) outbox: Outbox,
    /// Packets given to the engine, and those that it said leave at once.
    walked: u64,
    left_at_once: u64,
    /// Packets that were dropped after they had waited.
    waited_in_vain: u64,
}

impl Worker {
    pub(crate) fn new(share: Share, policy: &Arc<Policy>) -> Self {
        let policy = Arc::clone(policy);
        Self {
            engine: Engine::for_worker(share, policy, Generation(1), &LINKS, [7; 32]),
            outbox: Outbox::new(BufferPool::new(SMALL, LARGE)),
            walked: 0,
            left_at_once: 0,
            waited_in_vain: 0,
        }
    }

    /// Gives packets to the engine, as one batch; afterwards they are what it has made of them.
    pub(crate) fn walk(
        &mut self,
        now: Tick,
        arriving: Arriving,
        packets: &mut [Travelling],
    ) -> Verdicts {
        let mut buffers: Vec<Vec<u8>> = packets.iter().map(|packet| packet.bytes.clone()).collect();
        let mut batch = Batch::new();
        for (buffer, packet) in buffers.iter_mut().zip(&*packets) {
            let len = buffer.len();
            let packet = Packet::new(buffer, 0, len, packet.offload);
            batch.push(packet).expect("a batch has room for as many");
        }
        let before = self.dropped();
        let Arriving { ingress, handed } = arriving;
        let (engine, outbox) = (&mut self.engine, &mut self.outbox);
        let verdicts = match handed {
            None => engine.process(now, ingress, &mut batch, outbox),
            Some(Stage::Refused) => {
                engine.take_halves_back(now, &batch);
                return Verdicts::new();
            }
            Some(stage) => {
                let half = stage == Stage::Half;
                engine.process_handed(now, (ingress, half), &mut batch, outbox)
            }
        };
        assert_eq!(verdicts.len(), packets.len(), "every packet has one verdict");
        let count = |wanted: fn(&Verdict) -> bool| {
            verdicts.iter().filter(|verdict| wanted(verdict)).count() as u64
        };
        let dropped = count(|verdict| matches!(verdict, Verdict::Drop(_)));
        self.waited_in_vain += self.dropped() - before - dropped;
        self.left_at_once += count(|verdict| matches!(verdict, Verdict::Tx(_)));
        self.walked += packets.len() as u64;
        for (after, packet) in batch.packets().iter().zip(packets) {
            packet.bytes = after.bytes().to_vec();
            packet.offload = after.offload;
        }
        verdicts
    }

    /// Does once what time asks for; true when more is due.
    pub(crate) fn poll(&mut self, now: Tick) -> bool {
        let before = self.dropped();
        let more = self.engine.poll(now, &mut self.outbox);
        self.waited_in_vain += self.dropped() - before;
        more
    }

    /// From now on another policy decides.
    pub(crate) fn change_policy(&mut self, policy: &Arc<Policy>, now: Tick) {
        let before = self.dropped();
        let next = Generation(self.engine.policy().1.0 + 1);
        self.engine.set_policy(Arc::clone(policy), next, &LINKS, now, &mut self.outbox);
        self.waited_in_vain += self.dropped() - before;
    }

    /// All workers have the policy.
    pub(crate) fn all_follow(&mut self) {
        let generation = self.engine.policy().1;
        self.engine.all_follow(generation);
    }

    /// The packets that have waited here and are another worker's: whose, and how they come to it.
    pub(crate) fn handed(&mut self) -> Vec<(usize, Arriving, Travelling)> {
        let handed = self.outbox.handed().map(|(HandOver { to, ingress, stage }, packet)| {
            let (bytes, offload) = (packet.bytes().to_vec(), packet.offload);
            let arriving = Arriving { ingress, handed: Some(stage) };
            (to.0.into(), arriving, Travelling { bytes, offload, number: WAITED })
        });
        handed.collect()
    }

    /// The frames that are ready to leave by a link.
    pub(crate) fn ready(&mut self, link: InterfaceId) -> Vec<(Vec<u8>, Offload)> {
        let ready = self.outbox.ready_for(link);
        ready.map(|packet| (packet.bytes().to_vec(), packet.offload)).collect()
    }

    /// What must hold between two steps.
    pub(crate) fn check(&self) {
        checks::buffers(&self.engine, &self.outbox, SMALL + LARGE);
        let counters = &self.engine.counters;
        let kept = self.left_at_once
            + counters.local
            + counters.held
            + counters.cut
            + counters.served
            + counters.handed_over;
        assert_eq!(self.walked, kept + self.dropped() - self.waited_in_vain, "counters add up");
    }

    fn dropped(&self) -> u64 {
        self.engine.counters.drops.iter().sum()
    }
}

/// The number of a packet that was given in an earlier batch.
pub(crate) const WAITED: usize = usize::MAX;

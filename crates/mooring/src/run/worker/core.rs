//! A worker without its receiving ends: walks a batch, and sees to it that every packet of it gets
//! where its verdict says.
//!
//! Apart from the receiving ends because a batch lends their memory while it is walked.

use mooring_engine::{Engine, Outbox, Stage, Verdict, Verdicts};
use mooring_packet::{Batch, BufferPool, Transmit, Transmitted};
use mooring_policy::InterfaceId;
use mooring_session::Tick;

use super::exchange::{Batched, Giving};
use crate::run::services::Services;

/// The engine of a worker and all ways out of it.
pub(super) struct Core<T> {
    pub(super) engine: Engine,
    pub(super) services: Services,
    pub(super) outbox: Outbox,
    /// By interface.
    tx: Vec<T>,
    /// The ways to the other workers, if there are any.
    giving: Option<Giving>,
}

impl<T: Transmit> Core<T> {
    pub(super) fn new(engine: Engine, services: Services, tx: Vec<T>) -> Self {
        let outbox = Outbox::new(BufferPool::new(SMALL_BUFFERS, LARGE_BUFFERS));
        Self { engine, services, outbox, tx, giving: None }
    }

    pub(super) fn join(&mut self, giving: Giving) {
        self.giving = Some(giving);
    }

    /// The five hops for a batch that was received on an interface.
    pub(super) fn walk(&mut self, now: Tick, ingress: InterfaceId, batch: &mut Batch<'_>) {
        let verdicts = self.engine.process(now, ingress, batch, &mut self.outbox);
        self.carry_out(now, ingress, batch, &verdicts);
    }

    /// The same for a batch from another worker.
    pub(super) fn walk_handed(&mut self, now: Tick, from: Batched, batch: &mut Batch<'_>) {
        let Batched { ingress, stage } = from;
        let half = match stage {
            Stage::Refused => return self.engine.take_halves_back(now, batch),
            Stage::Half => true,
            Stage::Arrived => false,
        };
        let verdicts = self.engine.process_handed(now, (ingress, half), batch, &mut self.outbox);
        self.carry_out(now, ingress, batch, &verdicts);
    }

    /// Hop 5: what the verdicts say.
    fn carry_out(
        &mut self,
        now: Tick,
        ingress: InterfaceId,
        batch: &Batch<'_>,
        verdicts: &Verdicts,
    ) {
        for (to, tx) in self.tx.iter_mut().enumerate() {
            let egress = InterfaceId(to as u8);
            let verdicts = batch.packets().iter().zip(verdicts);
            let leaving = verdicts.filter(|(_, verdict)| **verdict == Verdict::Tx(egress));
            let sent = tx.transmit(leaving.map(|(packet, _)| packet));
            self.engine.counters.transmitted(egress, sent);
        }
        for (packet, verdict) in batch.packets().iter().zip(verdicts) {
            self.services.take(now, (packet, *verdict), &mut self.engine, &mut self.outbox);
        }
        if let Some(giving) = &mut self.giving {
            giving.give(ingress, batch, verdicts, &mut self.engine.counters);
        }
        self.flush();
    }

    /// Lets ports send what their devices would not take before. For turns in which nothing is sent by which
    /// they would.
    pub(super) fn settle(&mut self) {
        for tx in &mut self.tx {
            tx.transmit(std::iter::empty());
        }
    }

    /// Transmits what the engine has to say and what has waited for its neighbour, and hands over what
    /// has waited for another worker.
    pub(super) fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        for (to, tx) in self.tx.iter_mut().enumerate() {
            let egress = InterfaceId(to as u8);
            let mut sent = Transmitted::default();
            let mut batch = Batch::new();
            for packet in self.outbox.ready_for(egress) {
                if let Err(packet) = batch.push(packet.as_packet()) {
                    sent += tx.transmit(batch.packets().iter().chain([&packet]));
                    batch = Batch::new();
                }
            }
            sent += tx.transmit(batch.packets().iter());
            self.engine.counters.transmitted(egress, sent);
        }
        if let Some(giving) = &mut self.giving {
            giving.give_waited(&mut self.outbox, &mut self.engine.counters);
        }
        self.outbox.clear();
    }
}

/// Buffers for packets that wait, and for what the engine says: 2 KB each.
const SMALL_BUFFERS: usize = 4_096;

/// The same for super-packets: 64 KB each.
const LARGE_BUFFERS: usize = 64;

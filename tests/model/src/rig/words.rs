//! What workers say to each other of a hairpin whose halves they have: an error of the second is translated
//! by the first, and what is refused comes back.

use mooring_engine::{Stage, Verdict};
use mooring_packet::{Batch, Offload, Packet as Window};
use mooring_session::Tick;

use super::{Rig, Unit, sent};
use crate::packet::Packet;
use crate::spec::Side;

impl Rig {
    /// A worker hears of the half of a hairpin that it has translated; what leaves by that.
    pub(super) fn hear(
        &mut self,
        (to, stage): (usize, Stage),
        now: u64,
        side: Side,
        mut frame: Vec<u8>,
    ) -> Result<Option<(Side, Packet)>, String> {
        if stage == Stage::Refused {
            self.units[to].take_half_back(now, &mut frame)?;
            return Ok(None);
        }
        match self.walk(to, now, side, (Some(stage == Stage::Half), &mut frame))? {
            Verdict::Tx(egress) => sent(egress, &frame).map(Some),
            // Nobody has the half any more.
            Verdict::Drop(_) => Ok(None),
            other => Err(format!("an unexpected verdict of a word: {other:?}")),
        }
    }
}

impl Unit {
    /// What it has to say to others: to whom, and what.
    pub(super) fn words(&mut self) -> Vec<(usize, Stage, Vec<u8>)> {
        let handed = self.outbox.handed();
        handed.map(|(over, word)| (over.to.0.into(), over.stage, word.bytes().to_vec())).collect()
    }

    fn take_half_back(&mut self, now: u64, frame: &mut [u8]) -> Result<(), String> {
        let len = frame.len();
        let mut batch = Batch::new();
        let window = Window::new(frame, 0, len, Offload::NONE);
        batch.push(window).map_err(|_| "a batch has room for one")?;
        self.engine.take_halves_back(Tick::from_millis(now), &batch);
        Ok(())
    }
}

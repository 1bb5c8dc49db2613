//! Engines that are wrong on purpose: the checker has to notice.

use mooring_engine::explain::{Asked, Explanation, Outcome, Step};
use mooring_engine::view::{PoolUsage, SessionView};
use mooring_nat::HAIRPIN_INTERFACE;

use crate::model::Seen;
use crate::packet::{Body, Packet, Sum};
use crate::spec::{Side, ip};

/// What is wrong, and how many chances it lets pass before.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) what: Wrong,
    pub(crate) patience: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An outside port is another one.
    Port,
    /// An inside address is shown outside.
    Untranslated,
    /// A packet of one host goes to another.
    Misdelivered,
    Hop,
    Payload,
    Checksum,
    Link,
    Swallowed,
    Twice,
    Reason,
    /// A session is not found any more.
    Forgotten,
    /// An outside tuple is there twice.
    Shared,
    /// A session of the wrong worker.
    Worker,
    LostLease,
    LostPacket,
    /// Sessions end too early or too late.
    Hasty,
    Sluggish,
    /// What comes in one batch is walked from its end.
    Backwards,
    /// A host is not asked before its session ends.
    Unasked,
    /// Of a packet that is cut, a piece is lost.
    LostPiece,
    /// Half of a hairpin is not found by one of its keys, or leads elsewhere.
    LostHalf,
    AstrayHalf,
    /// A session that is older than the policy is not found by its keys.
    LostOld,
    /// A port of a pool, one that rests, or a block is lost.
    LostPort,
    LostRest,
    LostBlock,
    /// A packet comes to a worker that is not its owner.
    Astray,
}

impl Wrong {
    pub(crate) const ALL: [Self; 27] = [
        Self::Port,
        Self::Untranslated,
        Self::Misdelivered,
        Self::Hop,
        Self::Payload,
        Self::Checksum,
        Self::Link,
        Self::Swallowed,
        Self::Twice,
        Self::Reason,
        Self::Forgotten,
        Self::Shared,
        Self::Worker,
        Self::LostLease,
        Self::LostPacket,
        Self::Hasty,
        Self::Sluggish,
        Self::Backwards,
        Self::Unasked,
        Self::LostPiece,
        Self::LostHalf,
        Self::AstrayHalf,
        Self::LostOld,
        Self::LostPort,
        Self::LostRest,
        Self::LostBlock,
        Self::Astray,
    ];
}

impl Fault {
    /// Spoils what has left, or why something has not.
    pub(crate) fn corrupt(&mut self, seen: &mut Seen) {
        if self.patience > 0 {
            self.patience -= 1;
            return;
        }
        let Some((side, packet)) = seen.sent.first_mut() else {
            if self.what == Wrong::Reason && seen.dropped == Some("no_session") {
                seen.dropped = Some("filtered");
            }
            return;
        };
        match self.what {
            Wrong::Port => other_port(packet),
            Wrong::Untranslated if *side == Side::Outside => packet.source = host(packet, 2),
            Wrong::Misdelivered if *side == Side::Inside => packet.destination = host(packet, 9),
            Wrong::Astray => seen.legs.iter_mut().for_each(|leg| leg.0 ^= 1),
            Wrong::Hop => packet.ttl += 1,
            Wrong::Payload => other_payload(packet),
            Wrong::Checksum => packet.sum = Sum::Wrong(77),
            Wrong::Link if *side == Side::Inside => *side = Side::Outside,
            Wrong::Swallowed => seen.sent.clear(),
            Wrong::Twice => seen.sent.push(seen.sent[0].clone()),
            _ => {}
        }
    }

    /// Spoils what a worker says of a packet.
    pub(crate) fn forget(&self, asked: &Asked, explained: &mut Explanation) {
        let is_old = || explained.steps.iter().any(|step| step.found.contains("older policy"));
        let lost = match self.what {
            Wrong::LostHalf => asked.ingress == HAIRPIN_INTERFACE,
            Wrong::LostOld => is_old(),
            _ => false,
        };
        if lost {
            let found = "none yet".to_owned();
            explained.steps.push(Step { about: "session", found });
        }
        if self.what == Wrong::AstrayHalf
            && explained.steps.iter().any(|step| step.about == "hairpin")
            && let Outcome::Forwarded { destination, .. } = &mut explained.outcome
        {
            destination.1 ^= 1;
        }
    }

    /// Spoils how much of a pool is used.
    pub(crate) fn lose(&self, pool: &mut PoolUsage) {
        match self.what {
            Wrong::LostPort => pool.leased += 1,
            Wrong::LostRest => pool.resting += 1,
            Wrong::LostBlock => pool.blocks_held += 1,
            _ => {}
        }
    }

    /// Whether a batch is walked from its end now.
    pub(crate) fn turns(&mut self) -> bool {
        let turns = self.what == Wrong::Backwards && self.patience == 0;
        self.patience = self.patience.saturating_sub(usize::from(!turns));
        turns
    }

    /// Loses the last of several pieces.
    pub(crate) fn lose_a_piece<T>(&mut self, left: &mut Vec<T>) {
        if self.what == Wrong::LostPiece && left.len() > 1 {
            left.pop();
        }
    }

    /// Keeps questions back.
    pub(crate) fn hush(&self, sent: &mut Vec<(Side, Packet)>) {
        if self.what == Wrong::Unasked {
            sent.retain(|(_, packet)| packet.flags().is_none());
        }
    }

    /// Spoils what the tables show.
    pub(crate) fn hide(&self, all: &mut Vec<(usize, SessionView)>) {
        match self.what {
            Wrong::Forgotten => drop(all.pop()),
            Wrong::Shared if all.len() > 1 => {
                all[0].1.outside = all[1].1.outside;
                all[0].1.remote = all[1].1.remote;
                all[0].1.protocol = all[1].1.protocol;
            }
            Wrong::Worker if !all.is_empty() => all[0].0 += 1,
            _ => {}
        }
    }

    pub(crate) fn loses_a_lease(&self) -> bool {
        self.what == Wrong::LostLease
    }

    pub(crate) fn loses_a_packet(&self) -> bool {
        self.what == Wrong::LostPacket
    }

    /// The time that the engine is told.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        match self.what {
            Wrong::Hasty => now + now / 4,
            Wrong::Sluggish => now - now / 4,
            _ => now,
        }
    }
}

fn host(packet: &Packet, number: u8) -> std::net::IpAddr {
    let net = if packet.source.is_ipv4() { "10.0.0." } else { "fd00:10::" };
    ip(&format!("{net}{number}"))
}

fn other_port(packet: &mut Packet) {
    match &mut packet.body {
        Body::Tcp { ports, .. } | Body::Udp { ports, .. } => ports.1 ^= 1,
        Body::Echo { identifier, .. } => *identifier ^= 1,
        Body::Error { .. } | Body::Other { .. } => {}
    }
}

fn other_payload(packet: &mut Packet) {
    match &mut packet.body {
        Body::Tcp { payload, .. }
        | Body::Udp { payload, .. }
        | Body::Echo { payload, .. }
        | Body::Other { payload, .. }
        | Body::Error { quote: payload, .. } => payload.push(0),
    }
}

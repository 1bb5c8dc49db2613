//! The packets that wait until their neighbour's address is known.
//!
//! One store for all neighbours, made at the start: each neighbour has a chain in it, and what is
//! free is a chain too. A packet in here is in exactly one chain, so none is lost and none is
//! released twice. The buffers belong to the [`Outbox`](crate::outbox::Outbox)'s pool.
//!
//! It knows no time, no state of a neighbour, and no header.

use std::error::Error;
use std::fmt;

use mooring_packet::OwnedPacket;

/// Why a packet may not wait for its neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldRefused {
    /// [`HELD_PER_NEIGHBOUR`] packets wait for this neighbour already, or [`HELD_IN_ALL`] for all.
    QueueFull,
    /// No buffer is free to copy the packet into.
    NoBuffer,
    /// The neighbour did not answer, less than a second ago.
    Unreachable,
}

impl fmt::Display for HoldRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "too many packets wait for the neighbour",
            Self::NoBuffer => "no buffer is free for a packet that has to wait",
            Self::Unreachable => "the neighbour does not answer",
        })
    }
}

impl Error for HoldRefused {}

/// The packets of all neighbours that wait.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    seats: Box<[Seat]>,
    free: Chain,
}

#[derive(Debug)]
struct Seat {
    packet: Option<OwnedPacket>,
    next: u16,
}

/// The packets that wait for one neighbour, first come first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    first: u16,
    last: u16,
    len: u16,
}

impl Chain {
    /// Nobody waits.
    pub(super) const EMPTY: Self = Self { first: 0, last: 0, len: 0 };

    /// How many packets wait.
    pub(super) fn len(self) -> u16 {
        self.len
    }

    fn append(&mut self, seat: u16, seats: &mut [Seat]) {
        if self.len == 0 {
            self.first = seat;
        } else {
            seats[usize::from(self.last)].next = seat;
        }
        self.last = seat;
        self.len += 1;
    }

    fn take_first(&mut self, seats: &[Seat]) -> Option<u16> {
        self.len = self.len.checked_sub(1)?;
        let seat = self.first;
        self.first = seats[usize::from(seat)].next;
        Some(seat)
    }
}

impl WaitingRoom {
    /// A room with [`HELD_IN_ALL`] seats.
    pub(super) fn new() -> Self {
        let mut seats: Box<[Seat]> =
            (0..HELD_IN_ALL).map(|_| Seat { packet: None, next: 0 }).collect();
        let mut free = Chain::EMPTY;
        (0..HELD_IN_ALL).for_each(|seat| free.append(seat, &mut seats));
        Self { seats, free }
    }

    /// True when one packet more may wait in `chain`.
    pub(super) fn has_room(&self, chain: Chain) -> bool {
        chain.len < HELD_PER_NEIGHBOUR && self.free.len > 0
    }

    /// Lets `packet` wait at the end of `chain`.
    ///
    /// # Errors
    /// Gives the packet back when there is no room.
    pub(super) fn push(
        &mut self,
        chain: &mut Chain,
        packet: OwnedPacket,
    ) -> Result<(), OwnedPacket> {
        if !self.has_room(*chain) {
            return Err(packet);
        }
        let Some(seat) = self.free.take_first(&self.seats) else { return Err(packet) };
        self.seats[usize::from(seat)].packet = Some(packet);
        chain.append(seat, &mut self.seats);
        Ok(())
    }

    /// Takes the packet that has waited longest in `chain`.
    pub(super) fn pop(&mut self, chain: &mut Chain) -> Option<OwnedPacket> {
        let seat = chain.take_first(&self.seats)?;
        let packet = self.seats[usize::from(seat)].packet.take();
        self.free.append(seat, &mut self.seats);
        packet
    }
}

/// Packets that may wait for one neighbour: as many as one batch brings.
///
/// One more is refused, where RFC 4861 §7.2.2 and RFC 1122 §2.3.2.2 would rather drop the oldest:
/// the first packet of a session is the one that is expensive to lose.
pub const HELD_PER_NEIGHBOUR: u16 = 256;

/// Packets that may wait for all neighbours together; the free buffers are a limit beside it.
pub const HELD_IN_ALL: u16 = 4096;

#[cfg(test)]
mod tests {
    use mooring_packet::{BufferPool, OwnedPacket};

    use super::{Chain, HELD_IN_ALL, HELD_PER_NEIGHBOUR, WaitingRoom};

    fn packet(pool: &mut BufferPool, number: u8) -> OwnedPacket {
        let mut packet = pool.take(1).expect("the pool is as large as the test");
        packet.bytes_mut()[0] = number;
        packet
    }

    #[test]
    fn each_neighbour_has_its_own_order() {
        let mut pool = BufferPool::new(8, 0);
        let mut room = WaitingRoom::new();
        let (mut even, mut odd) = (Chain::EMPTY, Chain::EMPTY);
        for number in 0..6 {
            let chain = if number % 2 == 0 { &mut even } else { &mut odd };
            room.push(chain, packet(&mut pool, number)).expect("there is room");
        }
        let drained: Vec<u8> =
            std::iter::from_fn(|| room.pop(&mut odd)).map(|packet| packet.bytes()[0]).collect();
        assert_eq!((drained, even.len(), odd.len()), (vec![1, 3, 5], 3, 0));
    }

    #[test]
    fn both_limits_hold_and_seats_come_back() {
        let mut pool = BufferPool::new(usize::from(HELD_IN_ALL) + 1, 0);
        let mut room = WaitingRoom::new();
        let mut chains = [Chain::EMPTY; 17];
        for round in 0..2 {
            for chain in &mut chains[..16] {
                for _ in 0..HELD_PER_NEIGHBOUR {
                    room.push(chain, packet(&mut pool, round)).expect("there is room");
                }
                let refused = room.push(chain, packet(&mut pool, round));
                pool.give_back(refused.expect_err("the neighbour has all it may have"));
            }
            let refused = room.push(&mut chains[16], packet(&mut pool, round));
            pool.give_back(refused.expect_err("every seat is taken"));
            for chain in &mut chains {
                while let Some(packet) = room.pop(chain) {
                    assert_eq!(packet.bytes(), [round]);
                    pool.give_back(packet);
                }
            }
            assert_eq!(pool.free(), (usize::from(HELD_IN_ALL) + 1, 0));
        }
    }
}

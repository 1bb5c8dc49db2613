//! Packets between workers that a test plays itself.

use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use mooring_engine::{Counters, DropReason, Stage, Verdict, Verdicts, WorkerId};
use mooring_packet::{BATCH_CAPACITY, Batch, Offload, Packet};
use mooring_policy::InterfaceId;

use super::{Batched, Giving, RING, SMALL_BUFFERS, Taking, between};

fn crew(workers: usize) -> (Vec<Poll>, Vec<(Giving, Taking)>) {
    let polls: Vec<Poll> = (0..workers).map(|_| Poll::new().expect("descriptors")).collect();
    let waker = |poll: &Poll| Waker::new(poll.registry(), Token(0)).expect("the poll is new");
    let wakers: Vec<_> = polls.iter().map(|poll| Arc::new(waker(poll))).collect();
    (polls, between(&wakers))
}

/// Gives one frame for each verdict, whose first byte is its number.
fn give(giving: &mut Giving, ingress: u8, verdicts: &[Verdict], counters: &mut Counters) {
    let mut frames: Vec<[u8; 60]> = (0..verdicts.len()).map(|at| [at as u8; 60]).collect();
    let mut batch = Batch::new();
    for frame in &mut frames {
        batch.push(Packet::new(frame, 0, 60, Offload::partial_checksum(34, 6))).expect("room");
    }
    let verdicts: Verdicts = verdicts.iter().copied().collect();
    giving.give(InterfaceId(ingress), &batch, &verdicts, counters);
}

/// What waits for a worker, batch by batch.
fn taken(taking: &mut Taking) -> Vec<(Batched, Vec<u8>)> {
    let mut taken = Vec::new();
    while let Some(from) = taking.take() {
        let batch = taking.batch();
        taken.push((from, batch.packets().iter().map(|packet| packet.bytes()[0]).collect()));
    }
    taken
}

const TO_1: Verdict = Verdict::HandOver(WorkerId(1));
const HALF_TO_1: Verdict = Verdict::HandOverHalf(WorkerId(1));

#[test]
fn packets_arrive_in_order_and_together_where_they_are_alike() {
    let (_polls, mut crew) = crew(3);
    let mut counters = Counters::new(1);
    let drop = Verdict::Drop(DropReason::NoRule);
    give(&mut crew[0].0, 4, &[TO_1, drop, TO_1, HALF_TO_1, Verdict::ToAll], &mut counters);
    give(&mut crew[2].0, 5, &[TO_1], &mut counters);
    let whole = |ingress| Batched { ingress: InterfaceId(ingress), stage: Stage::Arrived };
    let half = Batched { stage: Stage::Half, ..whole(4) };
    let mut of_1 = taken(&mut crew[1].1);
    of_1.sort_by_key(|(from, _)| from.ingress);
    assert_eq!(
        of_1,
        [(whole(4), vec![0, 2]), (half, vec![3]), (whole(4), vec![4]), (whole(5), vec![0])]
    );
    assert_eq!(taken(&mut crew[2].1), [(whole(4), vec![4])]);
    assert_eq!(taken(&mut crew[0].1), [], "nobody gives to itself");
    assert_eq!(counters.dropped(DropReason::HandOverFull), 0);
}

#[test]
fn a_full_ring_refuses_and_every_buffer_comes_back() {
    let (_polls, mut crew) = crew(2);
    let mut counters = Counters::new(1);
    for round in 1..=3 {
        for _ in 0..RING / BATCH_CAPACITY + 1 {
            give(&mut crew[0].0, 0, &[TO_1; BATCH_CAPACITY], &mut counters);
        }
        assert_eq!(counters.dropped(DropReason::HandOverFull), round * BATCH_CAPACITY as u64);
        assert_eq!(taken(&mut crew[1].1).len(), RING / BATCH_CAPACITY);
    }
    give(&mut crew[0].0, 0, &[TO_1], &mut counters);
    assert_eq!(crew[0].0.pool.free().0, SMALL_BUFFERS - 1);
}

#[test]
fn whoever_sleeps_is_woken_once_and_whoever_turns_is_not() {
    let (mut polls, mut crew) = crew(2);
    let mut counters = Counters::new(1);
    let mut events = Events::with_capacity(4);
    let mut woken = |poll: &mut Poll| {
        poll.poll(&mut events, Some(Duration::from_millis(5))).expect("the poll is open");
        !events.is_empty()
    };
    give(&mut crew[0].0, 0, &[TO_1], &mut counters);
    assert!(!woken(&mut polls[1]), "it turns");
    assert!(!crew[1].1.may_sleep(), "something waits for it");
    crew[1].1.awake();
    assert_eq!(taken(&mut crew[1].1).len(), 1);
    assert!(crew[1].1.may_sleep());
    give(&mut crew[0].0, 0, &[TO_1], &mut counters);
    assert!(woken(&mut polls[1]));
    give(&mut crew[0].0, 0, &[TO_1], &mut counters);
    assert!(!woken(&mut polls[1]), "once is enough");
    crew[1].1.awake();
}

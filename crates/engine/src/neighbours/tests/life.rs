//! The states of an entry, in simulated time.

use std::time::Duration;

use super::{
    Bench, GATEWAY, GATEWAY_GRATUITOUS, HoldRefused, LARGE, MOVED_GRATUITOUS, OTHER, Outcome,
    REACHABLE_TIME, SMALL, State, hex,
};
use crate::neighbours::{FAILED_REST, HELD_PER_NEIGHBOUR, MAX_SOLICITS, RETRANSMIT};

#[test]
fn held_packets_leave_in_order_with_the_header_of_their_neighbour() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    for number in 0..3 {
        bench.hold(hop, number).unwrap();
    }
    assert_eq!(bench.neighbours.resolved(hop), None);
    assert_eq!((bench.sent().len(), bench.view("192.0.2.2").held), (1, 3));
    assert_eq!(bench.gateway_answers(), Outcome::Learned);
    let offloads: Vec<_> = bench.outbox.ready_for(super::OUTSIDE).map(|p| p.offload).collect();
    assert!(offloads.iter().all(|offload| offload.partial().is_some()), "metadata is kept");
    let sent = bench.sent();
    let numbers: Vec<u8> = sent.iter().map(|frame| frame[59]).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(sent.iter().all(|frame| frame[..14] == hex("02aa00000009 020000000002 0800")));
    assert!(sent.iter().all(|frame| frame[14..59] == [0x55; 45]));
    assert_eq!((bench.free_buffers(), bench.view("192.0.2.2").held), ((SMALL, LARGE), 0));
}

/// RFC 4861 §7.2.2: one question a second, three in all.
#[test]
fn asks_three_times_a_second_apart_then_drops_and_counts() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 0).unwrap();
    bench.hold(hop, 1).unwrap();
    assert_eq!(bench.sent().len(), 1);
    for _ in 1..MAX_SOLICITS {
        bench.pass(RETRANSMIT - Duration::from_millis(1));
        assert!(bench.sent().is_empty());
        assert_eq!((bench.pass_ms(1), bench.sent().len()), (0, 1));
        assert_eq!(bench.state("192.0.2.2"), State::Incomplete);
    }
    assert_eq!(bench.pass(RETRANSMIT), 2, "both packets are counted");
    assert_eq!((bench.sent().len(), bench.state("192.0.2.2")), (0, State::Failed));
    assert_eq!((bench.free_buffers(), bench.neighbours.next_deadline()), ((SMALL, LARGE), None));
}

#[test]
fn a_failed_neighbour_rests_and_is_asked_again_by_its_next_packet() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 0).unwrap();
    bench.pass(RETRANSMIT * u32::from(MAX_SOLICITS));
    for _ in 0..2 {
        bench.pass(RETRANSMIT);
    }
    let failed_at = bench.view("192.0.2.2").since;
    bench.sent();
    bench.now = failed_at + (FAILED_REST - Duration::from_millis(1));
    assert_eq!(bench.hold(hop, 1), Err(HoldRefused::Unreachable));
    assert!(bench.sent().is_empty());
    bench.pass_ms(1);
    assert_eq!(bench.hold(hop, 2), Ok(()));
    assert_eq!((bench.sent().len(), bench.state("192.0.2.2")), (1, State::Incomplete));
    assert_eq!(bench.gateway_answers(), Outcome::Learned);
    assert_eq!(bench.sent()[0][59], 2, "the session's index holds through the failure");
    assert!(bench.neighbours.resolved(hop).is_some());
}

#[test]
fn an_unused_neighbour_goes_stale_without_a_word_and_is_probed_when_used() {
    let (mut bench, hop) = Bench::with_gateway();
    assert!(bench.neighbours.resolved(hop).is_some(), "the released packet counts as a use");
    bench.pass(REACHABLE_TIME);
    bench.gateway_answers();
    bench.sent();
    bench.pass(REACHABLE_TIME);
    assert_eq!((bench.state("192.0.2.2"), bench.sent().len()), (State::Stale, 0));
    assert_eq!(bench.neighbours.next_deadline(), None, "a stale entry costs nothing");
    bench.pass(Duration::from_secs(3600));
    assert!(bench.neighbours.resolved(hop).is_some(), "packets flow at once");
    bench.pass_ms(0);
    assert_eq!((bench.state("192.0.2.2"), bench.sent().len()), (State::Probe, 1));
    assert_eq!(bench.gateway_answers(), Outcome::Learned);
    assert_eq!(bench.state("192.0.2.2"), State::Reachable);
}

#[test]
fn packets_flow_while_a_used_neighbour_is_probed_until_it_fails() {
    let (mut bench, hop) = Bench::with_gateway();
    bench.neighbours.resolved(hop);
    bench.pass(REACHABLE_TIME - Duration::from_millis(1));
    assert_eq!((bench.state("192.0.2.2"), bench.sent().len()), (State::Reachable, 0));
    bench.pass_ms(1);
    for _ in 0..MAX_SOLICITS {
        assert_eq!((bench.state("192.0.2.2"), bench.sent().len()), (State::Probe, 1));
        assert!(bench.neighbours.resolved(hop).is_some());
        bench.pass(RETRANSMIT);
    }
    assert_eq!(bench.state("192.0.2.2"), State::Failed);
    assert_eq!(bench.neighbours.resolved(hop), None);
    assert_eq!(bench.hold(hop, 7), Ok(()), "it may have moved: everybody is asked, at once");
    assert_eq!(bench.sent()[0][..6], [0xff; 6]);
}

#[test]
fn a_neighbour_that_moved_is_followed_at_once_and_verified() {
    let (mut bench, hop) = Bench::with_gateway();
    assert_eq!(bench.arp(MOVED_GRATUITOUS), Outcome::Learned);
    assert_eq!(bench.neighbours.resolved(hop).unwrap().header[..6], OTHER.0);
    bench.pass_ms(0);
    let sent = bench.sent();
    assert_eq!((sent.len(), &sent[0][..6]), (1, &OTHER.0[..]), "it is asked, not believed");
    bench.pass(RETRANSMIT * u32::from(MAX_SOLICITS));
    bench.pass(RETRANSMIT);
    bench.pass(RETRANSMIT);
    assert_eq!(bench.state("192.0.2.2"), State::Failed);
}

#[test]
fn an_unasked_word_resolves_whom_packets_wait_for() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 3).unwrap();
    bench.sent();
    assert_eq!(bench.arp(GATEWAY_GRATUITOUS), Outcome::Learned);
    assert_eq!(bench.sent()[0][..6], GATEWAY.0);
    assert_eq!(bench.state("192.0.2.2"), State::Stale);
    bench.pass_ms(0);
    assert_eq!((bench.state("192.0.2.2"), bench.sent().len()), (State::Probe, 1));
}

#[test]
fn the_queue_of_a_neighbour_is_bounded() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    for _ in 0..HELD_PER_NEIGHBOUR {
        bench.hold(hop, 0).unwrap();
    }
    assert_eq!(bench.hold(hop, 0), Err(HoldRefused::QueueFull));
    assert_eq!(bench.gateway_answers(), Outcome::Learned);
    assert_eq!(bench.sent().len(), usize::from(HELD_PER_NEIGHBOUR) + 1);
    assert_eq!(bench.free_buffers(), (SMALL, LARGE));
}

#[test]
fn holding_for_a_neighbour_that_is_known_sends() {
    let (mut bench, hop) = Bench::with_gateway();
    bench.hold(hop, 9).unwrap();
    assert_eq!(bench.sent()[0][..6], GATEWAY.0);
    assert_eq!(bench.view("192.0.2.2").held, 0);
}

#[test]
fn packets_of_a_user_that_is_gone_still_leave_and_the_entry_fails_without_a_trace() {
    let mut bench = Bench::new(8);
    for answered in [true, false] {
        let hop = bench.acquire("192.0.2.2");
        bench.hold(hop, 4).unwrap();
        bench.neighbours.release(hop);
        assert_eq!((bench.sent().len(), bench.view("192.0.2.2").users), (1, 0));
        if answered {
            bench.gateway_answers();
            assert_eq!(bench.sent()[0][59], 4);
            bench.pass(REACHABLE_TIME);
        }
        let dropped: u64 = (0..MAX_SOLICITS).map(|_| bench.pass(RETRANSMIT)).sum();
        assert_eq!(dropped, u64::from(!answered));
        assert!(!bench.knows("192.0.2.2"));
        bench.sent();
    }
}

#[test]
fn a_fixed_peer_is_known_from_the_start_and_never_asked() {
    let mut bench = Bench::new(8);
    for link in &mut bench.neighbours.links {
        link.fixed_peer = Some(GATEWAY);
    }
    let hop = bench.acquire("192.0.2.2");
    assert_eq!(bench.neighbours.resolved(hop).unwrap().header[..6], GATEWAY.0);
    bench.arp(MOVED_GRATUITOUS);
    bench.pass(REACHABLE_TIME * 2);
    assert_eq!(bench.neighbours.resolved(hop).unwrap().header[..6], GATEWAY.0);
    assert_eq!((bench.state("192.0.2.2"), bench.sent().len()), (State::Permanent, 0));
}

#[test]
fn nothing_is_due_between_deadlines() {
    let mut bench = Bench::new(8);
    assert_eq!(bench.polled_until(), None);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 0).unwrap();
    let deadline = bench.now + RETRANSMIT;
    assert_eq!(bench.polled_until(), Some(deadline));
    bench.gateway_answers();
    bench.pass(RETRANSMIT);
    assert_eq!(
        bench.neighbours.next_deadline(),
        Some(deadline + (REACHABLE_TIME - RETRANSMIT)),
        "the answer has ended the first timer"
    );
}

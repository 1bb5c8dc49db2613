//! What is bounded, and who gives way when it is full.

use std::net::{IpAddr, Ipv4Addr};

use super::{Bench, GATEWAY, OUTSIDE, Outcome, REACHABLE_TIME, SMALL, State, hex, ip, ours};
use crate::neighbours::{ANNOUNCEMENTS, HoldRefused, RETRANSMIT, WORK_PER_POLL};

/// A request for 192.0.2.1 from `number` as 10.0.0.0/8 address and MAC.
fn stranger(number: u32) -> Vec<u8> {
    let n = number.to_be_bytes();
    let mac = format!("0266{:02x}{:02x}{:02x}{:02x}", n[0], n[1], n[2], n[3]);
    hex(&format!(
        "ffffffffffff {mac} 0806 | 0001 0800 06 04 0001 \
         {mac} 0a{:02x}{:02x}{:02x} 000000000000 c0000201",
        n[1], n[2], n[3]
    ))
}

#[test]
fn a_flood_of_strangers_evicts_nobody_in_use() {
    let mut bench = Bench::new(16);
    let hops: Vec<_> = (2..10).map(|last| bench.acquire(&format!("192.0.2.{last}"))).collect();
    bench.hold(hops[0], 0).unwrap();
    bench.gateway_answers();
    let room = bench.neighbours.table.index_capacity();
    for number in 0..10_000 {
        let outcome =
            bench.neighbours.on_arp(OUTSIDE, &stranger(number), bench.now, ours, &mut bench.outbox);
        assert_eq!(outcome, Outcome::Answered);
        bench.outbox.clear();
        assert!(bench.neighbours.entries().count() <= 16);
    }
    assert_eq!(bench.neighbours.table.index_capacity(), room, "nothing has grown");
    for (hop, last) in hops.iter().zip(2..) {
        let entry = bench.view(&format!("192.0.2.{last}"));
        assert_eq!((entry.users, bench.neighbours.egress(*hop)), (1, OUTSIDE));
    }
    assert_eq!(bench.neighbours.resolved(hops[0]).unwrap().header[..6], GATEWAY.0);
}

#[test]
fn the_longest_idle_gives_way_and_who_is_in_use_does_not() {
    let mut bench = Bench::new(3);
    for number in [1, 2, 3] {
        bench.neighbours.on_arp(OUTSIDE, &stranger(number), bench.now, ours, &mut bench.outbox);
    }
    let used = bench.acquire("10.0.0.1");
    bench.acquire("192.0.2.2");
    assert!(!bench.knows("10.0.0.2"), "idle longest");
    assert!(bench.knows("10.0.0.1") && bench.knows("10.0.0.3"));
    bench.acquire("192.0.2.3");
    assert_eq!(bench.try_acquire(ip("192.0.2.4")), None, "all are in use");
    assert_eq!(bench.acquire("10.0.0.1"), used, "who is there is found nevertheless");
    bench.neighbours.release(used);
    assert_eq!(bench.try_acquire(ip("192.0.2.4")), None, "it has a second user");
    bench.neighbours.release(used);
    assert!(bench.try_acquire(ip("192.0.2.4")).is_some());
}

/// Whoever was found last is found in a shorter way, idle or not.
#[test]
fn a_neighbour_that_is_used_again_is_not_evicted() {
    let mut bench = Bench::new(2);
    bench.neighbours.on_arp(OUTSIDE, &stranger(1), bench.now, ours, &mut bench.outbox);
    let used = bench.acquire("10.0.0.1");
    bench.neighbours.release(used);
    assert!(bench.knows("10.0.0.1"), "idle");
    assert_eq!(bench.acquire("10.0.0.1"), used);
    bench.acquire("192.0.2.2");
    assert_eq!(bench.try_acquire(ip("192.0.2.3")), None, "both are in use");
    assert!(bench.knows("10.0.0.1"));
}

/// Of both families: whoever sends from forged addresses, or to all of a static prefix, makes us look for
/// as many neighbours as he likes.
#[test]
fn a_flood_from_outside_leaves_a_quarter_of_the_neighbours_to_the_inside() {
    for (prefix, gateway) in [("192.0.2.", "192.0.2.250"), ("2001:db8:1::", "2001:db8:1::250")] {
        let mut bench = Bench::new(16);
        let others = |bench: &mut Bench, last: u32| {
            let address = ip(&format!("{prefix}{last}"));
            bench.neighbours.acquire_for_others(OUTSIDE, address, bench.now)
        };
        let flood: Vec<_> = (2..100).filter_map(|last| others(&mut bench, last)).collect();
        assert_eq!(flood.len(), 12, "{prefix}");
        assert!(others(&mut bench, 2).is_some(), "who is in use has one more user");
        let hop = bench.acquire(gateway);
        bench.hold(hop, 0).unwrap();
        assert_eq!(bench.state(gateway), State::Incomplete, "it is asked for");
        for last in 200..203 {
            bench.acquire(&format!("{prefix}{last}"));
        }
        assert_eq!(bench.try_acquire(ip(&format!("{prefix}203"))), None, "then it is full");
        // Who is idle is no part of it: what has ended makes room for others, but not beyond theirs.
        flood[..6].iter().for_each(|hop| bench.neighbours.release(*hop));
        assert!((100..200).all(|last| others(&mut bench, last).is_some() == (last == 100)));
    }
}

#[test]
fn an_evicted_entry_leaves_no_timer_to_the_next_one() {
    let mut bench = Bench::new(1);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 0).unwrap();
    bench.gateway_answers();
    bench.neighbours.release(hop);
    bench.acquire("192.0.2.3");
    bench.sent();
    bench.pass(REACHABLE_TIME);
    assert_eq!((bench.state("192.0.2.3"), bench.sent().len()), (State::Incomplete, 0));
    assert_eq!(bench.neighbours.next_deadline(), None);
}

#[test]
fn an_entry_that_learned_nothing_goes_with_its_last_user() {
    let mut bench = Bench::new(1);
    for last in 1..=255u8 {
        let hop = bench.try_acquire(IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)));
        bench.neighbours.release(hop.expect("the one before is forgotten"));
    }
    assert_eq!(bench.neighbours.entries().count(), 0);
}

#[test]
fn an_entry_with_packets_waiting_is_not_evicted() {
    let mut bench = Bench::new(1);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 0).unwrap();
    bench.neighbours.release(hop);
    assert_eq!(bench.try_acquire(ip("192.0.2.3")), None);
    bench.gateway_answers();
    assert!(bench.try_acquire(ip("192.0.2.3")).is_some());
}

#[test]
fn what_names_no_single_machine_is_no_next_hop() {
    let mut bench = Bench::new(4);
    for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "::1", "ff02::1"]
    {
        assert_eq!(bench.try_acquire(ip(address)), None, "{address}");
    }
    assert_eq!(bench.neighbours.acquire(super::InterfaceId(9), ip("192.0.2.2"), bench.now), None);
}

#[test]
fn without_buffers_nothing_is_held_and_nothing_is_lost_twice() {
    let mut bench = Bench::new(8);
    let hops: Vec<_> = (2..8).map(|last| bench.acquire(&format!("192.0.2.{last}"))).collect();
    // Twice: the questions of the first round give their buffers back.
    for hop in hops.iter().chain(&hops) {
        while bench.hold(*hop, 0).is_ok() {}
        bench.outbox.clear();
    }
    assert_eq!(bench.hold(hops[5], 0), Err(HoldRefused::NoBuffer));
    assert_eq!(bench.free_buffers().0, SMALL / 4, "a quarter is kept for what we have to say");
    while bench.outbox.originate(OUTSIDE, 60, |_| {}) {}
    let request = "ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 0001 \
         02bb00000007 c0000263 000000000000 c0000201";
    let refused = Outcome::Ignored(crate::neighbours::Ignored::NoBuffer);
    assert_eq!(bench.arp(request), refused);
    assert!(bench.neighbours.announce(OUTSIDE, ip("192.0.2.1"), bench.now));
    bench.poll();
    assert_eq!(bench.polled_until(), Some(bench.now), "an announcement waits for a buffer");
    bench.outbox.clear();
    for _ in 0..4 {
        bench.pass(RETRANSMIT);
        bench.outbox.clear();
    }
    assert_eq!(bench.free_buffers().0, SMALL, "all that waited was dropped");
}

#[test]
fn one_poll_does_a_bounded_amount_of_work() {
    let mut bench = Bench::new(400);
    for number in 0..200u8 {
        let hop = bench.try_acquire(IpAddr::V4(Ipv4Addr::new(198, 51, 100, number))).unwrap();
        bench.hold(hop, number).unwrap();
        bench.sent();
    }
    bench.now = bench.now + RETRANSMIT;
    let mut batches = Vec::new();
    while bench.polled_until() == Some(bench.now) {
        batches.push(bench.sent().len());
    }
    batches.push(bench.sent().len());
    assert_eq!(batches, [WORK_PER_POLL, WORK_PER_POLL, WORK_PER_POLL, 8]);
}

#[test]
fn announcements_are_bounded() {
    let mut bench = Bench::new(1);
    let address = |number: usize| IpAddr::V4(Ipv4Addr::from_bits(0xcb00_0000 + number as u32));
    for number in 0..ANNOUNCEMENTS {
        assert!(bench.neighbours.announce(OUTSIDE, address(number), bench.now));
    }
    assert!(!bench.neighbours.announce(OUTSIDE, address(ANNOUNCEMENTS), bench.now));
    bench.poll();
    assert_eq!(bench.sent().len(), 3 * WORK_PER_POLL);
    assert!(!bench.neighbours.announce(OUTSIDE, address(0), bench.now), "they are repeated yet");
}

#[test]
fn defences_are_bounded() {
    let mut bench = Bench::new(1);
    let defended = (0..1000u32).filter(|number| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xcb00_0000 + number));
        let sent = bench.neighbours.defend(OUTSIDE, address, bench.now, &mut bench.outbox);
        bench.outbox.clear();
        sent
    });
    assert_eq!(defended.count(), 64);
}

#[test]
fn entries_are_as_many_as_an_index_can_name() {
    let mut bench = Bench::new(65_535);
    for number in 0..65_535u32 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + number));
        assert!(bench.try_acquire(address).is_some());
    }
    assert_eq!(bench.try_acquire(ip("192.0.2.2")), None);
    assert_eq!(bench.state("10.0.255.255"), State::Incomplete);
}

#[test]
fn pages_cover_every_neighbour_once() {
    let mut bench = Bench::new(16);
    let hops: Vec<_> = (2..12).map(|last| bench.acquire(&format!("192.0.2.{last}"))).collect();
    for hop in [hops[3], hops[4], hops[9]] {
        bench.neighbours.release(hop);
    }
    let (mut seen, mut visits, mut start) = (Vec::new(), 0, Some(0));
    while let Some(from) = start {
        let (page, next) = bench.neighbours.page(from, 3);
        let before = seen.len();
        seen.extend(page.map(|entry| entry.address));
        assert!(seen.len() <= before + 3, "a visit is bounded");
        (start, visits) = (next, visits + 1);
    }
    assert_eq!(visits, 6, "16 slots, 3 a visit");
    assert_eq!(seen, bench.neighbours.entries().map(|entry| entry.address).collect::<Vec<_>>());
    assert_eq!(seen.len(), 7, "an entry that nobody asked for yet goes with its last user");
    assert_eq!(bench.neighbours.page(17, 3).0.count(), 0, "beyond the table is nobody");
}

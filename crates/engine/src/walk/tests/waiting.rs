//! Packets whose next hop is not resolved yet.

use std::net::Ipv4Addr;

use mooring_wire::Mac;

use crate::test_bench::frames::{arp_reply, inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    BUFFERS, Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OUR_INSIDE,
    OUR_INSIDE_IP, OUR_OUTSIDE, OUR_OUTSIDE_IP, OUTSIDE, POOL, SERVER,
};
use crate::{DropReason, Verdict};

fn numbered(number: u8) -> Vec<u8> {
    inside(HOST, SERVER).udp(5000, 53, &[number])
}

/// The fields of the one ARP message in `frames`: operation, sender, target.
fn only_arp(frames: &[Vec<u8>]) -> (u8, [u8; 10], [u8; 10]) {
    let [frame] = frames else { panic!("one frame is expected: {frames:02x?}") };
    let field = |at: usize| frame[at..at + 10].try_into().expect("an ARP message is long enough");
    assert_eq!(frame[12..14], [8, 6], "an ARP message");
    (frame[21], field(22), field(32))
}

/// The two addresses of a machine, as an ARP message has them.
fn pair(mac: Mac, address: Ipv4Addr) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..6].copy_from_slice(&mac.0);
    bytes[6..].copy_from_slice(&address.octets());
    bytes
}

#[test]
fn the_first_packets_wait_and_leave_translated_in_order() {
    let mut bench = Bench::unresolved(CONFIG);
    assert_eq!(bench.send(INSIDE, &numbered(0)).0, Verdict::Hold);
    let asked = only_arp(&bench.sent_by(OUTSIDE));
    let target = pair(Mac::ZERO, GATEWAY);
    assert_eq!(asked, (1, pair(OUR_OUTSIDE, OUR_OUTSIDE_IP), target));
    for (verdict, _) in bench.send_batch(INSIDE, &[numbered(1), numbered(2)]) {
        assert_eq!(verdict, Verdict::Hold);
    }
    assert!(bench.sent().is_empty(), "the question is out already");

    let released: Vec<Seen> =
        bench.gateway_answers().iter().map(|frame| Seen::read(frame)).collect();
    assert_eq!(released.iter().map(|seen| seen.payload[0]).collect::<Vec<_>>(), [0, 1, 2]);
    for seen in &released {
        assert_eq!(seen.macs, (OUR_OUTSIDE, GATEWAY_MAC));
        assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, SERVER, 63));
        assert_eq!(seen.transport, released[0].transport);
    }
    assert_eq!(Seen::read(&bench.forward(INSIDE, &numbered(3))).payload, [3]);
    assert_eq!((bench.engine.counters.held, bench.sessions()), (3, 1));
    assert_eq!(bench.outbox.free(), (BUFFERS, BUFFERS));
}

#[test]
fn an_answer_waits_for_the_inside_host_too() {
    let mut bench = Bench::unresolved(CONFIG);
    bench.send(INSIDE, &numbered(0));
    bench.sent();
    let released = bench.gateway_answers();
    let Transport::Udp(port, 53) = Seen::read(&released[0]).transport else { panic!() };

    let answer = outside(SERVER, POOL).udp(53, port, b"answer");
    assert_eq!(bench.send(OUTSIDE, &answer).0, Verdict::Hold);
    let asked = only_arp(&bench.sent_by(INSIDE));
    assert_eq!(asked.1, pair(OUR_INSIDE, OUR_INSIDE_IP));
    bench.send(INSIDE, &arp_reply((HOST_MAC, HOST), (OUR_INSIDE, OUR_INSIDE_IP)));
    let released = bench.sent_by(INSIDE);
    let seen = Seen::read(&released[0]);
    assert_eq!((seen.macs, seen.destination), ((OUR_INSIDE, HOST_MAC), HOST));
    assert_eq!((seen.transport, released.len()), (Transport::Udp(53, 5000), 1));
}

#[test]
fn whoever_waits_in_vain_is_dropped_and_counted_and_the_host_is_told() {
    let mut bench = Bench::unresolved(CONFIG);
    bench.learn(INSIDE, HOST, HOST_MAC);
    for number in 0..5 {
        assert_eq!(bench.send(INSIDE, &numbered(number)).0, Verdict::Hold);
    }
    for _ in 0..3 {
        assert_eq!(bench.dropped(DropReason::NeighborUnresolved), 0);
        bench.pass(1_000);
    }
    assert_eq!(bench.dropped(DropReason::NeighborUnresolved), 5);
    let (told, asked): (Vec<_>, Vec<_>) =
        bench.sent().into_iter().partition(|(interface, _)| *interface == INSIDE);
    assert_eq!(asked.len(), 3, "three questions");
    assert_eq!(bench.outbox.free(), (BUFFERS, BUFFERS));
    // RFC 1812 §5.2.7.1, in the view of the host.
    for (number, (_, frame)) in told.iter().rev().enumerate() {
        let seen = Seen::read(frame);
        assert_eq!((seen.source, seen.destination, seen.ttl), (OUR_INSIDE_IP, HOST, 64));
        assert_eq!((seen.macs, seen.transport), ((OUR_INSIDE, HOST_MAC), UNREACHABLE));
        let sent = inside(HOST, SERVER).ttl(63).udp(5000, 53, &[number as u8]);
        assert_eq!(seen.payload, sent[14..]);
    }
    assert_eq!(told.len(), 5);
    bench.ignore(INSIDE, &numbered(5), DropReason::NeighborUnresolved);
    bench.pass(1_000);
    assert_eq!(bench.send(INSIDE, &numbered(6)).0, Verdict::Hold, "it is asked for anew");
}

/// Who is outside does not hear which hosts there are.
#[test]
fn nobody_outside_is_told_of_a_host_that_does_not_answer() {
    let mut bench = Bench::unresolved(CONFIG);
    bench.learn(OUTSIDE, GATEWAY, GATEWAY_MAC);
    let sent = bench.forward(INSIDE, &numbered(0));
    let Transport::Udp(port, 53) = Seen::read(&sent).transport else { panic!() };
    let answer = outside(SERVER, POOL).udp(53, port, b"answer");
    assert_eq!(bench.send(OUTSIDE, &answer).0, Verdict::Hold);
    (0..4).for_each(|_| bench.pass(1_000));
    assert_eq!(bench.dropped(DropReason::NeighborUnresolved), 1);
    let told = bench.sent().into_iter().filter(|(_, frame)| frame[12..14] == [8, 0]).count();
    assert_eq!(told, 0);
}

#[test]
fn no_more_wait_than_may() {
    let mut bench = Bench::unresolved(CONFIG);
    let frames: Vec<_> = (0..=255).map(numbered).collect();
    let held = bench.send_batch(INSIDE, &frames);
    assert!(held.iter().all(|(verdict, _)| *verdict == Verdict::Hold));
    assert_eq!(bench.send(INSIDE, &numbered(0)).0, Verdict::Drop(DropReason::NeighborUnresolved));
    bench.sent();
    let released = bench.gateway_answers();
    let order: Vec<u8> = released.iter().map(|frame| Seen::read(frame).payload[0]).collect();
    assert_eq!(order, (0..=255).collect::<Vec<u8>>());
}

const UNREACHABLE: Transport = Transport::Icmp(3, 1, 0, 0);

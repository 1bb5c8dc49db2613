//! Counters add up.

use mooring_session::Tick;

use crate::test_bench::frames::{arp_request, inside, outside};
use crate::test_bench::{
    Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, INSIDE, OUTSIDE, POOL, SERVER, STRANGER,
};
use crate::{Counters, Verdict};

/// Packets in = out + local + held + dropped, and a packet that waits is later out or dropped.
#[test]
fn every_packet_is_counted_once() {
    let mut bench = Bench::unresolved(CONFIG);
    bench.engine.counters = Counters::new(2);
    let mut out = 0;
    let mut count = |verdicts: Vec<(Verdict, Vec<u8>)>| {
        out += verdicts.iter().filter(|(verdict, _)| matches!(verdict, Verdict::Tx(_))).count();
    };
    count(bench.send_batch(
        INSIDE,
        &[
            inside(HOST, SERVER).udp(1, 53, b"waits"),
            inside(HOST, SERVER).tcp(1, 25, "S", b""),
            inside(HOST, SERVER).udp(2, 53, b"waits"),
            vec![0; 9],
        ],
    ));
    count(bench.send_batch(
        OUTSIDE,
        &[
            arp_request((GATEWAY_MAC, GATEWAY), POOL),
            outside(SERVER, POOL).echo_request(1, 1),
            outside(STRANGER, POOL).udp(1, 2, b""),
        ],
    ));
    count(bench.send_batch(INSIDE, &[inside(HOST, SERVER).udp(1, 53, b"leaves")]));
    let released = bench.sent().iter().filter(|(_, frame)| frame[12..14] == [8, 0]).count();

    let counters = &bench.engine.counters;
    let dropped: u64 = counters.drops.iter().sum();
    assert_eq!((out, released), (2, 2));
    assert_eq!((counters.local, counters.held, dropped), (1, 2, 3));
    assert_eq!(bench.given, out as u64 + counters.local + counters.held + dropped);
    assert_eq!((counters.translated, counters.originated), (3, 1));
    let batches: u64 = counters.work.batches.iter().sum();
    assert_eq!((batches, counters.work.packets), (3, bench.given));
    assert_eq!(counters.sessions_created, 2);
}

/// However many sessions are over, what a worker does about them between two batches is bounded.
#[test]
fn a_poll_looks_at_64_records_at_most() {
    let mut bench = Bench::ready();
    for port in 5000..5200 {
        bench.forward(INSIDE, &inside(HOST, SERVER).udp(port, 53, b"question"));
    }
    bench.now = Tick::from_millis(bench.now.as_millis() + 400_000);
    let mut polls_that_ended = 0;
    loop {
        let before = bench.engine.counters.sessions_expired;
        let is_more = bench.engine.poll(bench.now, &mut bench.outbox);
        let ended = bench.engine.counters.sessions_expired - before;
        assert!(ended <= 64, "{ended} in one poll");
        polls_that_ended += u64::from(ended > 0);
        if !is_more {
            break;
        }
    }
    assert_eq!(bench.sessions(), 0);
    assert!(polls_that_ended >= 200 / 64);
}

//! ARP, byte by byte.

use std::time::Duration;

use super::{
    Bench, GATEWAY, GATEWAY_GRATUITOUS, MOVED_GRATUITOUS, OTHER, OUTSIDE, REACHABLE_TIME, State,
    hex, ip,
};
use crate::neighbours::{DEFEND_INTERVAL, Ignored, Outcome};

#[test]
fn asks_everybody_for_an_address_that_is_not_known() {
    let mut bench = Bench::new(8);
    let hop = bench.acquire("192.0.2.2");
    bench.hold(hop, 1).unwrap();
    let request = "ffffffffffff 020000000002 0806 | 0001 0800 06 04 0001 \
         020000000002 c0000201 000000000000 c0000202";
    assert_eq!(bench.sent(), [hex(request)]);
}

#[test]
fn asks_the_neighbour_alone_whether_it_is_still_there() {
    let (mut bench, hop) = Bench::with_gateway();
    assert!(bench.neighbours.resolved(hop).is_some());
    bench.pass(REACHABLE_TIME);
    let request = "02aa00000009 020000000002 0806 | 0001 0800 06 04 0001 \
         020000000002 c0000201 000000000000 c0000202";
    assert_eq!(bench.sent(), [hex(request)]);
}

/// RFC 826, "?Am I the target protocol address?"
#[test]
fn answers_for_an_address_of_ours_and_learns_who_asked() {
    let mut bench = Bench::new(8);
    let request = "ffffffffffff 02aa00000009 0806 | 0001 0800 06 04 0001 \
         02aa00000009 c0000202 000000000000 cb00710a";
    assert_eq!(bench.arp(request), Outcome::Answered);
    let reply = "02aa00000009 020000000002 0806 | 0001 0800 06 04 0002 \
         020000000002 cb00710a 02aa00000009 c0000202";
    assert_eq!(bench.sent(), [hex(reply)]);
    assert_eq!(
        (bench.state("192.0.2.2"), bench.view("192.0.2.2").mac),
        (State::Stale, Some(GATEWAY))
    );
}

/// RFC 5227 §2.1.1: a probe has no sender address; whoever has the target answers.
#[test]
fn answers_a_probe_and_learns_nothing_from_it() {
    let mut bench = Bench::new(8);
    let probe = "ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 0001 \
         02bb00000007 00000000 000000000000 cb00710a";
    assert_eq!(bench.arp(probe), Outcome::Answered);
    let reply = "02bb00000007 020000000002 0806 | 0001 0800 06 04 0002 \
         020000000002 cb00710a 02bb00000007 00000000";
    assert_eq!(bench.sent(), [hex(reply)]);
    assert_eq!(bench.neighbours.entries().count(), 0);
}

#[test]
fn is_silent_about_addresses_of_others() {
    let mut bench = Bench::new(8);
    let request = "ffffffffffff 02aa00000009 0806 | 0001 0800 06 04 0001 \
         02aa00000009 c0000202 000000000000 cb00710b";
    assert_eq!(bench.arp(request), Outcome::Ignored(Ignored::NotForUs));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.neighbours.entries().count(), 0, "and learns nobody who did not ask for us");
}

#[test]
fn announces_as_a_request_and_as_a_reply_three_times() {
    let mut bench = Bench::new(8);
    assert!(bench.neighbours.announce(OUTSIDE, ip("203.0.113.10"), bench.now));
    let request = "ffffffffffff 020000000002 0806 | 0001 0800 06 04 0001 \
         020000000002 cb00710a 000000000000 cb00710a";
    let reply = "ffffffffffff 020000000002 0806 | 0001 0800 06 04 0002 \
         020000000002 cb00710a 020000000002 cb00710a";
    // RFC 5227 §2.1.1: the question whether it is anybody else's goes with the first.
    let probe = "ffffffffffff 020000000002 0806 | 0001 0800 06 04 0001 \
         020000000002 00000000 000000000000 cb00710a";
    let expected = [
        (0, vec![request, reply, probe]),
        (100, vec![request, reply]),
        (900, vec![request, reply]),
    ];
    for (wait, frames) in expected {
        bench.pass_ms(wait);
        let frames: Vec<_> = frames.into_iter().map(hex).collect();
        assert_eq!(bench.sent(), frames, "after {wait} ms more");
        bench.pass_ms(0);
        assert!(bench.sent().is_empty());
    }
    assert_eq!(bench.neighbours.next_deadline(), None);
}

#[test]
fn a_withdrawn_address_is_announced_no_more() {
    let mut bench = Bench::new(8);
    for address in ["203.0.113.10", "192.0.2.1"] {
        assert!(bench.neighbours.announce(OUTSIDE, ip(address), bench.now));
    }
    bench.pass_ms(0);
    assert_eq!(bench.sent().len(), 6);
    bench.neighbours.withdraw(OUTSIDE, ip("203.0.113.10"), bench.now);
    bench.pass_ms(100);
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|frame| frame[28..32] == [192, 0, 2, 1]));
}

/// RFC 5227 §2.4
#[test]
fn another_user_of_an_address_of_ours_is_a_conflict_and_not_a_neighbour() {
    let mut bench = Bench::new(8);
    let claims = [
        // A request for us, a gratuitous request, a gratuitous reply: all "from" 203.0.113.10.
        "0001 02bb00000007 cb00710a 000000000000 c0000201",
        "0001 02bb00000007 cb00710a 000000000000 cb00710a",
        "0002 02bb00000007 cb00710a ffffffffffff cb00710a",
    ];
    for claim in claims {
        let frame = format!("ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 {claim}");
        assert_eq!(bench.arp(&frame), Outcome::Conflict(ip("203.0.113.10")));
    }
    assert!(bench.sent().is_empty(), "whether to insist is the caller's decision");
    assert_eq!(bench.neighbours.entries().count(), 0);
}

/// RFC 5227 §2.4: "ensure that it does not send more than one" defence in DEFEND_INTERVAL.
#[test]
fn defends_an_address_once_in_ten_seconds() {
    let mut bench = Bench::new(8);
    let address = ip("203.0.113.10");
    let mut defended = Vec::new();
    for second in 0..21 {
        if bench.neighbours.defend(OUTSIDE, address, bench.now, &mut bench.outbox) {
            defended.push(second);
            assert_eq!(bench.sent().len(), 2, "both forms of the announcement");
        }
        let other = ip("192.0.2.1");
        let first = second % DEFEND_INTERVAL.as_secs() == 0;
        let again = bench.neighbours.defend(OUTSIDE, other, bench.now, &mut bench.outbox);
        assert_eq!(again, first, "each address has an interval of its own");
        bench.sent();
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(defended, [0, 10, 20]);
}

#[test]
fn a_gratuitous_message_updates_who_is_known_and_makes_nobody_known() {
    let mut bench = Bench::new(8);
    assert_eq!(bench.arp(GATEWAY_GRATUITOUS), Outcome::Ignored(Ignored::NotForUs));
    let (mut bench, hop) = Bench::with_gateway();
    assert_eq!(bench.arp(MOVED_GRATUITOUS), Outcome::Learned);
    let l2 = *bench.neighbours.resolved(hop).expect("packets flow on, to the new address");
    assert_eq!(l2.header[..], hex("02bb00000007 020000000002 0800"));
    assert_eq!(bench.view("192.0.2.2").mac, Some(OTHER));
    assert_eq!(bench.arp(MOVED_GRATUITOUS), Outcome::Ignored(Ignored::NotForUs), "not new");
}

/// Whoever sends an unasked reply may move an entry (RFC 826), but is not taken for reachable.
#[test]
fn a_reply_that_nobody_asked_for_does_not_confirm() {
    let (mut bench, _) = Bench::with_gateway();
    let reply = "020000000002 02bb00000007 0806 | 0001 0800 06 04 0002 \
         02bb00000007 c0000202 020000000002 c0000201";
    assert_eq!(bench.arp(reply), Outcome::Learned);
    assert_eq!(bench.state("192.0.2.2"), State::Stale);
}

/// While a question is out, only a reply, and one to us, is its answer; the rest tells the address.
#[test]
fn what_is_not_an_answer_to_us_does_not_confirm() {
    let reply_to_us = "0002 02aa00000009 c0000202 020000000002 c0000201";
    let reply_to_other = "0002 02aa00000009 c0000202 02bb00000007 c0000207";
    let request = "0001 02aa00000009 c0000202 020000000002 c0000201";
    for (asked, body, state) in [
        (true, reply_to_us, State::Reachable),
        (true, reply_to_other, State::Stale),
        (true, request, State::Stale),
        (false, reply_to_us, State::Stale),
    ] {
        let mut bench = Bench::new(8);
        let hop = bench.acquire("192.0.2.2");
        if asked {
            bench.hold(hop, 0).unwrap();
        }
        bench.arp(&format!("020000000002 02aa00000009 0806 | 0001 0800 06 04 {body}"));
        assert_eq!(bench.state("192.0.2.2"), state, "{body} (asked: {asked})");
    }
}

#[test]
fn nobody_is_learned_at_an_impossible_address() {
    let (mut bench, hop) = Bench::with_gateway();
    for mac in ["020000000002", "ffffffffffff", "01005e000001", "000000000000"] {
        let frame = format!(
            "020000000002 02bb00000007 0806 | 0001 0800 06 04 0002 \
             {mac} c0000202 020000000002 c0000201"
        );
        assert_eq!(bench.arp(&frame), Outcome::Ignored(Ignored::BadSender), "{mac}");
    }
    for address in ["e0000001", "ffffffff", "7f000001"] {
        let frame = format!(
            "ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 0001 \
             02bb00000007 {address} 000000000000 c0000201"
        );
        assert_eq!(bench.arp(&frame), Outcome::Ignored(Ignored::BadSender), "{address}");
    }
    assert_eq!(bench.neighbours.resolved(hop).unwrap().header[..6], GATEWAY.0);
    assert_eq!(bench.neighbours.entries().count(), 1);
}

#[test]
fn what_is_not_arp_for_ethernet_and_ipv4_is_malformed() {
    let mut bench = Bench::new(8);
    let body = "02aa00000009 c0000202 000000000000 c0000201";
    for start in [
        "ffffffffffff 02aa00000009 0806 | 0006 0800 06 04 0001",
        "ffffffffffff 02aa00000009 0806 | 0001 86dd 06 04 0001",
        "ffffffffffff 02aa00000009 0806 | 0001 0800 06 10 0001",
        "ffffffffffff 02aa00000009 0806 | 0001 0800 06 04 0003",
    ] {
        let frame = format!("{start} {body}");
        assert_eq!(bench.arp(&frame), Outcome::Ignored(Ignored::Malformed), "{start}");
    }
    let whole = hex(GATEWAY_GRATUITOUS);
    for len in 0..whole.len() {
        let outcome =
            bench.neighbours.on_arp(OUTSIDE, &whole[..len], bench.now, |_| true, &mut bench.outbox);
        assert_eq!(outcome, Outcome::Ignored(Ignored::Malformed), "{len} bytes");
    }
    assert!(bench.sent().is_empty());
}

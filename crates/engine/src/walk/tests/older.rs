//! What the policy may ask for beside: connections older than we are, questions before the end, answers
//! to SYN that nobody has asked for.

use mooring_policy::InterfaceId;

use super::reloaded::reload;
use crate::DropReason;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    BUFFERS, Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OUR_INSIDE, OUR_OUTSIDE,
    OUTSIDE, POOL, SERVER, STRANGER, config_with,
};

fn state(bench: &Bench) -> Option<&'static str> {
    bench.engine.sessions(bench.now, 0).0.first().map(|session| session.state)
}

fn rest(bench: &mut Bench, milliseconds: u64) {
    bench.rest(milliseconds);
    bench.learn(INSIDE, HOST, HOST_MAC);
    bench.learn(OUTSIDE, GATEWAY, GATEWAY_MAC);
}

/// The host sends, of a connection to port 80 of the server; the port by which that sees it.
fn send(bench: &mut Bench, flags: &str) -> u16 {
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, flags, b""));
    let Transport::Tcp(port, 80) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
    port
}

fn answer(bench: &mut Bench, port: u16, flags: &str) {
    bench.forward(OUTSIDE, &outside(SERVER, POOL).tcp(80, port, flags, b""));
}

/// What has left beside the batches, without the words of neighbours.
fn said(bench: &mut Bench) -> Vec<(InterfaceId, Vec<u8>)> {
    let mut sent = bench.sent();
    sent.retain(|(_, frame)| frame[12..14] == [8, 0]);
    sent
}

fn open(config: &str) -> (Bench, u16) {
    let mut bench = Bench::ready_with(config);
    let port = send(&mut bench, "S");
    answer(&mut bench, port, "SA");
    send(&mut bench, "A");
    (bench, port)
}

#[test]
fn a_connection_older_than_we_are_is_picked_up_from_inside_if_the_policy_says_so() {
    let data = |flags| inside(HOST, SERVER).tcp(5000, 80, flags, b"");
    let mut bench = Bench::ready();
    for flags in ["A", "FA", "SA", "R", "RA", ""] {
        bench.ignore(INSIDE, &data(flags), DropReason::NoSession);
    }
    let mut bench = Bench::ready_with(&config_with("[tcp]\npick_up = true"));
    for flags in ["R", "RA", "SA", "F", ""] {
        bench.ignore(INSIDE, &data(flags), DropReason::NoSession);
    }
    let stranger = outside(SERVER, POOL).tcp(80, 2000, "A", b"");
    bench.ignore(OUTSIDE, &stranger, DropReason::NoSession);
    let port = send(&mut bench, "A");
    assert_eq!(state(&bench), Some("half_open"));
    // Sent again into nothing it does not stay.
    rest(&mut bench, 200_000);
    send(&mut bench, "A");
    rest(&mut bench, 42_000);
    assert_eq!((state(&bench), bench.engine.occupancy().leased_ports), (None, 0));
    let again = send(&mut bench, "A");
    answer(&mut bench, again, "R");
    assert_eq!(state(&bench), Some("half_open"), "not an answer");
    answer(&mut bench, again, "A");
    assert_eq!(state(&bench), Some("established"), "{port}");
}

/// RFC 5382 §5, RFC 6146 §3.5.2.2: once per idle time.
#[test]
fn a_silent_connection_is_asked_before_it_ends() {
    let (mut bench, port) = open(&config_with("[tcp]\nprobe = true"));
    bench.rest(7_439_000);
    bench.learn(INSIDE, HOST, HOST_MAC);
    bench.pass(3_000);
    let said = said(&mut bench);
    let [(INSIDE, probe)] = &said[..] else { panic!("one question: {said:02x?}") };
    let probe = Seen::read(probe);
    assert_eq!((probe.source, probe.destination), (SERVER, HOST));
    assert_eq!(probe.transport, Transport::Tcp(80, 5000));
    assert_eq!((probe.macs, probe.payload.len()), ((OUR_INSIDE, HOST_MAC), 0));
    assert_eq!(state(&bench), Some("transitory"));
    // The host has it still.
    rest(&mut bench, 1);
    assert_eq!(send(&mut bench, "A"), port);
    assert_eq!(state(&bench), Some("established"));
    // Asked again after the next idle time, and silent.
    bench.rest(7_442_000);
    assert_eq!(state(&bench), Some("transitory"));
    bench.rest(239_000);
    assert_eq!(state(&bench), Some("transitory"));
    bench.rest(3_000);
    assert_eq!((state(&bench), bench.engine.occupancy().leased_ports), (None, 0));
}

/// A host that has no such connection says so, and that is the end of it.
#[test]
fn a_reset_in_answer_to_the_question_ends_the_connection() {
    let (mut bench, _) = open(&config_with("[tcp]\nprobe = true"));
    rest(&mut bench, 7_442_000);
    send(&mut bench, "R");
    bench.rest(242_000);
    assert_eq!(state(&bench), None);
}

/// With windows followed, the question has the numbers that the host expects (RFC 9293 §3.8.4).
#[test]
fn the_question_has_the_numbers_of_the_connection() {
    let mut bench = Bench::ready_with(&config_with("[tcp]\nprobe = true\nwindow_tracking = true"));
    let ours = |flags, numbers| inside(HOST, SERVER).tcp_at((5000, 80), flags, numbers, b"");
    let sent = Seen::read(&bench.forward(INSIDE, &ours("S", (99, 0))));
    let Transport::Tcp(port, 80) = sent.transport else { panic!("{sent:?}") };
    let answer = outside(SERVER, POOL).tcp_at((80, port), "SA", (7_000, 100), b"");
    bench.forward(OUTSIDE, &answer);
    bench.forward(INSIDE, &ours("A", (100, 7_001)));
    bench.rest(7_439_000);
    bench.learn(INSIDE, HOST, HOST_MAC);
    bench.pass(3_000);
    let said = said(&mut bench);
    let [(INSIDE, probe)] = &said[..] else { panic!("one question: {said:02x?}") };
    assert_eq!(probe[38..46], [[0, 0, 0x1b, 0x58], [0, 0, 0, 100]].concat(), "7,000 and 100");
    rest(&mut bench, 1);
    bench.forward(INSIDE, &ours("A", (100, 7_001)));
    assert_eq!(state(&bench), Some("established"));
}

#[test]
fn without_a_buffer_the_question_is_put_later() {
    let (mut bench, _) = open(&config_with("[tcp]\nprobe = true"));
    let taken: Vec<_> = (0..BUFFERS).filter_map(|_| bench.outbox.compose(60)).collect();
    let large: Vec<_> = (0..BUFFERS).filter_map(|_| bench.outbox.compose(9_000)).collect();
    bench.rest(7_442_000);
    assert_eq!(state(&bench), Some("transitory"));
    taken.into_iter().chain(large).for_each(|buffer| bench.outbox.discard(buffer));
    bench.learn(INSIDE, HOST, HOST_MAC);
    bench.pass(1);
    assert_eq!(said(&mut bench).len(), 1, "now");
}

const ANSWERED: &str = "[tcp]\nunsolicited_syn = \"icmp\"";

/// RFC 5382 REQ-4: "at least 6 seconds", "ICMP Port Unreachable error (Type 3, Code 3)".
#[test]
fn a_syn_that_nobody_wants_is_answered_after_six_seconds_if_the_policy_says_so() {
    let mut bench = Bench::ready_with(&config_with(ANSWERED));
    let syn = outside(SERVER, POOL).tcp(80, 2000, "S", b"");
    bench.ignore(OUTSIDE, &syn, DropReason::NoSession);
    let due = bench.now.as_millis() + 6_000;
    assert!(bench.engine.next_deadline().is_some_and(|tick| tick.as_millis() <= due));
    bench.pass(3_000);
    // It is sent again, and is one.
    bench.ignore(OUTSIDE, &syn, DropReason::NoSession);
    bench.pass(2_999);
    assert_eq!(said(&mut bench), []);
    bench.pass(1);
    let sent = said(&mut bench);
    let [(OUTSIDE, error)] = &sent[..] else { panic!("one error: {sent:02x?}") };
    let error = Seen::read(error);
    assert_eq!(error.macs, (OUR_OUTSIDE, GATEWAY_MAC));
    assert_eq!((error.source, error.destination), (POOL, SERVER));
    assert_eq!(error.transport, Transport::Icmp(3, 3, 0, 0));
    assert_eq!(error.payload, syn[14..], "as it was sent");
    bench.pass(20_000);
    assert_eq!(said(&mut bench), []);
}

/// The same: "MUST silently drop the original unsolicited inbound SYN".
#[test]
fn a_syn_that_a_host_inside_answers_by_its_own_is_forgotten() {
    let (mut bench, port) = open(&config_with(ANSWERED));
    let early = outside(SERVER, POOL).tcp(90, port, "S", b"");
    bench.ignore(OUTSIDE, &early, DropReason::Filtered);
    bench.rest(2_000);
    bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 90, "S", b""));
    bench.pass(10_000);
    assert_eq!(said(&mut bench), []);
}

/// No error leaves from an address that is no longer ours, nor to whom a list denies by then, nor
/// about a port that is somebody's by then.
#[test]
fn a_syn_is_answered_only_if_the_policy_of_then_does_not_want_it_either() {
    let asked = config_with(ANSWERED);
    let moved = asked.replace("203.0.113.10/32", "203.0.113.11/32");
    let denied =
        asked.replace("\"203.0.113.10/32\"]", "\"203.0.113.10/32\"]\ndeny = [\"198.51.100.7\"]");
    let forwarded = config_with(&format!(
        "[[rule]]\nname = \"web\"\nkind = \"port-forward\"\naddress = \"203.0.113.10\"\n\
         port = \"2000\"\ntarget = \"10.0.0.3:80\"\n{ANSWERED}"
    ));
    for (config, to_mapped, errors) in [
        (&asked, false, 1),
        (&asked, true, 1),
        (&moved, false, 0),
        (&denied, true, 0),
        (&forwarded, false, 0),
    ] {
        let (mut bench, port) = open(&asked);
        let syn = outside(SERVER, POOL).tcp(90, if to_mapped { port } else { 2000 }, "S", b"");
        let reason = if to_mapped { DropReason::Filtered } else { DropReason::NoSession };
        bench.ignore(OUTSIDE, &syn, reason);
        bench.pass(1_000);
        reload(&mut bench, config);
        bench.pass(10_000);
        assert_eq!(said(&mut bench).len(), errors, "{config}");
    }
}

/// Nor does he whom a list denies hear now that there is a filter behind it.
#[test]
fn a_denied_syn_is_not_answered() {
    let denied = config_with(ANSWERED)
        .replace("\"203.0.113.10/32\"]", "\"203.0.113.10/32\"]\ndeny = [\"198.51.100.66\"]");
    let (mut bench, port) = open(&denied);
    let syn = outside(STRANGER, POOL).tcp(90, port, "S", b"");
    bench.ignore(OUTSIDE, &syn, DropReason::Filtered);
    bench.pass(10_000);
    assert_eq!(said(&mut bench), []);
}

/// REQ-4 a; and what is no SYN is never answered, nor what comes from where its source cannot be.
#[test]
fn everything_else_stays_without_an_answer() {
    let mut bench = Bench::ready();
    let syn = outside(SERVER, POOL).tcp(80, 2000, "S", b"");
    bench.ignore(OUTSIDE, &syn, DropReason::NoSession);
    bench.pass(10_000);
    assert_eq!(said(&mut bench), []);
    reload(&mut bench, &config_with(ANSWERED));
    for flags in ["SA", "A", "R", "F"] {
        let other = outside(SERVER, POOL).tcp(80, 2000, flags, b"");
        bench.ignore(OUTSIDE, &other, DropReason::NoSession);
    }
    bench.ignore(OUTSIDE, &outside(SERVER, POOL).udp(80, 2000, b""), DropReason::NoSession);
    bench.send(OUTSIDE, &outside(HOST, POOL).tcp(80, 2000, "S", b""));
    bench.pass(10_000);
    assert_eq!(said(&mut bench), []);
    bench.ignore(OUTSIDE, &syn, DropReason::NoSession);
    reload(&mut bench, CONFIG);
    bench.pass(10_000);
    assert_eq!(said(&mut bench), []);
}

/// The store is bounded: who sends more is not answered, and no memory grows.
#[test]
fn a_flood_of_unwanted_syn_is_answered_in_part() {
    let mut bench = Bench::ready_with(&config_with(ANSWERED));
    for port in 1..=400 {
        let syn = outside(SERVER, POOL).tcp(port, 2000, "S", b"");
        bench.ignore(OUTSIDE, &syn, DropReason::NoSession);
    }
    bench.pass(6_000);
    assert_eq!(said(&mut bench).len(), 256);
}

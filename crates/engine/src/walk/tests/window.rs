//! `tcp.window_tracking`: what no end of a connection has sent changes nothing (RFC 5961 in kind).

use mooring_packet::Offload;
use mooring_packet::offload::GsoKind;

use super::reloaded::reload;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, HOST, HOST_MAC, INSIDE, OTHER_HOST, OTHER_HOST_MAC, OUTSIDE, POOL, SERVER,
    config_with,
};
use crate::{DropReason, Verdict};

const WATCHED: &str = "[tcp]\nwindow_tracking = true";

/// The next numbers of host and server.
const OURS: u32 = 5_001;
const THEIRS: u32 = 900_001;

/// A connection of port 5000 with port 80 of the server, and the port by which that sees it.
fn open(config: &str) -> (Bench, u16) {
    let mut bench = Bench::ready_with(config);
    let syn = inside(HOST, SERVER).tcp_at((5000, 80), "S", (OURS - 1, 0), b"");
    let sent = bench.forward(INSIDE, &syn);
    let Transport::Tcp(port, 80) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
    bench.forward(OUTSIDE, &theirs(port, "SA", (THEIRS - 1, OURS), b""));
    bench.forward(INSIDE, &ours("A", (OURS, THEIRS), b""));
    assert_eq!(state(&bench), "established");
    (bench, port)
}

fn ours(flags: &str, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    inside(HOST, SERVER).tcp_at((5000, 80), flags, numbers, payload)
}

fn theirs(port: u16, flags: &str, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    outside(SERVER, POOL).tcp_at((80, port), flags, numbers, payload)
}

fn state(bench: &Bench) -> &'static str {
    bench.engine.sessions(bench.now, 0).0[0].state
}

#[test]
fn blind_segments_are_dropped_before_they_change_anything() {
    let (mut bench, port) = open(&config_with(WATCHED));
    let idle = |bench: &Bench| {
        let session = &bench.engine.sessions(bench.now, 0).0[0];
        (session.state, session.idle, session.reverse.packets)
    };
    bench.rest(10);
    let before = idle(&bench);
    for flags in ["R", "RA", "A", "FA", "SA"] {
        let blind = theirs(port, flags, (0x7000_0000, 0x1234_5678), b"");
        bench.ignore(OUTSIDE, &blind, DropReason::OutOfWindow);
    }
    assert_eq!(idle(&bench), before);
    bench.forward(INSIDE, &ours("A", (OURS, THEIRS), b"data"));
    bench.forward(OUTSIDE, &theirs(port, "A", (THEIRS, OURS + 4), b"answer"));
}

/// RFC 5382 §4.1 REQ-2 a, and RFC 5961 §4 in kind: a SYN from outside that crosses the host's opens
/// nothing by itself.
#[test]
fn a_syn_that_crosses_is_believed_when_the_remote_end_acknowledges_ours() {
    for answer in ["SA", "A"] {
        let mut bench = Bench::ready_with(&config_with(WATCHED));
        let sent = bench.forward(INSIDE, &ours("S", (OURS - 1, 0), b""));
        let Transport::Tcp(port, 80) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
        // Anybody can send one.
        bench.forward(OUTSIDE, &theirs(port, "S", (0x5000_0000, 0), b""));
        assert_eq!(state(&bench), "half_open");
        bench.forward(OUTSIDE, &theirs(port, "S", (THEIRS - 1, 0), b""));
        bench.forward(INSIDE, &ours("SA", (OURS - 1, THEIRS), b""));
        assert_eq!(state(&bench), "half_open");
        let sequence = if answer == "SA" { THEIRS - 1 } else { THEIRS };
        bench.forward(OUTSIDE, &theirs(port, answer, (sequence, OURS), b""));
        assert_eq!(state(&bench), "established");
        bench.forward(OUTSIDE, &theirs(port, "A", (THEIRS, OURS), b"data"));
    }
    // Nor does it keep the real one out.
    let mut bench = Bench::ready_with(&config_with(WATCHED));
    let sent = bench.forward(INSIDE, &ours("S", (OURS - 1, 0), b""));
    let Transport::Tcp(port, 80) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
    bench.forward(OUTSIDE, &theirs(port, "S", (0x5000_0000, 0), b""));
    bench.forward(OUTSIDE, &theirs(port, "SA", (THEIRS - 1, OURS), b""));
    assert_eq!(state(&bench), "established");
    bench.forward(INSIDE, &ours("A", (OURS, THEIRS), b"data"));
    bench.forward(OUTSIDE, &theirs(port, "A", (THEIRS, OURS + 4), b"answer"));
}

/// RFC 5961 §3: the ends settle what only they can know; the session waits for it.
#[test]
fn a_reset_or_syn_that_may_be_forged_passes_and_changes_nothing() {
    let (mut bench, port) = open(&config_with(WATCHED));
    for (flags, sequence) in [("R", THEIRS + 10), ("S", 0x7000_0000)] {
        bench.forward(OUTSIDE, &theirs(port, flags, (sequence, 0), b""));
        assert_eq!(state(&bench), "established", "{flags}");
    }
    // The host asks; the real server has sent it, and says so.
    bench.forward(INSIDE, &ours("A", (OURS, THEIRS), b""));
    bench.forward(OUTSIDE, &theirs(port, "R", (THEIRS, 0), b""));
    assert_eq!(state(&bench), "transitory");
    let syn = theirs(port, "S", (0x7000_0000, 0), b"");
    bench.forward(OUTSIDE, &syn);
    bench.forward(INSIDE, &ours("SA", (77, 0x7000_0001), b""));
    assert_eq!(state(&bench), "established");
    bench.forward(OUTSIDE, &theirs(port, "A", (0x7000_0001, 78), b"anew"));
}

#[test]
fn a_super_packet_counts_with_all_that_it_carries() {
    let (mut bench, port) = open(&config_with(WATCHED));
    let data = ours("A", (OURS, THEIRS), &[7; 5_000]);
    let offload = Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 1_000, 54);
    let (verdict, _) = bench.send_offloaded(INSIDE, &data, offload);
    assert_eq!(verdict, Verdict::Tx(OUTSIDE));
    bench.ignore(OUTSIDE, &theirs(port, "A", (THEIRS, OURS + 5_001), b""), DropReason::OutOfWindow);
    bench.forward(OUTSIDE, &theirs(port, "A", (THEIRS, OURS + 5_000), b""));
}

#[test]
fn a_reload_takes_up_connections_in_their_midst_and_lets_them_go() {
    let (mut bench, port) = open(CONFIG);
    reload(&mut bench, &config_with(WATCHED));
    // Until the host has spoken, nobody outside is believed, and nobody is kept from speaking.
    bench.forward(OUTSIDE, &theirs(port, "R", (0x7000_0000, 0), b""));
    assert_eq!(state(&bench), "established");
    bench.forward(INSIDE, &ours("A", (OURS, THEIRS), b""));
    bench.forward(OUTSIDE, &theirs(port, "A", (THEIRS, OURS), b"data"));
    let blind = theirs(port, "R", (0x7000_0000, 0), b"");
    bench.ignore(OUTSIDE, &blind, DropReason::OutOfWindow);
    reload(&mut bench, CONFIG);
    bench.forward(OUTSIDE, &blind);
    assert_eq!(state(&bench), "transitory");
}

/// Both halves have their windows.
#[test]
fn a_hairpinned_connection_is_watched_too() {
    let forward = r#"
        [[rule]]
        name = "web"
        kind = "port-forward"
        address = "203.0.113.10"
        port = "80"
        target = "10.0.0.3:80"
    "#;
    let mut bench = Bench::ready_with(&config_with(&format!("{forward}\n{WATCHED}")));
    let there = |flags, numbers| inside(HOST, POOL).tcp_at((5000, 80), flags, numbers, b"");
    let (verdict, sent) = bench.send(INSIDE, &there("S", (OURS - 1, 0)));
    assert_eq!(verdict, Verdict::Tx(INSIDE));
    let sent = Seen::read(&sent);
    let Transport::Tcp(port, 80) = sent.transport else { panic!("{sent:?}") };
    assert_eq!((sent.destination, sent.macs.1), (OTHER_HOST, OTHER_HOST_MAC));
    let back = |flags, numbers| inside(OTHER_HOST, POOL).tcp_at((80, port), flags, numbers, b"");
    bench.ignore(INSIDE, &back("SA", (THEIRS - 1, OURS + 9_000)), DropReason::OutOfWindow);
    assert_eq!(bench.send(INSIDE, &back("SA", (THEIRS - 1, OURS))).0, Verdict::Tx(INSIDE));
    assert_eq!(bench.send(INSIDE, &there("A", (OURS, THEIRS))).0, Verdict::Tx(INSIDE));
    bench.ignore(INSIDE, &there("R", (OURS + 0x7000_0000, 0)), DropReason::OutOfWindow);
    bench.ignore(INSIDE, &back("R", (THEIRS + 0x7000_0000, 0)), DropReason::OutOfWindow);
    assert_eq!(bench.send(INSIDE, &back("A", (THEIRS, OURS))).0, Verdict::Tx(INSIDE));
}

/// Its later pieces show neither flags nor numbers: they are not believed where the first one is not,
/// and of none that is outside does any pass.
#[test]
fn a_forged_segment_in_pieces_keeps_nothing() {
    let (mut bench, port) = open(&config_with(WATCHED));
    bench.rest(7_000_000);
    bench.learn(INSIDE, HOST, HOST_MAC);
    let pieces = |id, flags, numbers| {
        let whole = theirs(port, flags, numbers, &[1; 60]);
        outside(SERVER, POOL).pieces(id, 6, &whole[34..], 40)
    };
    for piece in pieces(9, "S", (0x7000_0000, 0)) {
        bench.forward(OUTSIDE, &piece);
    }
    let [first, later] = &pieces(10, "A", (0x7000_0000, 0x1234_5678))[..] else { panic!("two") };
    bench.ignore(OUTSIDE, first, DropReason::OutOfWindow);
    bench.ignore(OUTSIDE, later, DropReason::FragmentUntranslated);
    let session = &bench.engine.sessions(bench.now, 0).0[0];
    assert_eq!((session.state, session.idle / 1_000), ("established", 7_000));
    bench.rest(500_000);
    assert_eq!(bench.sessions(), 0, "its time was over");
}

/// Of a connection that is taken up only the host's segments count, in pieces as whole.
#[test]
fn what_is_forged_in_pieces_does_not_bring_back_what_was_reset() {
    let (mut bench, port) = open(CONFIG);
    bench.forward(OUTSIDE, &theirs(port, "R", (THEIRS, 0), b""));
    reload(&mut bench, &config_with(WATCHED));
    let whole = theirs(port, "A", (0x7000_0000, 0x1234_5678), &[1; 60]);
    for piece in outside(SERVER, POOL).pieces(9, 6, &whole[34..], 40) {
        bench.forward(OUTSIDE, &piece);
    }
    assert_eq!(state(&bench), "transitory");
    // What is real in pieces opens it again, by its first one.
    let whole = ours("A", (OURS, THEIRS), &[1; 60]);
    for piece in inside(HOST, SERVER).pieces(7, 6, &whole[34..], 40) {
        bench.forward(INSIDE, &piece);
    }
    assert_eq!(state(&bench), "established");
}

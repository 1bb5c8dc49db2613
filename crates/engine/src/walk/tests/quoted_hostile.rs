//! ICMP errors of others that lie: dropped, each for its own reason, and nothing is begun, kept alive
//! or ended by them.

use super::open_udp;
use crate::DropReason;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::{Bench, HOST, INSIDE, OTHER_HOST, OUTSIDE, POOL, SERVER, STRANGER};

/// What the engine remembers, and when its sessions end.
fn state(bench: &Bench) -> impl PartialEq + std::fmt::Debug + use<> {
    let (sessions, _) = bench.engine.sessions(bench.now, 0);
    let lives: Vec<_> =
        sessions.iter().map(|session| (session.expires, session.forward.packets)).collect();
    (bench.engine.occupancy(), lives)
}

/// RFC 1122 §3.2.2: "An ICMP error message MUST NOT be sent as the result of receiving an ICMP error
/// message".
#[test]
fn an_error_about_an_error_is_dropped_in_both_directions() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let before = state(&bench);
    let ours = inside(POOL, SERVER).udp(port, 53, b"");
    for kind in [3, 4, 5, 11, 12] {
        let quoted = inside(POOL, SERVER).error((kind, 0), 0, &ours);
        for about in [3, 11, 12] {
            let inward = outside(STRANGER, POOL).error((about, 0), 0, &quoted);
            bench.ignore(OUTSIDE, &inward, DropReason::ErrorAboutError);
            let outward = inside(HOST, SERVER).error((about, 0), 0, &quoted);
            bench.ignore(INSIDE, &outward, DropReason::ErrorAboutError);
        }
    }
    assert_eq!(state(&bench), before);
}

/// RFC 1191 §3: 68 bytes are the least. 0 is what routers from before that RFC say.
#[test]
fn a_forged_mtu_does_not_reach_the_host() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let sent = inside(POOL, SERVER).udp(port, 53, b"");
    let delivered = outside(SERVER, HOST).udp(53, 5000, b"");
    let before = state(&bench);
    for mtu in [1, 20, 67] {
        let inward = outside(STRANGER, POOL).error((3, 4), mtu, &sent);
        bench.ignore(OUTSIDE, &inward, DropReason::ForgedMtu);
        let outward = inside(OTHER_HOST, SERVER).error((3, 4), mtu, &delivered);
        bench.ignore(INSIDE, &outward, DropReason::ForgedMtu);
    }
    for mtu in [0, 68, 576] {
        bench.forward(OUTSIDE, &outside(STRANGER, POOL).error((3, 4), mtu, &sent));
    }
    assert_eq!(state(&bench), before);
}

/// RFC 5508 REQ-4: without a session it is dropped; what the quote names is not begun.
#[test]
fn a_quote_of_no_session_begins_none() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let before = state(&bench);
    let strangers = [
        inside(POOL, SERVER).udp(port ^ 1, 53, b""),
        inside(POOL, SERVER).udp(port, 54, b""),
        inside(POOL, SERVER).tcp(port, 53, "S", b""),
        inside(POOL, SERVER).echo_request(port, 1),
        inside(POOL, SERVER).other(47, &[0; 8]),
        inside(POOL, SERVER).icmp(10, 0, [[0; 2]; 2], &[0; 8]),
        inside(POOL, SERVER).other(58, &[128, 0, 0, 0, 0, 0, 0, 0]),
        inside(POOL, SERVER).piece(10, false).other(17, &[0; 16]),
    ];
    for quoted in strangers {
        for kind in [(3, 1), (11, 0), (12, 0)] {
            let inward = outside(STRANGER, POOL).error(kind, 0, &quoted);
            bench.ignore(OUTSIDE, &inward, DropReason::QuoteUnknown);
            let mut turned = quoted.clone();
            turned[26..34].rotate_left(4);
            let outward = inside(HOST, SERVER).error(kind, 0, &turned);
            bench.ignore(INSIDE, &outward, DropReason::QuoteUnknown);
        }
    }
    assert_eq!(state(&bench), before);
}

/// An error in an error in an error: told by the outer quote alone.
#[test]
fn a_broken_quote_is_malformed_whatever_it_says_inside() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let sent = inside(POOL, SERVER).udp(port, 53, b"");
    let mut wrong_sum = sent.clone();
    wrong_sum[24] ^= 1;
    bench.ignore(
        OUTSIDE,
        &outside(STRANGER, POOL).error((3, 4), 20, &wrong_sum),
        DropReason::Malformed,
    );
    for len in 0..24 {
        let error = outside(STRANGER, POOL).icmp(3, 1, [[0; 2]; 2], &sent[14..14 + len]);
        bench.ignore(OUTSIDE, &error, DropReason::Malformed);
    }
}

//! ICMPv6 errors of our own: about what there is none, how many, and when a next hop is silent.

use super::errors::error;
use super::{ARRIVED, BACK, GATEWAY, HOST, OUT, POOL, SERVER, ready, udp};
use crate::DropReason;
use crate::Verdict;
use crate::test_bench::{INSIDE, OUTSIDE};

/// RFC 4443 §2.4 (e.1), and (e.6): to whom no single node can be.
#[test]
fn there_is_no_ipv6_error_about_an_error_or_to_nobody() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question"));
    for (kind, code) in [(1, 4), (3, 0), (4, 1)] {
        let late = error(BACK, (GATEWAY, POOL), 1, (kind, code, [0; 4]), &sent[14..]);
        bench.ignore(OUTSIDE, &late, DropReason::TtlExpired);
    }
    for source in ["::", "::1", "ff02::1"] {
        let late = udp(OUT, (source, SERVER), 1, (5000, 53), b"question");
        bench.ignore(INSIDE, &late, DropReason::Martian);
    }
    let late = udp(OUT, (HOST, SERVER), 1, (5000, 53), b"question");
    assert_eq!(
        bench.refuse(INSIDE, &late, DropReason::TtlExpired).len(),
        1,
        "but about a datagram"
    );
}

/// RFC 4443 §2.4 (f): 1,000 a second, and as many at once.
#[test]
fn ipv6_errors_are_limited_in_rate() {
    let mut bench = ready();
    let probe = udp(OUT, (HOST, SERVER), 1, (33434, 33434), b"");
    let mut told = |probes: usize, after: u64| -> usize {
        bench.pass(after);
        bench.sent();
        (0..probes).map(|_| bench.refuse(INSIDE, &probe, DropReason::TtlExpired).len()).sum()
    };
    assert_eq!(told(1_500, 0), 1_000);
    assert_eq!(told(300, 100), 100);
}

/// RFC 4443 §3.1: code 3, in the view of the host.
#[test]
fn an_ipv6_host_is_told_when_its_next_hop_does_not_answer() {
    const SILENT: &str = "2001:db8:1::dead";
    let mut bench = ready();
    let asked = udp(OUT, (HOST, SILENT), 64, (5000, 53), b"question");
    assert_eq!(bench.send(INSIDE, &asked).0, Verdict::Hold);
    bench.sent();
    (0..4).for_each(|_| bench.pass(1_000));
    assert_eq!(bench.dropped(DropReason::NeighborUnresolved), 1);
    // The host, a neighbour as well, is asked whether it is still there: that is no error.
    let is_told = |(link, frame): &(_, Vec<u8>)| *link == INSIDE && frame[54] != 135;
    let told: Vec<_> = bench.sent().into_iter().filter(is_told).collect();
    let quoted = udp(OUT, (HOST, SILENT), 63, (5000, 53), b"question");
    let expected = error(ARRIVED, ("fd00:10::1", HOST), 64, (1, 3, [0; 4]), &quoted[14..]);
    assert_eq!(told, [(INSIDE, expected)]);
}

//! ICMP queries other than echo (RFC 5508 REQ-1).

use crate::DropReason;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{Bench, HOST, INSIDE, OTHER_HOST, OUR_INSIDE_IP, OUTSIDE, POOL, SERVER};

/// Originate, receive and transmit timestamp (RFC 792).
const TIMES: [u8; 12] = [0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0];

/// The timestamp's identifier is mapped as that of an echo, and so is that in the quote of an error.
#[test]
fn a_timestamp_query_goes_out_and_its_answer_and_errors_come_back() {
    let mut bench = Bench::ready();
    let query = |host| inside(host, SERVER).icmp(13, 0, [[0, 77], [0, 1]], &TIMES);
    let mut leased = Vec::new();
    for host in [HOST, OTHER_HOST] {
        let sent = bench.forward(INSIDE, &query(host));
        let seen = Seen::read(&sent);
        let Transport::Icmp(13, 0, id, 1) = seen.transport else { panic!("{seen:?}") };
        assert_eq!((seen.source, &seen.payload[..]), (POOL, &TIMES[..]));
        let reply = outside(SERVER, POOL).icmp(14, 0, [id.to_be_bytes(), [0, 1]], &TIMES);
        let seen = Seen::read(&bench.forward(OUTSIDE, &reply));
        assert_eq!((seen.destination, seen.transport), (host, Transport::Icmp(14, 0, 77, 1)));
        let error = outside(SERVER, POOL).error((3, 1), 0, &sent);
        let seen = Seen::read(&bench.forward(OUTSIDE, &error));
        assert_eq!((seen.destination, &seen.payload[24..28]), (host, &[0, 77, 0, 1][..]));
        leased.push(id);
    }
    assert_ne!(leased[0], leased[1]);
}

/// Nobody outside asks for the time of a host, nor is it told ours (RFC 1812 §4.3.3.8: MAY).
#[test]
fn a_timestamp_query_from_outside_or_to_us_is_not_answered() {
    let mut bench = Bench::ready();
    let query = outside(SERVER, POOL).icmp(13, 0, [[0, 77], [0, 1]], &TIMES);
    bench.ignore(OUTSIDE, &query, DropReason::NoSession);
    let to_us = inside(HOST, OUR_INSIDE_IP).icmp(13, 0, [[0, 77], [0, 1]], &TIMES);
    bench.ignore(INSIDE, &to_us, DropReason::NoService);
    let unasked = inside(HOST, SERVER).icmp(14, 0, [[0, 77], [0, 1]], &TIMES);
    bench.ignore(INSIDE, &unasked, DropReason::NoSession);
    assert_eq!(bench.sessions(), 0);
}

/// RFC 6918 §2 deprecates information and address mask; router discovery stays on its link.
#[test]
fn other_queries_are_dropped() {
    let mut bench = Bench::ready();
    for kind in [9, 10, 15, 16, 17, 18, 30, 37, 42] {
        let query = inside(HOST, SERVER).icmp(kind, 0, [[0, 77], [0, 1]], &[0; 4]);
        bench.ignore(INSIDE, &query, DropReason::UnsupportedProtocol);
    }
    assert_eq!(bench.sessions(), 0);
}

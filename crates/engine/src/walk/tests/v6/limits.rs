//! Limits and lists of IPv6: a subscriber is a prefix there, and so is whom a list names.

use super::{
    BACK, HOST, HOST_MAC, OUR_INSIDE, OUT, POOL, SERVER, TRANSLATED, address, icmp, introduce,
    port, tcp, udp,
};
use crate::test_bench::{Bench, CONFIG, INSIDE, OUTSIDE};
use crate::{DropReason, Verdict};

/// A host of the link's prefix, and one of another prefix behind it.
const NEIGHBOUR: &str = "fd00:10::aaaa:3";
const ELSEWHERE: &str = "fd00:11::2";

/// The pool of IPv6 has these keys more, and the policy these limits.
fn ready_with(pool: &str, limits: &str) -> Bench {
    let addresses = "addresses = [\"2001:db8:f::10/128\"]";
    let translated = TRANSLATED
        .replace(addresses, &format!("{addresses}\n{pool}"))
        .replace("source = [\"fd00:10::/64\"]", "source = [\"fd00::/16\"]");
    let behind = "[[route]]\ndestination = \"fd00:11::/64\"\nvia = \"fd00:10::2\"\n";
    let config = format!("{CONFIG}\n{translated}\n{behind}\n[limits]\n{limits}\n");
    let mut bench = Bench::ready_with(&config);
    introduce(&mut bench);
    bench
}

/// What becomes of a host's datagram from this port.
fn begin(bench: &mut Bench, host: &str, from: u16) -> Verdict {
    let (verdict, _) = bench.send(INSIDE, &udp(OUT, (host, SERVER), 64, (from, 53), b"question"));
    bench.sent();
    verdict
}

/// RFC 6888 REQ-4: what a subscriber may have it has once, however many addresses it takes.
#[test]
fn hosts_of_one_ipv6_prefix_share_what_a_source_may_have() {
    for (limit, reason) in [
        ("sessions_per_source", DropReason::SourceLimit),
        ("mappings_per_source", DropReason::SourceLimit),
        ("session_rate_per_source", DropReason::SessionRateLimit),
    ] {
        let mut bench = ready_with("", &format!("source_prefix_v6 = 64\n{limit} = 2"));
        assert_eq!(begin(&mut bench, HOST, 1), Verdict::Tx(OUTSIDE), "{limit}");
        assert_eq!(begin(&mut bench, NEIGHBOUR, 1), Verdict::Tx(OUTSIDE), "{limit}");
        for host in [HOST, NEIGHBOUR, "fd00:10::4"] {
            assert_eq!(begin(&mut bench, host, 2), Verdict::Drop(reason), "{limit} {host}");
        }
        assert_eq!(begin(&mut bench, ELSEWHERE, 1), Verdict::Tx(OUTSIDE), "another prefix");
        // By default every address is a source.
        let mut bench = ready_with("", &format!("{limit} = 2"));
        for host in [HOST, NEIGHBOUR, "fd00:10::4"] {
            assert_eq!(begin(&mut bench, host, 1), Verdict::Tx(OUTSIDE), "{limit} {host}");
        }
    }
}

#[test]
fn a_limit_of_an_ipv6_pool_is_for_all_of_its_hosts() {
    for (limit, reason) in [
        ("sessions", DropReason::PoolLimit),
        ("mappings", DropReason::PoolLimit),
        ("session_rate", DropReason::SessionRateLimit),
    ] {
        let mut bench = ready_with(&format!("limits = {{ {limit} = 2 }}"), "");
        assert_eq!(begin(&mut bench, HOST, 1), Verdict::Tx(OUTSIDE), "{limit}");
        assert_eq!(begin(&mut bench, ELSEWHERE, 1), Verdict::Tx(OUTSIDE), "{limit}");
        assert_eq!(begin(&mut bench, NEIGHBOUR, 1), Verdict::Drop(reason), "{limit}");
        assert_eq!(begin(&mut bench, HOST, 1), Verdict::Tx(OUTSIDE), "what lives goes on");
    }
}

/// RFC 6888 REQ-11 B for IPv6: RFC 4443 §3.1 code 3 is what code 1 is of IPv4.
#[test]
fn an_ipv6_host_is_told_of_every_limit_that_it_meets() {
    for (pool, limits, reason) in [
        ("limits = { sessions = 1 }", "", DropReason::PoolLimit),
        ("limits = { half_open = 1 }", "", DropReason::HalfOpenLimit),
        ("limits = { session_rate = 1 }", "", DropReason::SessionRateLimit),
        ("limits = { mappings = 1 }", "", DropReason::PoolLimit),
        ("ports = \"2000-2000\"", "", DropReason::PortsExhausted),
        ("", "half_open_per_source = 1", DropReason::HalfOpenLimit),
        ("", "session_rate_per_source = 1", DropReason::SessionRateLimit),
        ("", "mappings_per_source = 1", DropReason::SourceLimit),
        ("", "sessions_per_source = 1", DropReason::SourceLimit),
        ("", "sessions = 1", DropReason::TableFull),
    ] {
        let mut bench = ready_with(pool, limits);
        let syn = |port| tcp(OUT, (HOST, SERVER), 64, (port, 80), ((1, 0), 2));
        bench.forward(INSIDE, &syn(5000));
        let told = bench.refuse(INSIDE, &syn(5001), reason);
        let [(INSIDE, error)] = told.as_slice() else { panic!("{pool}{limits}: {told:?}") };
        assert_eq!((error[20], &error[54..56]), (58, &[1, 3][..]), "{pool}{limits}");
        let ends = [address("fd00:10::1").octets(), address(HOST).octets()].concat();
        assert_eq!((&error[22..54], &error[62..]), (&ends[..], &syn(5001)[14..]));
        let event = bench.engine.nats.v6.events.read().expect("and the management system");
        assert_eq!(event.inside, Some(address(HOST).into()), "{pool}{limits}");
    }
}

#[test]
fn lists_name_ipv6_senders_by_prefix() {
    const OF_THE_PREFIX: &str = "2001:db8:9:1::7";
    const BESIDE_IT: &str = "2001:db8:9:2::7";
    for (list, let_in, denied) in [
        ("deny = [\"2001:db8:9:1::/64\"]", BESIDE_IT, OF_THE_PREFIX),
        ("allow = [\"2001:db8:9:1::/64\"]", OF_THE_PREFIX, BESIDE_IT),
    ] {
        let mut bench = ready_with(&format!("filtering = \"endpoint-independent\"\n{list}"), "");
        let question = udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question");
        let leased = port(&bench.forward(INSIDE, &question), 54);
        let knock = |from: &str| udp(BACK, (from, POOL), 64, (9, leased), b"knock");
        bench.ignore(OUTSIDE, &knock(denied), DropReason::Denied);
        bench.forward(OUTSIDE, &knock(let_in));
        // Whom the host speaks to may answer, whatever the list says of it.
        bench.forward(OUTSIDE, &udp(BACK, (SERVER, POOL), 64, (53, leased), b"answer"));
    }
}

/// RFC 4443 §2.4 (f) in kind: our answers are bounded, those to pings, too.
#[test]
fn ipv6_pings_are_answered_at_the_rate_of_the_policy() {
    let mut bench = ready_with("", "echo_reply_rate = 5");
    let ping = icmp((HOST_MAC, OUR_INSIDE), (HOST, "fd00:10::1"), 64, (128, [0, 7, 0, 1]), b"abc");
    let mut answered =
        || (0..20).filter(|_| bench.send(INSIDE, &ping).0 == Verdict::Tx(INSIDE)).count();
    assert_eq!(answered(), 5);
    assert_eq!(answered(), 0);
    assert_eq!(bench.dropped(DropReason::RateLimited), 35);
}

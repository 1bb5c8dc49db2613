//! What the tests of other NATs demand and no other test here showed (docs/peer-checklist.md).

use std::net::Ipv4Addr;

use crate::Verdict;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, HOST, HOST_MAC, INSIDE, OTHER_HOST, OTHER_HOST_MAC, OUTSIDE, POOL, SERVER,
};

/// Both hosts have static addresses: 203.0.113.20 and .21.
const STATIC: &str = r#"
    [[rule]]
    name = "hosts"
    kind = "static"
    inside = "10.0.0.2/31"
    outside = "203.0.113.20/31"

    [[rule]]"#;
const OUTSIDE_OF_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
const OUTSIDE_OF_OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 21);

fn with(rule: &str) -> Bench {
    Bench::ready_with(&CONFIG.replacen("[[rule]]", rule, 1))
}

/// VPP `dynamic_edge_ports`.
#[test]
fn the_lowest_and_the_highest_port_pass_both_ways() {
    let mut bench = Bench::ready();
    for (own, remote) in [(1, 1), (1, 65_535), (65_535, 1), (65_535, 65_535), (1023, 1024)] {
        let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(own, remote, b"out"));
        let Transport::Udp(mapped, to) = Seen::read(&sent).transport else { panic!("{sent:?}") };
        assert_eq!(to, remote);
        let answer = bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(remote, mapped, b"in"));
        assert_eq!(Seen::read(&answer).transport, Transport::Udp(remote, own));
    }
}

/// VPP `frag_in_order_do_not_translate`, `frag_out_of_order_do_not_translate`.
#[test]
fn pieces_of_a_bypassed_flow_stay_as_they_are() {
    let bypass = "[[rule]]\nname = \"routed\"\nkind = \"bypass\"\nsource = [\"10.0.0.3\"]\n\
                  [[rule]]";
    for backwards in [false, true] {
        let mut bench = with(bypass);
        let ip = inside(OTHER_HOST, SERVER);
        let whole = ip.clone().udp(5000, 53, &[7; 200]);
        let mut pieces = ip.pieces(7, 17, &whole[34..], 64);
        if backwards {
            pieces.reverse();
        }
        let mut left: Vec<Vec<u8>> = Vec::new();
        for piece in &pieces {
            let (verdict, frame) = bench.send(INSIDE, piece);
            if verdict == Verdict::Tx(OUTSIDE) {
                left.push(frame);
            }
            left.extend(bench.sent_by(OUTSIDE));
        }
        assert_eq!(left.len(), pieces.len());
        left.sort_by_key(|frame| u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff);
        let body: Vec<u8> = left.iter().flat_map(|frame| frame[34..].to_vec()).collect();
        assert_eq!(body, whole[34..], "ports, checksum and data");
        assert!(left.iter().all(|frame| frame[26..30] == OTHER_HOST.octets()));
        assert_eq!(bench.engine.occupancy().leased_ports, 0);
    }
}

/// VPP `hairpinning_unknown_proto`.
#[test]
fn a_protocol_without_ports_turns_round_between_static_hosts() {
    let mut bench = with(STATIC);
    for (from, to, seen_as, target, mac) in [
        (HOST, OUTSIDE_OF_OTHER, OUTSIDE_OF_HOST, OTHER_HOST, OTHER_HOST_MAC),
        (OTHER_HOST, OUTSIDE_OF_HOST, OUTSIDE_OF_OTHER, HOST, HOST_MAC),
    ] {
        let (verdict, sent) = bench.send(INSIDE, &inside(from, to).other(47, &[0xee; 40]));
        assert_eq!(verdict, Verdict::Tx(INSIDE));
        assert_eq!(sent[..6], mac.0);
        assert_eq!(sent[26..34], [seen_as.octets(), target.octets()].concat());
        assert_eq!(sent[34..], [0xee; 40]);
    }
}

/// VPP `hairpinning_avoid_inf_loop`, `self_twice_nat_positive`: a host that speaks to its own outside
/// end hears itself, once, from outside.
#[test]
fn a_host_that_sends_to_its_own_address_hears_itself_once() {
    let mut bench = with(STATIC);
    let own = inside(HOST, OUTSIDE_OF_HOST);
    let (verdict, sent) = bench.send(INSIDE, &own.udp(5000, 80, b"hello"));
    assert_eq!(verdict, Verdict::Tx(INSIDE));
    let seen = Seen::read(&sent);
    assert_eq!((seen.source, seen.destination, seen.ttl), (OUTSIDE_OF_HOST, HOST, 63));
    assert_eq!((seen.transport, seen.macs.1), (Transport::Udp(5000, 80), HOST_MAC));
    assert_eq!(bench.sent(), [] as [(_, Vec<u8>); 0]);
}

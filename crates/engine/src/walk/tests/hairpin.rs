//! Two hosts inside reach each other by our addresses (RFC 4787 REQ-9).

use std::net::Ipv4Addr;

use crate::test_bench::frames::{Ip, inside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, HOST, HOST_MAC, INSIDE, OTHER_HOST, OTHER_HOST_MAC, OUR_INSIDE, POOL, SERVER,
    config_with,
};
use crate::{DropReason, Verdict};

/// An engine that hands port 8080 of the pool's address to the other host.
fn ready() -> Bench {
    Bench::ready_with(&config_with(WEB))
}

const WEB: &str = r#"
    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.10"
    protocol = "udp"
    port = "8080"
    target = "10.0.0.3:80"
"#;

/// Sends a frame from inside to inside, and returns it as it leaves.
fn through(bench: &mut Bench, frame: &[u8]) -> Seen {
    let (verdict, sent) = bench.send(INSIDE, frame);
    assert_eq!(verdict, Verdict::Tx(INSIDE));
    Seen::read(&sent)
}

fn datagram(ip: Ip, ports: (u16, u16)) -> Vec<u8> {
    ip.udp(ports.0, ports.1, b"hello")
}

/// The host's datagram to the forwarded port: as the other host sees it, and the port of its source.
fn open(bench: &mut Bench) -> (Seen, u16) {
    let seen = through(bench, &datagram(inside(HOST, POOL), (5000, 8080)));
    match seen.transport {
        Transport::Udp(port, 80) => (seen, port),
        _ => panic!("not the datagram: {seen:?}"),
    }
}

#[test]
fn both_ends_are_translated_and_one_hop_is_taken() {
    let mut bench = ready();
    let (seen, port) = open(&mut bench);
    assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, OTHER_HOST, 63));
    assert_eq!(seen.macs, (OUR_INSIDE, OTHER_HOST_MAC));
    let back = through(&mut bench, &datagram(inside(OTHER_HOST, POOL), (80, port)));
    assert_eq!((back.source, back.destination, back.ttl), (POOL, HOST, 63));
    assert_eq!((back.transport, back.macs), (Transport::Udp(8080, 5000), (OUR_INSIDE, HOST_MAC)));
    assert_eq!(bench.sessions(), 2, "the sender's and the target's");
    open(&mut bench);
    assert_eq!(bench.sessions(), 2);
}

/// The sides are those that the rule's `source` says: the target never sees the inside address.
#[test]
fn a_rule_that_names_no_side_translates_the_sender_too() {
    let sides = "from = \"inside\"\n    to = \"outside\"\n";
    let config = config_with(WEB);
    assert!(config.contains(sides));
    let mut bench = Bench::ready_with(&config.replace(sides, ""));
    assert_eq!(open(&mut bench).0.source, POOL);
}

/// RFC 5508 §4.2 for both translations.
#[test]
fn an_error_takes_the_way_back() {
    let mut bench = ready();
    let sent = bench.send(INSIDE, &datagram(inside(HOST, POOL), (5000, 8080))).1;
    let error = inside(OTHER_HOST, POOL).error((3, 3), 0, &sent);
    let seen = through(&mut bench, &error);
    assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, HOST, 63));
    assert_eq!(seen.transport, Transport::Icmp(3, 3, 0, 0));
    let quoted = datagram(inside(HOST, POOL).ttl(63), (5000, 8080));
    assert_eq!(seen.payload[12..], quoted[26..42], "addresses, ports, checksum as it sent them");
}

#[test]
fn nothing_is_left_of_a_datagram_that_nobody_wants() {
    let mut bench = ready();
    let unwanted = datagram(inside(HOST, POOL), (5000, 9999));
    bench.ignore(INSIDE, &unwanted, DropReason::NoSession);
    assert_eq!(bench.sessions(), 0);
    assert_eq!(bench.engine.occupancy().leased_ports, 0);
    assert_eq!(bench.engine.counters.sessions_ended, 1);
}

#[test]
fn an_own_session_outlives_a_datagram_that_nobody_wants() {
    let mut bench = ready();
    open(&mut bench);
    bench.ignore(INSIDE, &datagram(inside(HOST, POOL), (5000, 9999)), DropReason::NoSession);
    assert_eq!(bench.sessions(), 2);
}

#[test]
fn a_host_reaches_the_mapping_of_another_only_as_filtering_lets_it() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &datagram(inside(HOST, SERVER), (5000, 53)));
    let Transport::Udp(mapped, 53) = Seen::read(&sent).transport else { panic!("no datagram") };
    let frame = datagram(inside(OTHER_HOST, POOL), (6000, mapped));
    bench.ignore(INSIDE, &frame, DropReason::Filtered);
}

#[test]
fn time_ends_here_in_the_view_of_the_sender() {
    let mut bench = ready();
    open(&mut bench);
    let late = datagram(inside(HOST, POOL).ttl(1), (5000, 8080));
    let told = bench.refuse(INSIDE, &late, DropReason::TtlExpired);
    assert_eq!(told.len(), 1);
    assert_eq!(Seen::read(&told[0].1).payload, late[14..]);
}

/// The second half does not take the place of the first, which the packet is in the midst of.
#[test]
fn a_half_is_not_ended_to_make_room_for_the_other() {
    let mut bench = evicting(1);
    let frame = datagram(inside(HOST, POOL), (5000, 8080));
    assert_eq!(bench.refuse(INSIDE, &frame, DropReason::TableFull).len(), 1, "the host is told");
    assert_eq!((bench.sessions(), bench.engine.occupancy().leased_ports), (0, 0));

    let mut bench = evicting(3);
    let port = open(&mut bench).1;
    through(&mut bench, &datagram(inside(OTHER_HOST, POOL), (80, port)));
    let other_server = datagram(inside(HOST, POOL), (5000, 9999));
    bench.ignore(INSIDE, &other_server, DropReason::NoSession);
    assert_eq!(bench.sessions(), 2);
}

/// An engine with room for so many sessions, which ends old ones to begin new ones.
fn evicting(sessions: u32) -> Bench {
    let limits = format!("[limits]\nsessions = {sessions}\non_full = \"evict-transitory\"");
    Bench::ready_with(&config_with(&format!("{WEB}\n{limits}")))
}

#[test]
fn a_process_with_an_address_of_ours_reaches_a_forwarded_port() {
    let mut bench = delivering("");
    let seen = through(&mut bench, &datagram(inside(DELIVERED, POOL), (5000, 8080)));
    assert_eq!((seen.source, seen.destination, seen.ttl), (DELIVERED, OTHER_HOST, 63));
    assert_eq!(seen.transport, Transport::Udp(5000, 80));
    let back = through(&mut bench, &datagram(inside(OTHER_HOST, DELIVERED), (80, 5000)));
    assert_eq!((back.source, back.destination), (POOL, DELIVERED));
    assert_eq!((back.transport, bench.sessions()), (Transport::Udp(8080, 5000), 1));
}

#[test]
fn a_host_reaches_a_process_with_an_address_of_ours() {
    let mut bench = delivering("to = \"outside\"");
    let seen = through(&mut bench, &datagram(inside(HOST, DELIVERED), (5000, 25)));
    assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, DELIVERED, 63));
    let Transport::Udp(port, 25) = seen.transport else { panic!("not the datagram: {seen:?}") };
    let back = through(&mut bench, &datagram(inside(DELIVERED, POOL), (25, port)));
    assert_eq!((back.source, back.destination), (DELIVERED, HOST));
    assert_eq!((back.transport, bench.sessions()), (Transport::Udp(25, 5000), 1));
}

/// An engine that delivers an address to processes behind its inside interface, and leaves the rest
/// as it is in [`ready`].
fn delivering(side: &str) -> Bench {
    let rule = format!(
        "[[rule]]\nname = \"mail\"\nkind = \"deliver\"\naddress = \"{DELIVERED}\"\n\
         interface = \"inside\"\n{side}\n"
    );
    let tap = "device = \"in0\"\nbackend = \"tap\"";
    let config = config_with(&format!("{WEB}{rule}")).replacen("device = \"in0\"", tap, 1);
    let mut bench = Bench::ready_with(&config);
    bench.learn(INSIDE, DELIVERED, HOST_MAC);
    bench
}

const DELIVERED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

//! What is dropped in silence.

use std::net::Ipv4Addr;

use super::open_udp;
use crate::DropReason;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::{
    Bench, CONFIG, HOST, INSIDE, OUR_INSIDE_IP, OUR_OUTSIDE_IP, OUTSIDE, POOL, SERVER, STRANGER,
};

#[test]
fn nobody_outside_begins_anything() {
    let mut bench = Bench::ready();
    for frame in [
        outside(SERVER, POOL).udp(53, 5000, b""),
        outside(SERVER, POOL).tcp(80, 5000, "S", b""),
        outside(SERVER, POOL).tcp(80, 5000, "A", b""),
        outside(SERVER, POOL).echo_reply(77, 1),
        outside(SERVER, POOL).other(47, b""),
    ] {
        bench.ignore(OUTSIDE, &frame, DropReason::NoSession);
    }
    bench.ignore(OUTSIDE, &outside(SERVER, HOST).udp(53, 5000, b""), DropReason::NoRule);
    assert_eq!(bench.sessions(), 0);
}

/// RFC 4787 §5: address and port-dependent filtering.
#[test]
fn a_mapping_lets_in_only_whom_its_host_has_spoken_to() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let from_another_host = outside(STRANGER, POOL).udp(53, port, b"");
    bench.ignore(OUTSIDE, &from_another_host, DropReason::Filtered);
    let from_another_port = outside(SERVER, POOL).udp(54, port, b"");
    bench.ignore(OUTSIDE, &from_another_port, DropReason::Filtered);
    let other_protocol = outside(SERVER, POOL).tcp(53, port, "A", b"");
    bench.ignore(OUTSIDE, &other_protocol, DropReason::NoSession);
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b""));
}

#[test]
fn a_packet_of_a_session_comes_from_its_own_side() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let forward = outside(HOST, SERVER).udp(5000, 53, b"");
    bench.ignore(OUTSIDE, &forward, DropReason::SpoofedSource);
    let reverse = inside(SERVER, POOL).udp(53, port, b"");
    bench.ignore(INSIDE, &reverse, DropReason::SpoofedSource);
}

/// RFC 2827, RFC 3704 §2.2: the way back to the source leads to where it came from.
#[test]
fn a_new_flow_comes_from_where_its_source_is() {
    let config = CONFIG.replace("source = [\"10.0.0.0/24\"]\n", "");
    let mut bench = Bench::ready_with(&config);
    for source in [STRANGER, POOL, OUR_INSIDE_IP, OUR_OUTSIDE_IP] {
        let forged = inside(source, SERVER).udp(5000, 53, b"");
        bench.ignore(INSIDE, &forged, DropReason::SpoofedSource);
    }
    assert_eq!(bench.sessions(), 0);
}

#[test]
fn rules_and_routes_decide() {
    let mut bench = Bench::ready();
    let mail = inside(HOST, SERVER).tcp(5000, 25, "S", b"");
    bench.ignore(INSIDE, &mail, DropReason::RuleDrop);
    let from_elsewhere = inside(Ipv4Addr::new(10, 9, 9, 9), SERVER).udp(5000, 53, b"");
    bench.ignore(INSIDE, &from_elsewhere, DropReason::NoRule);
    let without_ports = inside(HOST, SERVER).other(47, &[0; 8]);
    bench.ignore(INSIDE, &without_ports, DropReason::UnsupportedProtocol);

    let without_default = CONFIG.replace("0.0.0.0/0", "198.51.100.0/24");
    let mut bench = Bench::ready_with(&without_default);
    let nowhere = inside(HOST, Ipv4Addr::new(9, 9, 9, 9)).udp(5000, 53, b"");
    bench.ignore(INSIDE, &nowhere, DropReason::NoRoute);
}

#[test]
fn a_connection_begins_with_its_first_segment() {
    let mut bench = Bench::ready();
    for flags in ["A", "SA", "F", "R", "SR", ""] {
        let segment = inside(HOST, SERVER).tcp(5000, 80, flags, b"");
        bench.ignore(INSIDE, &segment, DropReason::NoSession);
    }
    assert_eq!(bench.engine.occupancy().leased_ports, 0);
}

/// RFC 1812 §5.3.7.
#[test]
fn martians_are_dropped_on_both_sides() {
    let mut bench = Bench::ready();
    for martian in [
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(127, 9, 9, 9),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(239, 255, 255, 255),
    ] {
        bench.ignore(INSIDE, &inside(martian, SERVER).udp(1, 2, b""), DropReason::Martian);
        bench.ignore(INSIDE, &inside(HOST, martian).udp(1, 2, b""), DropReason::Martian);
        bench.ignore(OUTSIDE, &outside(martian, POOL).udp(1, 2, b""), DropReason::Martian);
        bench.ignore(OUTSIDE, &outside(SERVER, martian).udp(1, 2, b""), DropReason::Martian);
        bench.ignore(OUTSIDE, &outside(martian, POOL).echo_request(1, 2), DropReason::Martian);
    }
}

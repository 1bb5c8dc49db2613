//! Services of our own.

use mooring_packet::Offload;
use mooring_policy::ServiceId;

use crate::test_bench::frames::{inside, outside};
use crate::test_bench::{
    Bench, GATEWAY_MAC, HOST, INSIDE, OUR_INSIDE_IP, OUR_OUTSIDE, OUTSIDE, POOL, SERVER,
    config_with,
};
use crate::{DropReason, Verdict};

fn ready() -> Bench {
    Bench::ready_with(&config_with(
        r#"
        [[service]]
        name = "health"
        kind = "health"
        address = "203.0.113.10"
        port = 8080
        [[service]]
        name = "health-inside"
        kind = "health"
        address = "10.0.0.1"
        port = 8080
    "#,
    ))
}

#[test]
fn a_segment_to_a_service_is_given_to_it() {
    let mut bench = ready();
    let from_outside = outside(SERVER, POOL).tcp(5000, 8080, "S", b"");
    assert_eq!(bench.send(OUTSIDE, &from_outside).0, Verdict::Service(ServiceId(0)));
    let from_inside = inside(HOST, OUR_INSIDE_IP).tcp(5000, 8080, "S", b"");
    let padded = [&from_inside[..], &[0; 6]].concat();
    let (verdict, frame) = bench.send(INSIDE, &padded);
    assert_eq!((verdict, frame), (Verdict::Service(ServiceId(1)), from_inside));
    assert_eq!((bench.sessions(), bench.engine.counters.served), (0, 2));
}

#[test]
fn other_ports_other_sides_and_forged_sources_are_not_served() {
    let mut bench = ready();
    let other_port = outside(SERVER, POOL).tcp(5000, 8081, "S", b"");
    bench.ignore(OUTSIDE, &other_port, DropReason::NoSession);
    let other_protocol = outside(SERVER, POOL).udp(5000, 8080, b"");
    bench.ignore(OUTSIDE, &other_protocol, DropReason::NoSession);
    let other_side = outside(SERVER, OUR_INSIDE_IP).tcp(5000, 8080, "S", b"");
    bench.ignore(OUTSIDE, &other_side, DropReason::NoService);
    let forged = outside(HOST, POOL).tcp(5000, 8080, "S", b"");
    bench.ignore(OUTSIDE, &forged, DropReason::SpoofedSource);
}

#[test]
fn a_service_sends_in_the_name_of_its_address_only() {
    let mut bench = ready();
    let answer = outside(POOL, SERVER).tcp(8080, 5000, "SA", b"");
    let send = |bench: &mut Bench, packet: &[u8]| {
        bench.engine.send_ip(bench.now, packet, Offload::NONE, &mut bench.outbox)
    };
    assert_eq!(send(&mut bench, &answer[14..]), Ok(()));
    let sent = bench.sent_by(OUTSIDE);
    assert_eq!(sent[0][..14], [&GATEWAY_MAC.0[..], &OUR_OUTSIDE.0, &[8, 0]].concat());
    assert_eq!(sent[0][14..], answer[14..]);
    let other = outside(HOST, SERVER).tcp(8080, 5000, "SA", b"");
    assert_eq!(send(&mut bench, &other[14..]), Err(DropReason::SpoofedSource));
    assert_eq!(send(&mut bench, &answer[14..40]), Err(DropReason::Malformed));
    let long = outside(POOL, SERVER).tcp(8080, 5000, "A", &[0; 1361]);
    assert_eq!(send(&mut bench, &long[14..]), Err(DropReason::TooBig));
    assert!(bench.sent().is_empty());
}

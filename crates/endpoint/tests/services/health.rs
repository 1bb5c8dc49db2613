//! The health service as its clients see it.

use mooring_endpoint::Refusal;
use mooring_packet::Offload;
use smoltcp::socket::tcp::State;

use crate::peer::{V4, V6, World, segment};

const REQUEST: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn both_families_are_answered_and_kept_alive() {
    let mut world = World::new(4, 2, 1_500);
    for (address, port) in [(V4, 40_000), (V6, 40_001)] {
        let client = world.connect(address, port);
        for _ in 0..3 {
            let answer = world.ask(client, REQUEST);
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"),
                "{answer}"
            );
        }
        assert_eq!(world.socket(client).state(), State::Established);
    }
    assert_eq!((world.endpoint.counters().accepted, world.endpoint.counters().requests), (2, 6));
}

#[test]
fn other_paths_are_not_there() {
    let mut world = World::new(4, 2, 1_500);
    let client = world.connect(V4, 40_000);
    assert!(world.ask(client, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404"));
}

#[test]
fn close_is_kept_and_the_place_can_be_used_at_once() {
    let mut world = World::new(1, 1, 1_500);
    for round in 0..5 {
        let client = world.connect(V4, 40_000 + round);
        let answer = world.ask(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.contains("Connection: close"), "round {round}: {answer}");
        assert!(!world.socket(client).may_recv(), "the endpoint has said goodbye");
        world.socket(client).close();
        world.run(50);
        assert_eq!(world.endpoint.connections(), 0, "round {round}");
    }
}

#[test]
fn a_slow_request_and_an_idle_client_are_ended() {
    let mut world = World::new(4, 2, 1_500);
    let (slow, idle) = (world.connect(V4, 40_000), world.connect(V4, 40_001));
    assert!(world.ask(idle, REQUEST).contains("200"));
    world.ask(slow, "GET / HTTP/1.1\r\nHost: ");
    for _ in 0..6 {
        world.socket(slow).send_slice(b"x").expect("open");
        world.run(1_000);
    }
    assert!(world.received(slow).starts_with("HTTP/1.1 408"));
    assert_eq!(world.endpoint.connections(), 2, "one says goodbye, the other may still ask");
    world.run(25_000);
    assert_eq!(world.endpoint.connections(), 0);
    assert!(world.endpoint.next_deadline().is_none_or(|due| due > world.now));
}

#[test]
fn an_unfinished_head_beyond_the_bound_is_refused() {
    let mut world = World::new(4, 2, 1_500);
    let client = world.connect(V4, 40_000);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\na: {}", "b".repeat(10_000));
    assert!(world.ask(client, &head).starts_with("HTTP/1.1 431"));
}

#[test]
fn the_mss_and_every_packet_fit_the_mtu() {
    let mut world = World::new(4, 2, 576);
    let answers = world.inject(&segment(1, 9, |_| {}), Offload::NONE);
    let syn_ack = etherparse::SlicedPacket::from_ip(&answers[0]).expect("a packet");
    let Some(etherparse::TransportSlice::Tcp(tcp)) = syn_ack.transport else { panic!("not TCP") };
    let mss = tcp.options_iterator().find_map(|option| match option {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    });
    assert_eq!(mss, Some(536));
    let client = world.connect(V4, 40_000);
    world.ask(client, REQUEST);
    assert!(world.emitted.iter().all(|packet| packet.len() <= 576));
}

/// A request cut by a device that leaves the checksum to the next one: NEEDS_CSUM.
#[test]
fn a_partial_checksum_is_not_verified_and_a_wrong_one_takes_no_memory() {
    let mut world = World::new(4, 2, 1_500);
    let mut syn = segment(1, 9, |_| {});
    syn[36] ^= 0xff;
    assert!(world.inject(&syn, Offload::NONE).is_empty());
    assert_eq!(
        (&world.refused[..], world.endpoint.connections()),
        (&[Refusal::BadChecksum][..], 0)
    );
    assert_eq!(world.inject(&syn, Offload::partial_checksum(34, 16)).len(), 1);
    assert_eq!(world.endpoint.connections(), 1);
}

#[test]
fn a_super_packet_of_64_kb_is_taken_as_far_as_the_window() {
    let mut world = World::new(4, 2, 1_500);
    let answers = world.inject(&segment(1, 9, |_| {}), Offload::NONE);
    let offered = u32::from_be_bytes(answers[0][24..28].try_into().expect("four bytes"));
    let mut request = segment(1, 9, |segment| {
        (segment.syn, segment.ack) = (false, true);
        segment.payload = format!("{REQUEST:a<60000}").into_bytes();
    });
    request[24..28].copy_from_slice(&1_001_u32.to_be_bytes());
    request[28..32].copy_from_slice(&(offered + 1).to_be_bytes());
    let answers = world.inject(&request, Offload::partial_checksum(34, 16));
    let text = String::from_utf8_lossy(&answers.concat()).into_owned();
    assert!(text.contains("HTTP/1.1 200 OK"), "{answers:?}");
}

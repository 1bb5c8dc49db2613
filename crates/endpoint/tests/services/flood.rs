//! More than there is room for.

use mooring_endpoint::Refusal;
use mooring_packet::Offload;

use crate::peer::{V4, World, segment};

const REQUEST: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_syn_flood_takes_its_cap_and_harms_no_connection() {
    let mut world = World::new(32, 8, 1_500);
    let client = world.connect(V4, 40_000);
    assert!(world.ask(client, REQUEST).contains("200 OK"));
    for host in 0..20_000 {
        let answers = world.inject(&segment(host, 9, |_| {}), Offload::NONE);
        assert_eq!(answers.len(), 1, "each SYN is answered at most once, and at once");
    }
    assert_eq!(world.endpoint.connections(), 1 + 8);
    assert_eq!(world.endpoint.counters().evicted, 20_000 - 8);
    assert!(world.ask(client, REQUEST).contains("200 OK"), "the client's connection works");
    let late = world.connect(V4, 40_001);
    assert!(world.ask(late, REQUEST).contains("200 OK"), "a new client gets in after it");
    world.run(20_000);
    assert_eq!(world.endpoint.connections(), 0, "and nothing stays");
}

#[test]
fn in_a_full_house_the_oldest_idle_connection_makes_room() {
    let mut world = World::new(4, 2, 1_500);
    let clients: Vec<_> = (0..4).map(|at| world.connect_and_wait(40_000 + at)).collect();
    let new = world.connect(V4, 50_000);
    assert!(world.ask(new, REQUEST).contains("200 OK"));
    assert_eq!(world.endpoint.connections(), 4);
    assert!(world.ask(clients[3], REQUEST).contains("200 OK"), "the youngest was left alone");
    assert_eq!(world.ask(clients[0], REQUEST), "", "the oldest was not");
    assert!(!world.socket(clients[0]).is_open(), "and was told by a reset");
}

#[test]
fn busy_connections_are_not_given_up() {
    let mut world = World::new(2, 1, 1_500);
    for port in [40_000, 40_001] {
        let client = world.connect_and_wait(port);
        world.ask(client, "GET / HT");
    }
    assert!(world.inject(&segment(1, 9, |_| {}), Offload::NONE).is_empty());
    assert_eq!(world.refused, [Refusal::Full]);
}

#[test]
fn stray_segments_are_reset_a_hundred_times_a_second() {
    let mut world = World::new(2, 1, 1_500);
    let stray = segment(1, 9, |segment| (segment.syn, segment.ack) = (false, true));
    let answered = (0..1_000).filter(|_| !world.inject(&stray, Offload::NONE).is_empty()).count();
    assert_eq!((answered, &world.refused[..]), (100, &[Refusal::RateLimited; 900][..]));
    let reset = segment(1, 9, |segment| (segment.syn, segment.rst) = (false, true));
    world.now += 1_000;
    assert!(world.inject(&reset, Offload::NONE).is_empty());
    let elsewhere = segment(1, 9, |segment| segment.to = 81);
    assert!(world.inject(&elsewhere, Offload::NONE).is_empty(), "not a service's port: silence");
}

#[test]
fn sequence_numbers_cannot_be_guessed_from_others() {
    let mut world = World::new(300, 300, 1_500);
    let mut numbers: Vec<u32> = (0..256)
        .map(|host| world.inject(&segment(host, 9, |_| {}), Offload::NONE)[0].clone())
        .map(|answer| u32::from_be_bytes(answer[24..28].try_into().expect("four bytes")))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 256);
    let high = numbers.iter().filter(|number| **number >> 31 == 1).count();
    assert!((80..176).contains(&high), "{high} of 256 are in the upper half");
}

#[test]
fn hundreds_of_connections_at_a_time_all_work() {
    let mut world = World::new(256, 64, 1_500);
    let clients: Vec<_> = (0..256).map(|at| world.connect_and_wait(40_000 + at)).collect();
    for client in clients {
        assert!(world.ask_at_once(client, REQUEST).contains("200 OK"));
    }
    assert_eq!(world.endpoint.counters().evicted, 0);
}

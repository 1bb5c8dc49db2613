//! What leaves translated, and what comes back.

use super::open_udp;
use crate::Verdict;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OTHER_HOST, OTHER_HOST_MAC, OUR_INSIDE,
    OUR_OUTSIDE, OUTSIDE, POOL, SERVER, STRANGER,
};

#[test]
fn a_datagram_goes_out_and_its_answer_comes_back() {
    let mut bench = Bench::ready();
    let request = inside(HOST, SERVER).udp(5000, 53, b"question");
    let sent = Seen::read(&bench.forward(INSIDE, &request));
    let Transport::Udp(port, 53) = sent.transport else { panic!("not the datagram: {sent:?}") };
    assert!(port >= 1024, "the pool's ports begin at 1024");
    assert_eq!(sent.macs, (OUR_OUTSIDE, GATEWAY_MAC));
    assert_eq!((sent.source, sent.destination, sent.ttl), (POOL, SERVER, 63));
    assert_eq!(sent.payload, b"question");

    let answer = outside(SERVER, POOL).udp(53, port, b"answer");
    let expected = Seen {
        macs: (OUR_INSIDE, HOST_MAC),
        source: SERVER,
        destination: HOST,
        ttl: 63,
        transport: Transport::Udp(53, 5000),
        payload: b"answer".to_vec(),
    };
    assert_eq!(Seen::read(&bench.forward(OUTSIDE, &answer)), expected);
    assert_eq!((bench.sessions(), bench.engine.counters.translated), (1, 2));
}

#[test]
fn a_connection_goes_out_and_its_answer_comes_back() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "S", b""));
    let sent = Seen::read(&sent);
    let Transport::Tcp(port, 80) = sent.transport else { panic!("not the segment: {sent:?}") };
    assert_eq!((sent.source, sent.destination, sent.ttl), (POOL, SERVER, 63));

    let answer = bench.forward(OUTSIDE, &outside(SERVER, POOL).tcp(80, port, "SA", b""));
    let answer = Seen::read(&answer);
    assert_eq!((answer.source, answer.destination, answer.ttl), (SERVER, HOST, 63));
    assert_eq!(answer.transport, Transport::Tcp(80, 5000));

    for (flags, payload) in [("A", &b""[..]), ("A", b"GET /"), ("FA", b""), ("R", b"")] {
        let sent = bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, flags, payload));
        let sent = Seen::read(&sent);
        assert_eq!(sent.transport, Transport::Tcp(port, 80), "{flags}");
        assert_eq!(sent.payload, payload, "{flags}");
    }
    assert_eq!(bench.sessions(), 1);
}

#[test]
fn a_ping_goes_out_and_its_answer_comes_back() {
    let mut bench = Bench::ready();
    let sent = Seen::read(&bench.forward(INSIDE, &inside(HOST, SERVER).echo_request(77, 3)));
    let Transport::Icmp(8, 0, id, 3) = sent.transport else { panic!("not the request: {sent:?}") };
    assert_eq!((sent.source, sent.destination, sent.ttl), (POOL, SERVER, 63));

    let answer = Seen::read(&bench.forward(OUTSIDE, &outside(SERVER, POOL).echo_reply(id, 3)));
    assert_eq!((answer.source, answer.destination, answer.ttl), (SERVER, HOST, 63));
    assert_eq!(answer.transport, Transport::Icmp(0, 0, 77, 3));
    assert_eq!(answer.payload, sent.payload);
}

#[test]
fn two_first_packets_of_a_flow_in_one_batch_make_one_session() {
    let mut bench = Bench::ready();
    let packet = |payload| inside(HOST, SERVER).udp(5000, 53, payload);
    let done = bench.send_batch(INSIDE, &[packet(b"one"), packet(b"two"), packet(b"six")]);
    let sent: Vec<Seen> = done
        .iter()
        .map(|(verdict, frame)| {
            assert_eq!(*verdict, Verdict::Tx(OUTSIDE));
            Seen::read(frame)
        })
        .collect();
    assert!(sent.iter().all(|seen| seen.transport == sent[0].transport), "{sent:?}");
    assert_eq!(
        sent.iter().map(|seen| &seen.payload[..]).collect::<Vec<_>>(),
        [b"one", b"two", b"six"]
    );
    assert_eq!((bench.sessions(), bench.engine.counters.sessions_created), (1, 1));
}

/// RFC 4787 §4.1 REQ-1: the mapping does not depend on the remote end.
#[test]
fn an_inside_port_has_one_outside_port_for_all_remotes() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let other = bench.forward(INSIDE, &inside(HOST, STRANGER).udp(5000, 99, b""));
    assert_eq!(Seen::read(&other).transport, Transport::Udp(port, 99));
    let occupancy = bench.engine.occupancy();
    assert_eq!((occupancy.sessions, occupancy.mappings, occupancy.leased_ports), (2, 1, 1));
}

#[test]
fn two_hosts_with_one_port_do_not_meet() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let sent = bench.forward(INSIDE, &inside(OTHER_HOST, SERVER).udp(5000, 53, b""));
    let Transport::Udp(other_port, 53) = Seen::read(&sent).transport else { panic!("{sent:?}") };
    assert_ne!(port, other_port);
    for (port, host, mac) in [(port, HOST, HOST_MAC), (other_port, OTHER_HOST, OTHER_HOST_MAC)] {
        let answer = bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b""));
        let answer = Seen::read(&answer);
        assert_eq!((answer.destination, answer.macs.1), (host, mac));
    }
}

/// RFC 768: a checksum of 0 says that there is none, and it stays so.
#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut bench = Bench::ready();
    let mut request = inside(HOST, SERVER).udp(5000, 53, b"question");
    request[40..42].fill(0);
    let sent = bench.forward(INSIDE, &request);
    assert_eq!(sent[40..42], [0, 0]);
    assert_eq!(Seen::read(&sent).payload, b"question");
}

/// The contract: "a wrong one stays wrong the same way".
#[test]
fn a_wrong_l4_checksum_stays_wrong_the_same_way() {
    let mut bench = Bench::ready();
    let right = inside(HOST, SERVER).udp(5000, 53, b"question");
    let mut wrong = right.clone();
    wrong[45] ^= 0x10;
    let (right, wrong) = (bench.forward(INSIDE, &right), bench.forward(INSIDE, &wrong));
    assert_eq!(right[40..42], wrong[40..42]);
    Seen::read(&right);
}

#[test]
fn what_follows_the_packet_in_its_frame_stays_behind() {
    let mut bench = Bench::ready();
    let packet = inside(HOST, SERVER).udp(5000, 53, b"");
    let mut padded = packet.clone();
    padded.extend(b"from the memory of a host");
    assert_eq!(bench.forward(INSIDE, &padded), bench.forward(INSIDE, &packet));
}

#[test]
fn a_session_ends_in_time_and_gives_its_port_back() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    bench.rest(299_000);
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b"late"));
    bench.rest(299_999);
    assert_eq!(bench.sessions(), 1, "its last packet was less than 300 s ago");
    bench.rest(2_001);
    let occupancy = bench.engine.occupancy();
    assert_eq!((occupancy.sessions, occupancy.mappings, occupancy.leased_ports), (0, 0, 0));
    assert_eq!(bench.engine.counters.sessions_expired, 1);
}

//! Packets for us: pings, ARP and neighbor discovery.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IcmpEchoHeader, Icmpv6Header, Icmpv6Type};
use mooring_packet::BufferPool;
use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::Tick;

use crate::test_bench::frames::{arp_request, icmpv6, inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OUR_INSIDE, OUR_INSIDE_IP,
    OUR_OUTSIDE, OUR_OUTSIDE_IP, OUTSIDE, POOL, SERVER,
};
use crate::{DropReason, Engine, Link, Outbox, Verdict};

#[test]
fn pings_to_own_and_pool_addresses_are_answered() {
    let mut bench = Bench::ready();
    for (link, request, answer_from, to) in [
        (INSIDE, inside(HOST, OUR_INSIDE_IP), OUR_INSIDE_IP, (OUR_INSIDE, HOST_MAC)),
        (OUTSIDE, outside(SERVER, OUR_OUTSIDE_IP), OUR_OUTSIDE_IP, (OUR_OUTSIDE, GATEWAY_MAC)),
        (OUTSIDE, outside(SERVER, POOL), POOL, (OUR_OUTSIDE, GATEWAY_MAC)),
    ] {
        let request = request.ttl(1).echo_request(77, 3);
        let (verdict, answer) = bench.send(link, &request);
        assert_eq!(verdict, Verdict::Tx(link));
        let (asked, answer) = (Seen::read(&request), Seen::read(&answer));
        assert_eq!((answer.macs, answer.ttl), (to, 64));
        assert_eq!((answer.source, answer.destination), (answer_from, asked.source));
        assert_eq!(answer.transport, Transport::Icmp(0, 0, 77, 3));
        assert_eq!(answer.payload, asked.payload);
    }
    assert_eq!((bench.sessions(), bench.engine.counters.originated), (0, 3));
}

/// The contract: "answered for on the link of its side (ARP, ND, ping)".
#[test]
fn an_address_of_the_other_side_does_not_answer() {
    let mut bench = Bench::ready();
    let to_inside = outside(SERVER, OUR_INSIDE_IP).echo_request(77, 3);
    bench.ignore(OUTSIDE, &to_inside, DropReason::NoService);
    let to_outside = inside(HOST, OUR_OUTSIDE_IP).echo_request(77, 3);
    bench.ignore(INSIDE, &to_outside, DropReason::NoService);
    let to_pool = inside(HOST, POOL).echo_request(77, 3);
    bench.ignore(INSIDE, &to_pool, DropReason::NoSession);
}

/// RFC 2827: whoever is outside and says that he is a host inside gets no answer, from no worker, whether
/// that has a session of the host or not.
#[test]
fn a_ping_from_outside_in_the_name_of_a_host_inside_is_not_answered() {
    for worker in 0..2 {
        let share = mooring_nat::Share::new(worker, 2).expect("one of two");
        let mut bench = Bench::ready_as(share, CONFIG);
        for host in [HOST, crate::test_bench::OTHER_HOST] {
            let forged = outside(host, POOL).echo_request(77, 3);
            bench.ignore(OUTSIDE, &forged, DropReason::SpoofedSource);
        }
        let honest = outside(SERVER, POOL).echo_request(77, 3);
        assert_eq!(bench.send(OUTSIDE, &honest).0, Verdict::Tx(OUTSIDE));
    }
}

#[test]
fn a_pool_may_be_told_not_to_answer() {
    let config = CONFIG.replace("203.0.113.10/32\"]", "203.0.113.10/32\"]\nping = false");
    let mut bench = Bench::ready_with(&config);
    bench.ignore(OUTSIDE, &outside(SERVER, POOL).echo_request(77, 3), DropReason::NoSession);
}

#[test]
fn a_broken_ping_is_not_answered() {
    let mut bench = Bench::ready();
    let mut request = inside(HOST, OUR_INSIDE_IP).echo_request(77, 3);
    request[45] ^= 1;
    bench.ignore(INSIDE, &request, DropReason::BadChecksum);
}

#[test]
fn answers_to_pings_are_limited_in_rate() {
    let mut bench = Bench::ready();
    let request = inside(HOST, OUR_INSIDE_IP).echo_request(77, 3);
    let answered = |bench: &mut Bench, requests: usize| {
        (0..requests).filter(|_| bench.send(INSIDE, &request).0 == Verdict::Tx(INSIDE)).count()
    };
    assert_eq!(answered(&mut bench, 1_200), 1_000);
    bench.pass(100);
    assert_eq!(answered(&mut bench, 200), 100);
    assert_eq!(bench.dropped(DropReason::RateLimited), 300);
}

#[test]
fn nothing_else_is_served_at_our_own_addresses() {
    let mut bench = Bench::ready();
    for frame in [
        inside(HOST, OUR_INSIDE_IP).udp(5000, 53, b""),
        inside(HOST, OUR_INSIDE_IP).tcp(5000, 22, "S", b""),
        inside(HOST, OUR_INSIDE_IP).echo_reply(77, 3),
        inside(HOST, OUR_INSIDE_IP).ttl(1).udp(5000, 53, b""),
        inside(HOST, OUR_OUTSIDE_IP).tcp(5000, 22, "S", b""),
    ] {
        bench.ignore(INSIDE, &frame, DropReason::NoService);
    }
    let frame = outside(SERVER, OUR_OUTSIDE_IP).tcp(5000, 22, "S", b"");
    bench.ignore(OUTSIDE, &frame, DropReason::NoService);
}

/// The kernel beside us answers for its own addresses: no session, no question, no word of ours.
#[test]
fn what_is_for_the_kernel_is_left_to_it() {
    let mut bench = Bench::ready();
    let (kernel, other) = (Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 2, 9));
    bench.engine.set_kernel_addresses(vec![kernel.into(), OUR_INSIDE_IP.into()]);
    for frame in [
        inside(HOST, kernel).tcp(5000, 8080, "S", b""),
        inside(HOST, kernel).ttl(1).udp(5000, 53, b""),
        inside(HOST, kernel).echo_request(77, 3),
    ] {
        bench.ignore(INSIDE, &frame, DropReason::KernelAddress);
    }
    let knock = outside(SERVER, kernel).tcp(5000, 22, "S", b"");
    bench.ignore(OUTSIDE, &knock, DropReason::KernelAddress);
    assert_eq!(bench.sessions(), 0);

    let ping = inside(HOST, OUR_INSIDE_IP).echo_request(77, 3);
    assert_eq!(bench.send(INSIDE, &ping).0, Verdict::Tx(INSIDE), "ours stays ours");
    bench.engine.set_kernel_addresses(vec![other.into()]);
    let passed = inside(HOST, kernel).echo_request(77, 3);
    assert_eq!(bench.send(INSIDE, &passed).0, Verdict::Hold, "no longer the kernel's");
}

#[test]
fn our_ipv6_addresses_answer_pings_on_their_own_side() {
    let mut bench = Bench::ready();
    let ip = |text: &str| -> Ipv6Addr { text.parse().unwrap() };
    let (neighbour, own) = (ip("2001:db8:1::2"), ip("2001:db8:1::1"));
    let request = Icmpv6Type::EchoRequest(IcmpEchoHeader { id: 77, seq: 3 });
    let frame = icmpv6(OUR_OUTSIDE, (neighbour, own), request, b"abc");
    let (verdict, answer) = bench.send(OUTSIDE, &frame);
    assert_eq!(verdict, Verdict::Tx(OUTSIDE));
    let reply = Icmpv6Type::EchoReply(IcmpEchoHeader { id: 77, seq: 3 });
    let expected = icmpv6(GATEWAY_MAC, (own, neighbour), reply, b"abc");
    assert_eq!(answer[..14], [&expected[..6], &OUR_OUTSIDE.0, &[0x86, 0xdd]].concat());
    assert_eq!(answer[22..], expected[22..], "addresses exchanged, checksum right");
    assert_eq!(answer[21], 64);
    assert_eq!(Icmpv6Header::from_slice(&answer[54..]).unwrap().0.icmp_type, reply);

    let to_inside = icmpv6(OUR_OUTSIDE, (neighbour, ip("fd00:10::1")), request, b"abc");
    bench.ignore(OUTSIDE, &to_inside, DropReason::NoService);
    let mut broken = frame;
    broken[60] ^= 1;
    bench.ignore(OUTSIDE, &broken, DropReason::BadChecksum);
}

#[test]
fn the_pool_address_is_answered_for_outside_and_not_inside() {
    let mut bench = Bench::ready();
    let (verdict, _) = bench.send(OUTSIDE, &arp_request((GATEWAY_MAC, GATEWAY), POOL));
    assert_eq!(verdict, Verdict::Local);
    let answers = bench.sent_by(OUTSIDE);
    let [answer] = &answers[..] else { panic!("one answer is expected: {answers:02x?}") };
    assert_eq!(answer[..12], [GATEWAY_MAC.0, OUR_OUTSIDE.0].concat());
    assert_eq!(answer[20..22], [0, 2], "a reply");
    assert_eq!(answer[22..32], [&OUR_OUTSIDE.0[..], &POOL.octets()].concat());

    let asked_inside = arp_request((HOST_MAC, HOST), POOL);
    bench.ignore(INSIDE, &asked_inside, DropReason::NotForUs);
    let asked_for_inside = arp_request((GATEWAY_MAC, GATEWAY), OUR_INSIDE_IP);
    bench.ignore(OUTSIDE, &asked_for_inside, DropReason::NotForUs);
}

#[test]
fn another_user_of_our_address_is_counted_and_contradicted() {
    let mut bench = Bench::ready();
    let theirs = |address: Ipv4Addr| arp_request((GATEWAY_MAC, address), GATEWAY);
    for (conflicts, address) in [(1, POOL), (2, OUR_OUTSIDE_IP)] {
        assert_eq!(bench.send(OUTSIDE, &theirs(address)).0, Verdict::Local);
        assert_eq!(bench.engine.counters.conflicts, conflicts);
        let defended = bench.sent_by(OUTSIDE);
        assert!(!defended.is_empty());
        for frame in defended {
            assert_eq!(frame[22..32], [&OUR_OUTSIDE.0[..], &address.octets()].concat());
        }
        // RFC 5227 §2.4: not again within DEFEND_INTERVAL.
        bench.send(OUTSIDE, &theirs(address));
        assert_eq!(bench.sent(), []);
        bench.engine.counters.conflicts = conflicts;
    }
}

#[test]
fn what_is_owned_is_announced_at_the_start() {
    let policy = load(CONFIG).expect("the policy is valid").policy;
    let links = [OUR_INSIDE, OUR_OUTSIDE].map(|mac| Link { mac, mtu: 1500 });
    let mut engine = Engine::new(policy.into(), Generation(1), &links, [7; 32]);
    let mut outbox = Outbox::new(BufferPool::new(64, 0));
    engine.poll(Tick::ZERO, &mut outbox);
    let mut announced = |link: InterfaceId| -> Vec<Ipv4Addr> {
        let frames = outbox.ready_for(link).map(|packet| packet.bytes().to_vec());
        // A request with a sender: the question whether it is anybody else's has none.
        let arp = frames.filter(|frame| frame[12..14] == [8, 6] && frame[21] == 1);
        let arp = arp.filter(|frame| frame[28..32] != [0; 4]);
        arp.map(|frame| [frame[28], frame[29], frame[30], frame[31]].into()).collect()
    };
    assert_eq!(announced(INSIDE), [OUR_INSIDE_IP]);
    assert_eq!(announced(OUTSIDE), [OUR_OUTSIDE_IP, POOL]);
}

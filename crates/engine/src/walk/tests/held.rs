//! Addresses that come and go: what is not held is not answered for, nothing leaves from it, and its
//! sessions wait for it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mooring_nat::EventKind;
use mooring_policy::{Assignment, Assignments, Facts, Generation, Policy, Standing, load_with};

use super::open_udp;
use crate::family::Family;
use crate::test_bench::frames::{arp_request, inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OUTSIDE, POOL, SERVER,
};
use crate::{DropReason, Verdict};

/// The policy of the bench with the pool's address given, in this standing.
fn policy(standing: Standing) -> Policy {
    load_given(CONFIG, &Assignments { addresses: vec![assignment(standing)] })
}

fn assignment(standing: Standing) -> Assignment {
    Assignment {
        address: IpAddr::from(POOL),
        route: "edge".to_owned(),
        labels: Default::default(),
        network: "wan".to_owned(),
        standing,
    }
}

fn load_given(config: &str, assignments: &Assignments) -> Policy {
    let config = config.replace("device = \"out0\"", "device = \"out0\"\nnetwork = \"wan\"");
    let text = format!("[control]\nsource = \"kubernetes\"\n{config}");
    let facts = Facts { assignments: Some(assignments), ..Facts::default() };
    let loaded = load_with(&text, &facts).expect("the policy of the test is valid");
    assert_eq!(loaded.not_taken, []);
    loaded.policy
}

fn adopt(bench: &mut Bench, generation: u32, standing: Standing) {
    adopt_policy(bench, generation, policy(standing));
}

fn adopt_policy(bench: &mut Bench, generation: u32, policy: Policy) {
    let links = bench.engine.links().to_vec();
    let policy = Arc::new(policy);
    bench.engine.set_policy(policy, Generation(generation), &links, bench.now, &mut bench.outbox);
}

const HELD: Standing = Standing::Held { since: Generation(2) };
const KEPT: Standing = Standing::Kept { since: Generation(2) };

/// With the address held, and a session of it.
fn holding() -> (Bench, u16) {
    let mut bench = Bench::ready();
    adopt(&mut bench, 2, HELD);
    bench.sent();
    let port = open_udp(&mut bench);
    (bench, port)
}

/// RFC 6888 REQ-11 B and C: who begins something without an address to begin it from hears so (Host
/// Unreachable), and so does who manages the NAT.
fn begins_in_vain(bench: &mut Bench) {
    let packet = inside(HOST, SERVER).udp(5001, 53, b"new");
    let told = bench.refuse(INSIDE, &packet, DropReason::AddressNotHeld);
    let [(INSIDE, error)] = &told[..] else { panic!("one error is expected: {told:02x?}") };
    assert_eq!(Seen::read(error).transport, Transport::Icmp(3, 1, 0, 0));
    let events = Ipv4Addr::nat(&bench.engine.nats).events.counts;
    assert_eq!(events[EventKind::NoAddress as usize], 1);
}

/// It is the session's packet, and waits as the others do: nobody hears of it.
#[test]
fn a_first_piece_of_a_suspended_session_is_refused() {
    let (mut bench, _) = holding();
    adopt(&mut bench, 3, KEPT);
    bench.sent();
    let datagram = &question()[34..];
    let pieces = inside(HOST, SERVER).pieces(7, 17, datagram, 8);
    bench.ignore(INSIDE, &pieces[0], DropReason::AddressNotHeld);
    let events = Ipv4Addr::nat(&bench.engine.nats).events.counts;
    assert_eq!(events[EventKind::NoAddress as usize], 0);
    assert_eq!(bench.engine.counters.sessions_created, 1);
}

/// The address that a rule gives a host, not a pool; what comes for it from outside is nobody's want.
#[test]
fn a_host_whose_own_address_is_not_held_hears_so_and_is_told_of() {
    let rule = "kind = \"source-nat\"\n    from = \"inside\"\n    to = \"outside\"\n    source = [\"10.0.0.0/24\"]\n    pool = \"egress\"";
    let of_host = "kind = \"static\"\n    inside = \"10.0.0.2\"\n    outside = \"203.0.113.10\"\n    to = \"outside\"";
    let pool = "[[pool]]\n    name = \"egress\"\n    addresses = [\"203.0.113.10/32\"]";
    assert!(CONFIG.contains(rule) && CONFIG.contains(pool), "the configuration of the bench");
    let config = CONFIG.replace(rule, of_host).replace(pool, "");
    let mut bench = Bench::ready();
    let assignments = Assignments { addresses: vec![assignment(Standing::Claimed)] };
    adopt_policy(&mut bench, 2, load_given(&config, &assignments));
    bench.sent();
    let knock = outside(SERVER, POOL).udp(53, 53, b"");
    bench.ignore(OUTSIDE, &knock, DropReason::AddressNotHeld);
    begins_in_vain(&mut bench);
}

fn question() -> Vec<u8> {
    inside(HOST, SERVER).udp(5000, 53, b"question")
}

#[test]
fn nothing_leaves_from_an_address_that_is_not_held_and_nobody_outside_is_answered() {
    for lost in [Standing::Claimed, KEPT] {
        let (mut bench, port) = holding();
        adopt(&mut bench, 3, lost);
        assert_eq!(bench.sent(), [], "no announcement of it");
        // Of a session that is kept nobody hears; what would begin one does.
        if lost == KEPT {
            bench.ignore(INSIDE, &question(), DropReason::AddressNotHeld);
        }
        begins_in_vain(&mut bench);
        let answer = outside(SERVER, POOL).udp(53, port, b"answer");
        bench.ignore(OUTSIDE, &answer, DropReason::AddressNotHeld);
        let ping = outside(SERVER, POOL).echo_request(7, 1);
        bench.ignore(OUTSIDE, &ping, DropReason::AddressNotHeld);
        let before = bench.sent();
        bench.send(OUTSIDE, &arp_request((GATEWAY_MAC, GATEWAY), POOL));
        assert_eq!((before.len(), bench.sent()), (0, vec![]), "another one answers");
        bench.pass(2_000);
        let frames = bench.sent_by(OUTSIDE);
        let names = |frame: &Vec<u8>| frame.windows(4).any(|bytes| bytes == POOL.octets());
        assert!(!frames.iter().any(names), "an announcement that was still to come: {frames:?}");
    }
}

#[test]
fn kept_sessions_go_on_when_the_address_comes_back() {
    let (mut bench, port) = holding();
    adopt(&mut bench, 3, KEPT);
    bench.rest(1_000);
    assert_eq!(bench.sessions(), 1, "the sweep leaves it");
    adopt(&mut bench, 4, HELD);
    bench.sent();
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b"answer"));
    assert_eq!(open_udp(&mut bench), port);
    assert_eq!(bench.sessions(), 1);
}

/// Whose the address is, the API server says: until it is asked nobody insists (RFC 5227 §2.4 (a)), and
/// the other's word stands in the caches of the link.
#[test]
fn an_address_that_a_route_gives_is_not_defended_before_the_server_was_asked() {
    let (mut bench, _) = holding();
    bench.pass(2_000);
    bench.sent();
    let other = arp_request((GATEWAY_MAC, POOL), POOL);
    assert_eq!(bench.send(OUTSIDE, &other).0, Verdict::Local);
    assert_eq!((bench.engine.counters.conflicts, bench.sent()), (1, vec![]));
    assert_eq!(bench.engine.neighbours().signs(bench.now).count(), 1);
}

/// A -> B -> A: the tuple may be in use by a flow of B's time.
#[test]
fn sessions_of_before_another_held_the_address_end_before_their_first_packet() {
    for lost in [KEPT, Standing::Claimed] {
        let (mut bench, port) = holding();
        adopt(&mut bench, 3, lost);
        adopt(&mut bench, 4, Standing::Held { since: Generation(4) });
        bench.sent();
        let answer = outside(SERVER, POOL).udp(53, port, b"answer");
        assert!(matches!(bench.send(OUTSIDE, &answer).0, Verdict::Drop(_)), "{lost:?}");
        assert_eq!((bench.sessions(), bench.engine.counters.sessions_ended), (0, 1));
        open_udp(&mut bench);
    }
}

/// Nothing claims the address any more, so nobody would say that another instance has it: `drain` is no
/// reason to send from it.
#[test]
fn what_drains_ends_with_the_address_that_a_route_gave() {
    let given = |addresses: Vec<Assignment>| {
        let text = "addresses = [\"203.0.113.10/32\"]";
        assert!(CONFIG.contains(text), "the pool of the bench");
        let config = CONFIG.replace(text, "addresses_from = { routes = \"all\" }");
        let config = config.replace("pool = \"egress\"", "pool = \"egress\"\ndrain = true");
        let assignments = Assignments { addresses };
        load_given(&config, &assignments)
    };
    let mut bench = Bench::ready();
    adopt_policy(&mut bench, 2, given(vec![assignment(HELD)]));
    bench.sent();
    let port = open_udp(&mut bench);
    adopt_policy(&mut bench, 3, given(Vec::new()));
    bench.sent();
    assert!(matches!(bench.send(INSIDE, &question()).0, Verdict::Drop(_)));
    let answer = outside(SERVER, POOL).udp(53, port, b"answer");
    assert!(matches!(bench.send(OUTSIDE, &answer).0, Verdict::Drop(_)));
    assert_eq!((bench.sessions(), bench.engine.counters.sessions_ended), (0, 1));
}

#[test]
fn the_sweep_ends_what_is_kept_no_longer() {
    let (mut bench, _) = holding();
    adopt(&mut bench, 3, KEPT);
    bench.rest(1_000);
    adopt(&mut bench, 4, Standing::Claimed);
    bench.rest(1_000);
    assert_eq!((bench.sessions(), bench.engine.occupancy().leased_ports), (0, 0));
}

/// A packet waits up to three seconds for its next hop: its source may be gone by then.
#[test]
fn packets_that_wait_for_a_neighbour_are_dropped_with_their_address() {
    let mut bench = Bench::unresolved(CONFIG);
    adopt(&mut bench, 2, HELD);
    bench.learn(INSIDE, HOST, HOST_MAC);
    bench.sent();
    assert_eq!(bench.send(INSIDE, &question()).0, Verdict::Hold);
    adopt(&mut bench, 3, KEPT);
    bench.sent();
    let answered = bench.gateway_answers();
    let ours = |frame: &Vec<u8>| frame.get(26..30) == Some(&Ipv4Addr::octets(&POOL)[..]);
    assert!(!answered.iter().any(ours), "{answered:?}");
    assert_eq!(bench.dropped(DropReason::AddressNotHeld), 1);
}

#[test]
fn the_address_is_announced_when_it_is_taken_up_again() {
    let (mut bench, _) = holding();
    adopt(&mut bench, 3, KEPT);
    bench.pass(5_000);
    bench.sent();
    adopt(&mut bench, 4, HELD);
    bench.pass(1);
    let announced = bench.sent_by(OUTSIDE);
    let arp = |frame: &Vec<u8>| {
        frame[12..14] == [8, 6] && frame[28..32] == POOL.octets() && frame[38..42] == POOL.octets()
    };
    assert!(announced.iter().any(arp), "{announced:?}");
}

//! Several workers: whichever of them receives a packet, it ends up where its session is.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use mooring_policy::InterfaceId;
use mooring_wire::Protocol;

use super::reloaded::reload;
use crate::explain::Outcome;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OTHER_HOST, OUTSIDE, POOL, SERVER,
    STRANGER, config_with,
};
use crate::{DropReason, Share, Verdict, WorkerId};

/// Some workers of one appliance.
struct Workers(Vec<Bench>);

impl Workers {
    fn new(of: u8, allocation: &str) -> Self {
        Self::with(of, allocation, str::to_owned)
    }

    /// As [`Self::new`], with the configuration changed.
    fn with(of: u8, allocation: &str, change: impl Fn(&str) -> String) -> Self {
        let config = config_with(
            r#"
            [[rule]]
            name = "web"
            kind = "port-forward"
            address = "203.0.113.10"
            protocol = "udp"
            port = "8080"
            target = "10.0.0.3:80"
            [[rule]]
            name = "fixed"
            kind = "static"
            inside = "10.0.0.9/32"
            outside = "203.0.113.20/32"
            to = "outside"
            [[rule]]
            name = "as-is"
            kind = "bypass"
            from = "outside"
            to = "inside"
            source = ["198.51.100.66/32"]
            [[rule]]
            name = "mail"
            kind = "deliver"
            address = "203.0.113.50"
            interface = "inside"
            to = "outside"
            [[service]]
            name = "health"
            kind = "health"
            address = "203.0.113.10"
            port = 8080
            [limits]
            sessions = 1000
        "#,
        );
        let tap = "device = \"in0\"\nbackend = \"tap\"";
        let config = config.replacen("device = \"in0\"", tap, 1);
        let pool = "name = \"egress\"\n    addresses";
        assert!(config.contains(pool), "the pool stands as it did");
        let pool_with = pool.replace("addresses", &format!("{allocation}\n    addresses"));
        let config = config.replacen(pool, &pool_with, 1);
        let config = change(&config);
        let ready = |worker| {
            let share = Share::new(worker, of).expect("one of them");
            let mut bench = Bench::ready_as(share, &config);
            bench.learn(INSIDE, DELIVERED, HOST_MAC);
            bench
        };
        Self((0..of).map(ready).collect())
    }

    /// Gives a frame to worker `at`, and on to whom it belongs: at most once as a packet that no
    /// session knows, and once between the halves of a hairpin.
    fn send(&mut self, at: u8, ingress: InterfaceId, frame: &[u8]) -> (u8, Verdict, Vec<u8>) {
        let (mut verdict, mut frame) = self.0[usize::from(at)].send(ingress, frame);
        let mut worker = at;
        if let Verdict::HandOver(WorkerId(owner)) = verdict {
            assert_ne!(owner, worker);
            worker = owner;
            (verdict, frame) = self.0[usize::from(owner)].send_handed(ingress, false, &frame);
        }
        if let Verdict::HandOverHalf(WorkerId(owner)) = verdict {
            assert_ne!(owner, worker);
            worker = owner;
            (verdict, frame) = self.0[usize::from(owner)].send_handed(ingress, true, &frame);
        }
        (worker, verdict, frame)
    }

    /// As [`Self::send`], for a frame that leaves.
    fn forward(&mut self, at: u8, ingress: InterfaceId, egress: InterfaceId, frame: &[u8]) -> Seen {
        let (_, verdict, sent) = self.send(at, ingress, frame);
        assert_eq!(verdict, Verdict::Tx(egress));
        Seen::read(&sent)
    }

    /// Gives another policy to all, one after the other.
    fn reload(&mut self, config: &str) {
        for bench in &mut self.0 {
            reload(bench, config);
            bench.rest(1);
        }
        for bench in &mut self.0 {
            let generation = bench.engine.policy().1;
            bench.engine.all_follow(generation);
        }
    }

    fn sessions(&self) -> usize {
        self.0.iter().map(Bench::sessions).sum()
    }
}

/// Some numbers of workers, and those of them that receive the two directions, with each way to give
/// out ports.
fn each(mut case: impl FnMut(&mut Workers, u8, u8)) {
    for (of, there, back) in [(1, 0, 0), (2, 0, 1), (2, 1, 0), (3, 2, 2), (5, 1, 3), (8, 7, 4)] {
        for allocation in ALLOCATIONS {
            case(&mut Workers::new(of, allocation), there, back);
        }
    }
}

fn source_port(seen: &Seen) -> u16 {
    match seen.transport {
        Transport::Udp(port, _) => port,
        Transport::Icmp(_, _, identifier, _) => identifier,
        Transport::Tcp(port, _) => port,
    }
}

#[test]
fn source_nat_and_the_errors_about_it() {
    each(|workers, there, back| {
        let question = inside(HOST, SERVER).udp(5000, 53, b"question");
        let seen = workers.forward(there, INSIDE, OUTSIDE, &question);
        let answer = outside(SERVER, POOL).udp(53, source_port(&seen), b"answer");
        let arrived = workers.forward(back, OUTSIDE, INSIDE, &answer);
        assert_eq!((arrived.destination, arrived.transport), (HOST, Transport::Udp(53, 5000)));
        let quoted = outside(POOL, SERVER).udp(source_port(&seen), 53, b"question");
        let error = outside(STRANGER, POOL).error((3, 1), 0, &quoted);
        assert_eq!(workers.forward(there, OUTSIDE, INSIDE, &error).destination, HOST);
        let seen = workers.forward(back, INSIDE, OUTSIDE, &inside(HOST, SERVER).echo_request(7, 1));
        let reply = outside(SERVER, POOL).echo_reply(source_port(&seen), 1);
        assert_eq!(workers.forward(there, OUTSIDE, INSIDE, &reply).destination, HOST);
        // RFC 4787 REQ-1: all of a host's mappings are with one worker.
        let other = inside(HOST, STRANGER).udp(5000, 53, b"question");
        let port = source_port(&workers.forward(back, INSIDE, OUTSIDE, &other));
        let same = workers.forward(there, INSIDE, OUTSIDE, &question);
        assert_eq!(source_port(&same), port);
        assert_eq!(workers.sessions(), 3);
    });
}

#[test]
fn static_in_both_directions() {
    let (fixed, shown) = ([10, 0, 0, 9].into(), [203, 0, 113, 20].into());
    each(|workers, there, back| {
        let arrival = outside(SERVER, shown).udp(53, 5000, b"hello");
        let (owner, verdict, _) = workers.send(there, OUTSIDE, &arrival);
        assert_eq!(verdict, Verdict::Hold, "the host is not known yet");
        let answer = inside(fixed, SERVER).udp(5000, 53, b"answer");
        let (same, verdict, _) = workers.send(back, INSIDE, &answer);
        assert_eq!((same, verdict), (owner, Verdict::Tx(OUTSIDE)));
        assert_eq!(workers.sessions(), 1);
    });
}

#[test]
fn port_forward_and_bypass_in_both_directions() {
    each(|workers, there, back| {
        let request = outside(SERVER, POOL).udp(5000, 8080, b"request");
        let seen = workers.forward(there, OUTSIDE, INSIDE, &request);
        assert_eq!((seen.destination, seen.transport), (OTHER_HOST, Transport::Udp(5000, 80)));
        let response = inside(OTHER_HOST, SERVER).udp(80, 5000, b"response");
        let seen = workers.forward(back, INSIDE, OUTSIDE, &response);
        assert_eq!((seen.source, seen.transport), (POOL, Transport::Udp(8080, 5000)));
        let request = outside(STRANGER, HOST).udp(5000, 80, b"request");
        assert_eq!(workers.forward(there, OUTSIDE, INSIDE, &request).source, STRANGER);
        let response = inside(HOST, STRANGER).udp(80, 5000, b"response");
        assert_eq!(workers.forward(back, INSIDE, OUTSIDE, &response).source, HOST);
        assert_eq!(workers.sessions(), 2);
    });
}

#[test]
fn hairpins_whose_hosts_have_different_workers() {
    // The worker of the one host is the target's, that of the other is not.
    let third = Ipv4Addr::new(10, 0, 0, 8);
    each(|workers, there, back| {
        for (host, owners) in [(HOST, 1), (third, 2.min(workers.0.len()))] {
            for bench in &mut workers.0 {
                bench.learn(INSIDE, third, HOST_MAC);
            }
            let request = inside(host, POOL).udp(5000, 8080, b"request");
            let seen = workers.forward(there, INSIDE, INSIDE, &request);
            assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, OTHER_HOST, 63));
            let response = inside(OTHER_HOST, POOL).udp(80, source_port(&seen), b"response");
            let arrived = workers.forward(back, INSIDE, INSIDE, &response);
            assert_eq!((arrived.source, arrived.destination, arrived.ttl), (POOL, host, 63));
            assert_eq!(arrived.transport, Transport::Udp(8080, 5000));
            let quoted = outside(POOL, OTHER_HOST).udp(source_port(&seen), 80, b"request");
            let error = inside(OTHER_HOST, POOL).error((3, 3), 0, &quoted);
            let told = workers.forward(back, INSIDE, INSIDE, &error);
            assert_eq!((told.source, told.destination, told.ttl), (POOL, host, 63));
            let busy = workers.0.iter().filter(|bench| bench.sessions() > 0).count();
            assert_eq!(busy, owners, "workers of the two halves");
        }
        assert_eq!(workers.sessions(), 4);
    });
}

#[test]
fn processes_with_an_address_of_ours_and_hosts_inside() {
    each(|workers, there, back| {
        let request = inside(HOST, DELIVERED).udp(5000, 25, b"request");
        let seen = workers.forward(there, INSIDE, INSIDE, &request);
        assert_eq!((seen.source, seen.destination), (POOL, DELIVERED));
        let response = inside(DELIVERED, POOL).udp(25, source_port(&seen), b"response");
        let seen = workers.forward(back, INSIDE, INSIDE, &response);
        assert_eq!((seen.source, seen.destination), (DELIVERED, HOST));
        let request = inside(DELIVERED, POOL).udp(5000, 8080, b"request");
        let seen = workers.forward(there, INSIDE, INSIDE, &request);
        assert_eq!((seen.source, seen.destination), (DELIVERED, OTHER_HOST));
        let response = inside(OTHER_HOST, DELIVERED).udp(80, 5000, b"response");
        let seen = workers.forward(back, INSIDE, INSIDE, &response);
        assert_eq!((seen.source, seen.destination), (POOL, DELIVERED));
        assert_eq!(workers.sessions(), 2);
    });
}

#[test]
fn services_belong_to_the_first_worker() {
    each(|workers, there, _| {
        let request = outside(SERVER, POOL).tcp(5000, 8080, "S", b"");
        let (worker, verdict, _) = workers.send(there, OUTSIDE, &request);
        assert_eq!((worker, matches!(verdict, Verdict::Service(_))), (0, true));
    });
}

const DELIVERED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

const ALLOCATIONS: [&str; 4] = [
    "",
    "parity = true\ncontiguity = true",
    "allocation = { kind = \"port-block\", size = 500 }",
    "allocation = { kind = \"deterministic\", source = \"10.0.0.0/24\", ports_per_host = 100 }",
];

/// Answers of what drains come to its worker, and to its host, when its pool is gone; and who has the
/// port is told for as long as it lives.
#[test]
fn what_drains_hears_its_answers_when_its_pool_is_gone() {
    for (of, there, back) in [(1, 0, 0), (2, 0, 1), (3, 2, 1), (5, 4, 2)] {
        for allocation in ALLOCATIONS {
            let mut workers = Workers::with(of, allocation, |config| {
                config.replace("pool = \"egress\"", "pool = \"egress\"\n    drain = true")
            });
            let question = inside(HOST, SERVER).udp(5000, 53, b"question");
            let port = source_port(&workers.forward(there, INSIDE, OUTSIDE, &question));
            let pools = CONFIG.find("[[pool]]").expect("the configuration has a pool");
            let other = format!("{}\n[[rule]]\nname = \"all\"\nkind = \"drop\"", &CONFIG[..pools]);
            for _ in 0..2 {
                workers.reload(&other);
                let answer = outside(SERVER, POOL).udp(53, port, b"answer");
                let seen = workers.forward(back, OUTSIDE, INSIDE, &answer);
                assert_eq!((seen.destination, seen.transport), (HOST, Transport::Udp(53, 5000)));
                workers.forward(back, INSIDE, OUTSIDE, &question);
                let quoted = outside(POOL, SERVER).udp(port, 53, b"question");
                let error = outside(STRANGER, POOL).error((3, 1), 0, &quoted);
                assert_eq!(workers.forward(there, OUTSIDE, INSIDE, &error).destination, HOST);
            }
            let held = |bench: &Bench| {
                let told = bench.engine.explain_outside(POOL.into(), port, Protocol::UDP);
                told.outcome == Outcome::Local("held by 10.0.0.2:5000".to_owned())
            };
            assert_eq!(workers.0.iter().filter(|bench| held(bench)).count(), 1);
            assert_eq!(workers.sessions(), 1);
        }
    }
}

/// While the workers take a policy up that forwards a port to the host of another worker: whoever has it
/// hands the flow to that one, which has not, and for which it is somebody else's. It begins nowhere.
#[test]
fn what_is_handed_to_a_worker_that_does_not_know_why_begins_nowhere() {
    let request = outside(SERVER, POOL).udp(5000, 8080, b"request");
    let mut refused = 0;
    // Of seven workers the two hosts have different ones.
    for (of, first) in [2, 7].into_iter().flat_map(|of| (0..of).map(move |first| (of, first))) {
        let moved = RefCell::default();
        let mut workers = Workers::with(of, "", |config| {
            moved.replace(config.replace("10.0.0.3:80", "10.0.0.2:80"));
            config.to_owned()
        });
        let moved = moved.into_inner();
        let owner = |workers: &mut Workers| {
            let (owner, verdict, _) = workers.send(first, OUTSIDE, &request);
            assert_eq!(verdict, Verdict::Tx(INSIDE));
            owner
        };
        let before = owner(&mut Workers::new(of, ""));
        reload(&mut workers.0[usize::from(first)], &moved);
        let (_, verdict, _) = workers.send(first, OUTSIDE, &request);
        let begun = workers.sessions();
        workers.reload(&moved);
        let after = owner(&mut workers);
        if before == after {
            assert_eq!((verdict, begun), (Verdict::Tx(INSIDE), 1), "{first} of {of}");
        } else {
            let dropped = Verdict::Drop(DropReason::PortsExhausted);
            assert_eq!((verdict, begun), (dropped, 0), "{first} of {of}");
            refused += u32::from(after != first);
        }
    }
    assert!(refused > 2, "{refused} were handed over");
}

/// A connection of port 5000 of the host with port 80 of the server, whose directions come to two
/// workers; the port by which the server sees it.
fn open(workers: &mut Workers, there: u8, back: u8) -> u16 {
    let ours = |flags, numbers| inside(HOST, SERVER).tcp_at((5000, 80), flags, numbers, b"");
    let syn = workers.forward(there, INSIDE, OUTSIDE, &ours("S", (5_000, 0)));
    let port = source_port(&syn);
    let theirs = outside(SERVER, POOL).tcp_at((80, port), "SA", (900_000, 5_001), b"");
    workers.forward(back, OUTSIDE, INSIDE, &theirs);
    workers.forward(there, INSIDE, OUTSIDE, &ours("A", (5_001, 900_001)));
    port
}

/// The states of all sessions.
fn states(workers: &Workers) -> Vec<&'static str> {
    let all = workers.0.iter().flat_map(|bench| bench.engine.sessions(bench.now, 0).0);
    all.map(|session| session.state).collect()
}

/// How many packets have left by an interface beside the batches, without the words of neighbours.
fn said(workers: &mut Workers, by: InterfaceId) -> usize {
    let all = workers.0.iter_mut().flat_map(Bench::sent);
    all.filter(|(egress, frame)| *egress == by && frame[12..14] == [8, 0]).count()
}

/// As [`each`], with more in the policy and no option of the pool.
fn each_with(more: &str, mut case: impl FnMut(&mut Workers, u8, u8)) {
    for (of, there, back) in [(1, 0, 0), (2, 0, 1), (2, 1, 0), (3, 2, 0), (5, 1, 3)] {
        case(&mut Workers::with(of, "", |config| format!("{config}\n{more}")), there, back);
    }
}

/// What is handed over is judged by its owner alone, and once: a window that moved twice would let pass
/// what is out of it, and one that did not move would drop what is in it.
#[test]
fn both_directions_of_a_watched_connection_are_judged_once() {
    each_with("[tcp]\nwindow_tracking = true", |workers, there, back| {
        let port = open(workers, there, back);
        let theirs = |numbers, flags: &str, payload: &[u8]| {
            outside(SERVER, POOL).tcp_at((80, port), flags, numbers, payload)
        };
        for at in 0..u8::try_from(workers.0.len()).expect("they are few") {
            for flags in ["R", "A", "SA"] {
                let blind = theirs((0x7000_0000, 0x1234_5678), flags, b"");
                let (_, verdict, _) = workers.send(at, OUTSIDE, &blind);
                assert_eq!(verdict, Verdict::Drop(DropReason::OutOfWindow));
            }
        }
        let dropped = |workers: &Workers| -> u64 {
            workers.0.iter().map(|bench| bench.dropped(DropReason::OutOfWindow)).sum()
        };
        assert_eq!(dropped(workers), 3 * workers.0.len() as u64);
        for n in 0..20 {
            let (ours, their) = (5_001 + n * 100, 900_001 + n * 100);
            let data = inside(HOST, SERVER).tcp_at((5000, 80), "A", (ours, their), &[7; 100]);
            workers.forward(if n % 2 == 0 { there } else { back }, INSIDE, OUTSIDE, &data);
            let data = theirs((their, ours + 100), "A", &[8; 100]);
            workers.forward(if n % 2 == 0 { back } else { there }, OUTSIDE, INSIDE, &data);
        }
        assert_eq!((dropped(workers), workers.sessions()), (3 * workers.0.len() as u64, 1));
        let all = workers.0.iter().flat_map(|bench| bench.engine.sessions(bench.now, 0).0);
        let counted: Vec<_> = all.map(|s| (s.forward.packets, s.reverse.packets)).collect();
        assert_eq!(counted, [(22, 21)]);
        // RFC 5961 §3: the one number that is expected next, by whichever worker it comes.
        workers.forward(there, OUTSIDE, INSIDE, &theirs((902_001, 7_001), "R", b""));
        assert_ne!(states(workers), ["established"]);
    });
}

/// A segment of a connection that is older than we are is picked up by its owner, once.
#[test]
fn an_older_connection_is_picked_up_where_its_answers_come() {
    each_with("[tcp]\npick_up = true", |workers, there, back| {
        let data = inside(HOST, SERVER).tcp(5000, 80, "A", b"data");
        let port = source_port(&workers.forward(there, INSIDE, OUTSIDE, &data));
        let answer = outside(SERVER, POOL).tcp(80, port, "A", b"answer");
        let seen = workers.forward(back, OUTSIDE, INSIDE, &answer);
        assert_eq!((seen.destination, seen.transport), (HOST, Transport::Tcp(80, 5000)));
        let again = workers.forward(back, INSIDE, OUTSIDE, &data);
        assert_eq!((source_port(&again), workers.sessions()), (port, 1));
        let stranger = outside(STRANGER, POOL).tcp(80, port, "A", b"data");
        assert!(matches!(workers.send(back, OUTSIDE, &stranger).1, Verdict::Drop(_)));
        assert_eq!(workers.sessions(), 1);
    });
}

/// One worker asks, the one that has the connection; the answer keeps it, whoever gets it first.
#[test]
fn a_silent_connection_is_asked_by_its_worker_alone() {
    each_with("[tcp]\nprobe = true", |workers, there, back| {
        open(workers, there, back);
        for bench in &mut workers.0 {
            bench.rest(7_439_000);
            bench.learn(INSIDE, HOST, HOST_MAC);
            bench.pass(3_000);
        }
        assert_eq!(said(workers, INSIDE), 1);
        for bench in &mut workers.0 {
            bench.learn(INSIDE, HOST, HOST_MAC);
            bench.learn(OUTSIDE, GATEWAY, GATEWAY_MAC);
        }
        assert_eq!(states(workers), ["transitory"]);
        let answer = inside(HOST, SERVER).tcp(5000, 80, "A", b"");
        workers.forward(back, INSIDE, OUTSIDE, &answer);
        assert_eq!(states(workers), ["established"]);
    });
}

/// An unwanted SYN waits where its flow would begin, and is answered once; one that a host inside crosses
/// is not answered at all.
#[test]
fn an_unwanted_syn_is_answered_once_whoever_receives_it() {
    each_with("[tcp]\nunsolicited_syn = \"icmp\"", |workers, there, back| {
        for at in [there, back] {
            let syn = outside(SERVER, POOL).tcp(80, 7_777, "S", b"");
            let (_, verdict, _) = workers.send(at, OUTSIDE, &syn);
            assert_eq!(verdict, Verdict::Drop(DropReason::NoSession));
        }
        workers.0.iter_mut().for_each(|bench| bench.pass(5_000));
        assert_eq!(said(workers, OUTSIDE), 0);
        for bench in &mut workers.0 {
            bench.learn(OUTSIDE, GATEWAY, GATEWAY_MAC);
        }
        workers.0.iter_mut().for_each(|bench| bench.pass(1_500));
        assert_eq!((said(workers, OUTSIDE), workers.sessions()), (1, 0));
    });
}

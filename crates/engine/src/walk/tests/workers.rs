//! Several workers: whichever of them receives a packet, it ends up where its session is.

use std::net::Ipv4Addr;

use mooring_policy::InterfaceId;

use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, HOST, HOST_MAC, INSIDE, OTHER_HOST, OUTSIDE, POOL, SERVER, STRANGER, config_with,
};
use crate::{Share, Verdict, WorkerId};

/// Some workers of one appliance.
struct Workers(Vec<Bench>);

impl Workers {
    fn new(of: u8, allocation: &str) -> Self {
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
    each(|workers, there, back| {
        let request = inside(HOST, POOL).udp(5000, 8080, b"request");
        let seen = workers.forward(there, INSIDE, INSIDE, &request);
        assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, OTHER_HOST, 63));
        let response = inside(OTHER_HOST, POOL).udp(80, source_port(&seen), b"response");
        let arrived = workers.forward(back, INSIDE, INSIDE, &response);
        assert_eq!((arrived.source, arrived.destination, arrived.ttl), (POOL, HOST, 63));
        assert_eq!(arrived.transport, Transport::Udp(8080, 5000));
        let quoted = outside(POOL, OTHER_HOST).udp(source_port(&seen), 80, b"request");
        let error = inside(OTHER_HOST, POOL).error((3, 3), 0, &quoted);
        let told = workers.forward(back, INSIDE, INSIDE, &error);
        assert_eq!((told.source, told.destination, told.ttl), (POOL, HOST, 63));
        assert_eq!(workers.sessions(), 2);
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

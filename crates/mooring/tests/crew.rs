//! Several workers under traffic, of which one dies: all end, in time, and nothing passes untranslated. The ports
//! are sockets that a test holds the other ends of.

mod wire;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use mio::{Events, Poll, Token, Waker};
use mooring::exit::Failure;
use mooring::run::clock::Clock;
use mooring::run::crew::Crew;
use mooring::run::worker::{Command, Ports};
use mooring_engine::{Engine, Link};
use mooring_nat::Share;
use mooring_policy::{Generation, load};
use mooring_wire::Mac;

use crate::wire::{BREAKS, Fault, PANICS, link};

/// What the outside has seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    /// From the address of the pool, by worker.
    translated: [AtomicU64; WORKERS],
    /// IP packets from anybody else.
    leaked: AtomicU64,
}

/// A server on one worker's outside link: answers ARP, and looks at what comes.
fn serve(link: &UdpSocket, worker: usize, seen: &Seen) {
    let mut frame = [0; 2048];
    while !seen.over.load(Ordering::Relaxed) {
        let Ok(bytes) = link.recv(&mut frame) else { continue };
        if bytes >= 42 && frame[12..14] == [8, 6] && frame[38..42] == SERVER.octets() {
            let mut answer = frame[..42].to_vec();
            answer.copy_within(6..12, 0);
            answer[6..12].copy_from_slice(&SERVER_MAC);
            answer[21] = 2;
            answer.copy_within(22..32, 32);
            answer[22..28].copy_from_slice(&SERVER_MAC);
            answer[28..32].copy_from_slice(&SERVER.octets());
            let _ = link.send(&answer);
        } else if bytes >= 42 && frame[12..14] == [8, 0] {
            let translated = frame[26..30] == POOL.octets();
            let counter = if translated { &seen.translated[worker] } else { &seen.leaked };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Ends the threads around the workers, also when a check fails.
struct Over<'s>(&'s Seen);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Datagrams of sixteen hosts, to whichever worker.
fn load_all(links: &[UdpSocket], seen: &Seen) {
    let frames: Vec<Vec<u8>> = (2..18)
        .map(|host| {
            let mac = [2, 0xaa, 0, 0, 0, host];
            let builder = PacketBuilder::ethernet2(mac, LINKS[0].mac.0);
            let builder = builder.ipv4([10, 0, 0, host], SERVER.octets(), 64).udp(4_000, 53);
            let mut frame = Vec::new();
            builder.write(&mut frame, b"hello").expect("a vector takes it");
            frame
        })
        .collect();
    while !seen.over.load(Ordering::Relaxed) {
        for (at, frame) in frames.iter().enumerate() {
            // Of a worker that has ended nobody takes it any more.
            let _ = links[at % links.len()].send(frame);
            let _ = links[(at + 1) % links.len()].send(frame);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The second of two workers fails under traffic; the main thread does what it does in `run`. How all ends.
fn dies(fault: u8) -> Failure {
    let none = Arc::new(Fault::default());
    let failing = Arc::new(Fault::default());
    let policy = Arc::new(load(CONFIG).expect("a valid configuration").policy);
    let (mut members, mut inside, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    for worker in 0..WORKERS {
        let share = Share::new(worker as u8, WORKERS as u8).expect("there is such a worker");
        let policy = Arc::clone(&policy);
        let engine = Engine::for_worker(share, policy, Generation(1), &LINKS, [7; 32]);
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        let faults = if worker == 1 { [&failing, &none] } else { [&none; 2] };
        for (fault, hosts) in faults.into_iter().zip([&mut inside, &mut outside]) {
            let (receiver, sender, host) = link(fault, Duration::from_millis(100));
            rx.push(receiver);
            tx.push(sender);
            hosts.push(host);
        }
        members.push((engine, Ports { rx, tx }));
    }
    let mut poll = Poll::new().expect("descriptors");
    let ended = Arc::new(Waker::new(poll.registry(), Token(0)).expect("the poll is new"));
    let (ear, _mouth) = UnixStream::pair().expect("descriptors");
    let crew = Crew::start(members, Clock::start(), &ended, &ear).expect("threads");

    let seen = Seen::default();
    let failure = thread::scope(|scope| {
        let _over = Over(&seen);
        scope.spawn(|| load_all(&inside, &seen));
        for (worker, link) in outside.iter().enumerate() {
            let seen = &seen;
            scope.spawn(move || serve(link, worker, seen));
        }
        let failure = ends_under_load(crew, &mut poll, (&failing, fault), &seen);
        // What has left is read; what is sent from here on nobody takes.
        thread::sleep(Duration::from_millis(200));
        let before = seen.translated.each_ref().map(|seen| seen.load(Ordering::Relaxed));
        thread::sleep(Duration::from_millis(100));
        let after = seen.translated.each_ref().map(|seen| seen.load(Ordering::Relaxed));
        (failure, before, after)
    });
    let (failure, before, after) = failure;
    assert_eq!(before, after, "a worker goes on");
    assert_eq!(seen.leaked.load(Ordering::Relaxed), 0, "untranslated");
    failure.expect_err("a worker has failed")
}

fn ends_under_load(
    crew: Crew,
    poll: &mut Poll,
    (failing, fault): (&Fault, u8),
    seen: &Seen,
) -> Result<Option<()>, Failure> {
    let all = |least: u64| seen.translated.iter().all(|seen| seen.load(Ordering::Relaxed) >= least);
    let busy = (0..PATIENCE.as_millis() / 5).any(|_| {
        thread::sleep(Duration::from_millis(5));
        all(200)
    });
    assert!(busy, "both workers translate: {:?}", seen.translated);
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::ZERO)).expect("nobody interrupts");
    assert!(events.is_empty(), "both run");
    failing.0.store(fault, Ordering::Relaxed);
    poll.poll(&mut events, Some(PATIENCE)).expect("nobody interrupts");
    assert!(!events.is_empty(), "the main thread is woken");
    for line in crew.lines() {
        line.tell(Command::Stop);
    }
    crew.join()
}

const WORKERS: usize = 2;

const CONFIG: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24"]

    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10/32"]

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    pool = "egress"
"#;

const LINKS: [Link; 2] = [
    Link { mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 },
    Link { mac: Mac([2, 0, 0, 0, 0, 2]), mtu: 1500 },
];

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SERVER_MAC: [u8; 6] = [2, 0xbb, 0, 0, 0, 2];
const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_worker_that_panics_under_traffic_is_named_and_all_end() {
    assert_eq!(dies(PANICS).message, "worker 1 has panicked");
}

#[test]
fn a_worker_whose_port_breaks_under_traffic_is_named_and_all_end() {
    let said = "worker 1: device `in0` is broken: it was pulled out";
    assert_eq!(dies(BREAKS).message, said);
}

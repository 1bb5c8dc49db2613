//! The worker's loop over ports that a test holds the other ends of.

mod wire;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use mio::Waker;
use mooring::run::clock::Clock;
use mooring::run::worker::{Adopted, Adoption, Command, Groups, Ports, Worker};
use mooring_engine::{Counters, DropReason, Engine, EventKind, Link, Supplies, Told};
use mooring_nat::Share;
use mooring_observe::query::{Answer, Query};
use mooring_policy::{Generation, InterfaceId, load};
use mooring_wire::Mac;

use crate::wire::{LOST, link};

/// A running worker with one interface, 10.0.0.1, and the host at the other end of its link.
struct Running {
    commands: Sender<Command>,
    waker: Waker,
    thread: JoinHandle<io::Result<()>>,
    host: UdpSocket,
}

impl Running {
    fn start() -> Self {
        let (receiver, transmitter, host) = link(&Arc::default(), PATIENCE);
        let policy = Arc::new(load(CONFIG).expect("a valid configuration").policy);
        let engine = Engine::new(policy, Generation(1), &[LINK], [7; 32]);
        let ports = Ports { rx: vec![receiver], tx: vec![transmitter] };
        let (commands, inbox) = bounded(8);
        let (worker, waker) =
            Worker::new(engine, ports, inbox, Clock::start()).expect("descriptors");
        Self { commands, waker, thread: thread::spawn(move || worker.run()), host }
    }

    /// Lets the worker work by `config`, and waits until it does.
    fn adopt(&self, config: &str, generation: u32) -> Groups {
        self.supply(config, generation, Supplies::none()).groups
    }

    /// The same with memory for it.
    fn supply(&self, config: &str, generation: u32, supplies: Supplies) -> Adopted {
        let policy = Arc::new(load(config).expect("a valid configuration").policy);
        let generation = Generation(generation);
        let adoption = Adoption { policy, generation, links: Arc::new([LINK]) };
        let (reply, answer) = bounded(1);
        let supplies = Box::new(supplies);
        self.commands.send(Command::Adopt(adoption, supplies, reply)).expect("the worker runs");
        self.waker.wake().expect("the worker runs");
        answer.recv_timeout(PATIENCE).expect("the worker answers in time")
    }

    /// Waits for the answer to an ARP request of ours: the address that it answers for.
    fn wait_for_answer(&self) -> [u8; 4] {
        let mut frame = [0; 2048];
        loop {
            let bytes = self.host.recv(&mut frame).expect("the worker answers in time");
            if bytes >= 42 && frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[5] == 0xbb
            {
                return [frame[28], frame[29], frame[30], frame[31]];
            }
        }
    }

    fn counters(&self) -> Counters {
        let (reply, answer) = bounded(1);
        self.commands.send(Command::Ask(Query::Counters, reply)).expect("the worker runs");
        self.waker.wake().expect("the worker runs");
        match answer.recv_timeout(PATIENCE).expect("the worker answers in time") {
            Answer::Counters(counters, _) => *counters,
            other => panic!("asked for counters, got {other:?}"),
        }
    }

    fn events(&self) -> Vec<Told> {
        let (reply, answer) = bounded(1);
        self.commands.send(Command::Ask(Query::Events(None), reply)).expect("the worker runs");
        self.waker.wake().expect("the worker runs");
        match answer.recv_timeout(PATIENCE).expect("the worker answers in time") {
            Answer::Events(page) => page.events,
            other => panic!("asked for events, got {other:?}"),
        }
    }

    fn stop(self) {
        self.commands.send(Command::Stop).expect("the worker runs");
        self.waker.wake().expect("the worker runs");
        self.thread.join().expect("no panic").expect("no broken port");
    }
}

const CONFIG: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24"]
"#;

const LINK: Link = Link { mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 };

/// From 10.0.0.2 at 02:aa:00:00:00:bb.
const ARP_REQUEST: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xaa, 0, 0, 0, 0xbb, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2,
    0xaa, 0, 0, 0, 0xbb, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
];

const PATIENCE: Duration = Duration::from_secs(20);

/// Readiness is edge-triggered: a worker that sleeps with frames still in the queue wakes 100 ms later.
#[test]
fn frames_that_cannot_be_read_are_counted_and_hold_up_nothing() {
    let running = Running::start();
    for round in 1..=5 {
        thread::sleep(Duration::from_millis(37));
        for _ in 0..100 {
            running.host.send(&[0]).expect("loopback");
        }
        running.host.send(&ARP_REQUEST).expect("loopback");
        assert_eq!(running.wait_for_answer(), [10, 0, 0, 1]);
        let counters = running.counters();
        assert_eq!(counters.interfaces[0].rx_unreadable, 100 * round);
        assert_eq!(counters.interfaces[0].rx_packets, round);
        assert_eq!(counters.interfaces[0].rx_lost, LOST);
    }
    running.stop();
}

#[test]
fn another_policy_is_acknowledged_and_its_addresses_are_answered_for() {
    let running = Running::start();
    let groups = running.adopt(&CONFIG.replace("10.0.0.1/24", "10.0.0.3/24"), 2);
    assert_eq!(groups, Groups::default(), "without IPv6 addresses there are none");
    let mut request = ARP_REQUEST;
    request[41] = 3;
    running.host.send(&ARP_REQUEST).expect("loopback");
    running.host.send(&request).expect("loopback");
    assert_eq!(running.wait_for_answer(), [10, 0, 0, 3], "10.0.0.1 is no longer ours");
    let both = CONFIG.replace("\"10.0.0.1/24\"", "\"10.0.0.1/24\", \"fd00:10::1/64\"");
    let groups = running.adopt(&both, 3);
    let solicited = Mac([0x33, 0x33, 0xff, 0, 0, 1]);
    assert!(groups.groups.contains(&(InterfaceId(0), solicited)), "{groups:?}");
    running.stop();
}

/// It makes none for what it is given, and frees none of what it is not to keep.
#[test]
fn memory_for_pools_comes_with_their_policy_and_goes_back_with_the_answer() {
    let running = Running::start();
    let of = |addresses: &str| {
        format!("{CONFIG}\n[[pool]]\nname = \"egress\"\naddresses = [\"{addresses}\"]\n")
    };
    let [none, one, all] = [CONFIG.to_owned(), of("203.0.113.10"), of("203.0.113.0/24")];
    let supplies = |from: &str, to: &str| {
        let policy = |text| load(text).expect("a valid configuration").policy;
        Supplies::between(&policy(from), &policy(to), Share::ALL)
    };
    let left = |config: &str, generation, supplies| {
        running.supply(config, generation, supplies).leftovers.addresses()
    };
    assert_eq!(left(&one, 2, supplies(&none, &one)), 0);
    assert_eq!(left(&all, 3, supplies(&one, &all)), 0, "it is in use");
    assert_eq!(left(&one, 4, supplies(&all, &one)), 255);
    assert_eq!(left(&one, 5, supplies(&one, &all)), 255, "nobody wanted it");
    running.stop();
}

#[test]
fn a_worker_that_nobody_can_reach_ends() {
    let Running { commands, thread, .. } = Running::start();
    drop(commands);
    thread.join().expect("no panic").expect("no broken port");
}

/// A UDP datagram of the host from this port to 192.0.2.7, without a UDP checksum.
fn datagram(from: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0xaa, 0, 0, 0, 0xbb, 8, 0];
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 192, 0, 2, 7]);
    let words = frame[14..].chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let sum = words.sum::<u32>();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([0x13, from, 0, 53, 0, 8, 0, 0]);
    frame
}

// RFC 6888 REQ-11 C: what runs short is told, by an event that stays for whoever asks later.
#[test]
fn a_pool_that_runs_short_is_an_event_that_every_reader_is_told_of() {
    let running = Running::start();
    let pool = "
        [[route]]
        destination = \"0.0.0.0/0\"
        via = \"10.0.0.9\"

        [[pool]]
        name = \"one-port\"
        addresses = [\"203.0.113.10\"]
        ports = 4000

        [[rule]]
        name = \"egress\"
        kind = \"source-nat\"
        pool = \"one-port\"
    ";
    running.adopt(&format!("{CONFIG}\n{pool}"), 2);
    for from in 1..4 {
        running.host.send(&datagram(from)).expect("loopback");
    }
    let exhausted = || running.counters().drops[DropReason::PortsExhausted as usize];
    let seen = (0..PATIENCE.as_millis() / 5).any(|_| {
        thread::sleep(Duration::from_millis(5));
        exhausted() == 2
    });
    assert!(seen, "{:?}", running.counters());
    let told = running.events();
    assert_eq!(told, running.events(), "asking takes nothing away");
    let [Told { number: 0, pool, event }] = &told[..] else { panic!("one for both: {told:?}") };
    assert_eq!(pool.as_deref(), Some("one-port"));
    assert_eq!(event.kind, EventKind::PortsExhausted);
    assert_eq!(event.inside, Some([10, 0, 0, 2].into()));
    assert_eq!(running.counters().events[EventKind::PortsExhausted as usize], 2);
    running.stop();
}

/// A worker that sleeps most of the time says so, and its one packet a batch.
#[test]
fn a_worker_tells_what_it_does_with_its_time() {
    let running = Running::start();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(40));
        running.host.send(&ARP_REQUEST).expect("loopback");
        assert_eq!(running.wait_for_answer(), [10, 0, 0, 1]);
    }
    let work = running.counters().work;
    assert_eq!((work.packets, work.batches[0]), (3, 3));
    assert!(work.busy_clocks > 0 && work.clocks > work.busy_clocks, "{work:?}");
    assert!(work.idle_share() > 0.5 && work.clocks_per_packet() > 1.0, "{work:?}");
    running.stop();
}

//! A whole engine that bytes drive: every sequence of bytes is a program of frames, waits and polls,
//! and whatever it does, what `checks` demands holds after each step. The property test feeds random
//! programs, the fuzzer (`tests/fuzz`) those that it thinks of.
//!
//! A step is a byte, whose low three bits say what happens:
//!
//! | bits | step                                             | more bytes                        |
//! |------|--------------------------------------------------|-----------------------------------|
//! | 0    | time passes; what waits to be walked is walked   | two: milliseconds, halved as often as bits 3 to 5 say; seconds when that is 7 |
//! | 1    | the engine is polled                             |                                   |
//! | 2    | the frames given so far are walked as one batch  |                                   |
//! | else | a frame; bit 3: outside, bits 4 to 7: `Template` | four for the template, one and more for damage: see `frames` |
//!
//! Bytes that are missing at the end are 0. At the very end all that lives times out.

mod checks;
mod frames;
mod input;
pub(crate) mod program;

use std::sync::{Arc, LazyLock};

use mooring_engine::{Counters, Engine, Link, Outbox, Verdict};
use mooring_packet::{Batch, BufferPool, Offload, Packet};
use mooring_policy::{Generation, InterfaceId, Policy, load};
use mooring_session::Tick;
use mooring_wire::Mac;

use self::frames::{Given, Memory};
use self::input::Input;

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every verdict and every byte that left, in order.
    pub(crate) log: Vec<u8>,
    /// What the engine counted.
    pub(crate) counters: Counters,
    /// Frames that left by each link.
    pub(crate) left: [u64; 2],
}

/// Runs a program.
///
/// # Panics
/// When something does not hold that must hold whatever happens.
pub(crate) fn run(program: &[u8]) -> Outcome {
    let mut input = Input::new(program);
    let mut world = World::new();
    while let Some(step) = input.step() {
        match step & 7 {
            0 => match (u64::from(input.word()), step >> 3 & 7) {
                (seconds, 7) => world.wait(seconds * 1000),
                (milliseconds, halved) => world.wait(milliseconds >> halved),
            },
            1 => world.poll(),
            2 => world.walk(),
            _ => {
                world.turn_to(InterfaceId(step >> 3 & 1));
                let given = frames::read(world.link, step >> 4, &mut input, &world.memory);
                world.given.push(given);
            }
        }
    }
    world.end()
}

struct World {
    engine: Engine,
    outbox: Outbox,
    now: Tick,
    /// Where the frames of the next batch come in.
    link: InterfaceId,
    given: Vec<Given>,
    memory: Memory,
    /// Packets given to the engine, and those that it said leave at once.
    walked: u64,
    left_at_once: u64,
    /// Packets that were dropped after they had waited.
    waited_in_vain: u64,
    outcome: Outcome,
}

impl World {
    /// An engine that knows most of its neighbours.
    fn new() -> Self {
        let engine = Engine::new(Arc::clone(&POLICY), Generation(1), &LINKS, [7; 32]);
        let counters = engine.counters.clone();
        let mut world = Self {
            engine,
            outbox: Outbox::new(BufferPool::new(SMALL, LARGE)),
            now: Tick::ZERO,
            link: INSIDE,
            given: Vec::new(),
            memory: Memory::default(),
            walked: 0,
            left_at_once: 0,
            waited_in_vain: 0,
            outcome: Outcome { log: Vec::new(), counters, left: [0; 2] },
        };
        for (link, frame) in frames::introductions() {
            world.turn_to(link);
            world.given.push(frame);
        }
        world.walk();
        world
    }

    /// The next frames come in by `link`.
    fn turn_to(&mut self, link: InterfaceId) {
        if link != self.link || self.given.len() >= LARGEST_BATCH {
            self.walk();
        }
        self.link = link;
    }

    /// Gives the frames to the engine, as one batch.
    fn walk(&mut self) {
        let given = std::mem::take(&mut self.given);
        if given.is_empty() {
            return;
        }
        let mut buffers: Vec<Vec<u8>> = given.iter().map(|given| given.frame.clone()).collect();
        let mut batch = Batch::new();
        for (buffer, given) in buffers.iter_mut().zip(&given) {
            let len = buffer.len();
            let packet = Packet::new(buffer, 0, len, given.offload);
            batch.push(packet).expect("a batch has room for as many");
        }
        let before = self.dropped();
        let verdicts = self.engine.process(self.now, self.link, &mut batch, &mut self.outbox);
        let dropped = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Drop(_)));
        self.waited_in_vain += self.dropped() - before - dropped.count() as u64;
        assert_eq!(verdicts.len(), given.len(), "every packet has one verdict");
        let forged = given.iter().any(|given| given.forged);
        for ((verdict, packet), given) in verdicts.iter().zip(batch.packets()).zip(&given) {
            self.outcome.log.extend(format!("{verdict:?} ").bytes());
            if let Verdict::Tx(egress) = *verdict {
                self.left_at_once += 1;
                if egress != self.link {
                    checks::translated(given, packet.bytes(), &LINKS[usize::from(egress.0)]);
                }
                self.leave(egress, packet.bytes(), packet.offload, forged);
            }
        }
        self.walked += given.len() as u64;
        self.memory.remember(self.link, given);
        self.empty_outbox(forged);
        self.check();
    }

    fn wait(&mut self, milliseconds: u64) {
        self.walk();
        self.now = Tick::from_millis(self.now.as_millis() + milliseconds);
    }

    /// Polls until nothing more is due.
    fn poll(&mut self) {
        self.walk();
        let mut more = true;
        while more {
            let before = self.dropped();
            more = self.engine.poll(self.now, &mut self.outbox);
            self.waited_in_vain += self.dropped() - before;
            self.empty_outbox(false);
        }
        self.check();
    }

    /// Transmits what is ready.
    fn empty_outbox(&mut self, forged: bool) {
        for link in [INSIDE, OUTSIDE] {
            let ready: Vec<(Vec<u8>, Offload)> = self
                .outbox
                .ready_for(link)
                .map(|packet| (packet.bytes().to_vec(), packet.offload))
                .collect();
            for (frame, offload) in ready {
                self.leave(link, &frame, offload, forged);
            }
        }
        self.outbox.clear();
    }

    /// What must hold between two steps.
    fn check(&self) {
        checks::buffers(&self.engine, &self.outbox, SMALL + LARGE);
        checks::tables(&self.engine, self.now);
        let counters = &self.engine.counters;
        let kept =
            self.left_at_once + counters.local + counters.held + counters.cut + counters.served;
        assert_eq!(self.walked, kept + self.dropped() - self.waited_in_vain, "counters add up");
    }

    fn dropped(&self) -> u64 {
        self.engine.counters.drops.iter().sum()
    }

    fn leave(&mut self, link: InterfaceId, frame: &[u8], offload: Offload, forged: bool) {
        checks::left(link, frame, offload, forged);
        self.outcome.left[usize::from(link.0)] += 1;
        self.outcome.log.extend((frame.len() as u32).to_be_bytes());
        self.outcome.log.extend(frame);
        self.memory.see(link, frame);
    }

    /// Lets all that lives come to its end: nothing is left behind.
    fn end(mut self) -> Outcome {
        self.poll();
        self.wait(LONGEST_TIMEOUT + 2_000);
        // A neighbour that somebody waits for is asked three times, a second apart.
        for _ in 0..5 {
            self.poll();
            self.wait(1_000);
        }
        checks::nothing_is_left(&self.engine, &self.outbox, (SMALL, LARGE));
        self.outcome.counters = self.engine.counters;
        self.outcome
    }
}

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);
const LINKS: [Link; 2] = [
    Link { mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 },
    Link { mac: Mac([2, 0, 0, 0, 0, 2]), mtu: 1400 },
];
/// Buffers of the outbox; few, so that they run out.
const SMALL: usize = 40;
const LARGE: usize = 2;
const LARGEST_BATCH: usize = 32;
const SESSIONS: usize = 32;
const SESSIONS_PER_SOURCE: usize = 6;
/// Of an established TCP connection, in milliseconds.
const LONGEST_TIMEOUT: u64 = 7_440_000;

/// Read once, for the fuzzer runs hundreds of programs a second.
static POLICY: LazyLock<Arc<Policy>> =
    LazyLock::new(|| Arc::new(load(CONFIG).expect("the policy of the test is valid").policy));

/// Few ports and sessions, so that they run out.
const CONFIG: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24", "fd00:10::1/64"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

    [[route]]
    destination = "0.0.0.0/0"
    via = "192.0.2.2"

    [[pool]]
    name = "egress"
    addresses = ["203.0.113.16/31"]
    ports = "30000-30003"

    [[rule]]
    name = "no-mail"
    kind = "drop"
    protocol = "tcp"
    destination_ports = "25"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["10.0.0.0/24"]
    pool = "egress"

    [limits]
    sessions = 32
    sessions_per_source = 6
    fragments = 4
"#;

//! One engine or two that bytes drive: every sequence of bytes is a program of frames, waits and polls,
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
//! | 3    | another policy decides: bits 3 and 4 say which of `policies`; as the very first step it also says by bit 7 whether there are two workers | |
//! | 4    | a frame; bit 3: outside, bits 4 to 7: `Template`, counted from the second sixteen | as below |
//! | else | a frame; bit 3: outside, bits 4 to 7: `Template` | four for the template, one and more for damage: see `frames` |
//!
//! Bytes that are missing at the end are 0. At the very end all that lives times out.

mod checks;
mod frames;
mod input;
mod policies;
pub(crate) mod program;
mod worker;

use std::collections::VecDeque;

use mooring_engine::{Counters, Link, Share, Stage, Verdict, WorkerId};
use mooring_packet::Offload;
use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;
use mooring_wire::ethernet::HEADER_LEN;

use self::frames::{Given, Memory};
use self::input::Input;
use self::policies::POLICIES;
use self::program::{TWO_WORKERS, Template};
use self::worker::{Arriving, Travelling, WAITED, Worker};

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every verdict and every byte that left, in order.
    pub(crate) log: Vec<u8>,
    /// What the engines counted, together.
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
    let two = program.first().is_some_and(|step| step & TWO_WORKERS == TWO_WORKERS);
    let mut world = World::new(if two { 2 } else { 1 });
    while let Some(step) = input.step() {
        match step & 7 {
            0 => match (u64::from(input.word()), step >> 3 & 7) {
                (seconds, 7) => world.wait(seconds * 1000),
                (milliseconds, halved) => world.wait(milliseconds >> halved),
            },
            1 => world.poll(),
            2 => world.walk(),
            3 => world.change_policy(usize::from(step >> 3 & 7)),
            kind => {
                world.turn_to(InterfaceId(step >> 3 & 1));
                let template = usize::from(step >> 4) + if kind == 4 { 16 } else { 0 };
                let template = Template::ALL[template % Template::ALL.len()];
                let given = frames::read(world.link, template, &mut input, &world.memory);
                world.given.push(given);
            }
        }
    }
    world.end()
}

struct World {
    workers: Vec<Worker>,
    now: Tick,
    /// Where the frames of the next batch come in.
    link: InterfaceId,
    given: Vec<Given>,
    memory: Memory,
    batches: usize,
    /// Sessions of a policy before may still be there.
    sweeping: bool,
    /// A policy has changed before the sweep after the one before was done. What that one did not want
    /// may be wanted again, beside what has begun in between: an inside end may have two outside ends.
    unswept: bool,
    outcome: Outcome,
}

/// Packets on their way to a worker.
struct Leg {
    to: usize,
    arriving: Arriving,
    packets: Vec<Travelling>,
}

impl World {
    /// Engines that know most of their neighbours.
    fn new(workers: u8) -> Self {
        let share = |worker| Share::new(worker, workers).expect("one of them");
        let workers: Vec<Worker> =
            (0..workers).map(|worker| Worker::new(share(worker), &POLICIES[0])).collect();
        let counters = Counters::new(LINKS.len());
        let mut world = Self {
            workers,
            now: Tick::ZERO,
            link: INSIDE,
            given: Vec::new(),
            memory: Memory::default(),
            batches: 0,
            sweeping: false,
            unswept: false,
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

    /// Gives the frames to a worker, as one batch, and what it hands over to the other.
    fn walk(&mut self) {
        let given = std::mem::take(&mut self.given);
        if given.is_empty() {
            return;
        }
        let packet = |(number, given): (usize, &Given)| Travelling {
            bytes: given.frame.clone(),
            offload: given.offload,
            number,
        };
        let packets: Vec<Travelling> = given.iter().enumerate().map(packet).collect();
        let arriving = Arriving { ingress: self.link, handed: None };
        let mut legs =
            VecDeque::from([Leg { to: self.batches % self.workers.len(), arriving, packets }]);
        self.batches += 1;
        let mut walked = 0;
        while let Some(leg) = legs.pop_front() {
            walked += leg.packets.iter().filter(|packet| packet.number != WAITED).count();
            assert!(walked <= LEGS * given.len(), "a packet is handed over a few times at most");
            self.walk_leg(leg, &given, &mut legs);
        }
        self.memory.remember(self.link, given);
        self.check();
    }

    /// One worker's part of the way of some packets.
    fn walk_leg(&mut self, leg: Leg, given: &[Given], legs: &mut VecDeque<Leg>) {
        let Leg { to: at, arriving, mut packets } = leg;
        let forged = given.iter().any(|given| given.forged);
        let verdicts = self.workers[at].walk(self.now, arriving, &mut packets);
        let mut hand = |to: usize, stage, packet: &Travelling| {
            let arriving = Arriving { handed: Some(stage), ..arriving };
            legs.push_back(Leg { to, arriving, packets: vec![packet.clone()] });
        };
        for (verdict, packet) in verdicts.iter().zip(&packets) {
            self.outcome.log.extend(format!("{verdict:?} ").bytes());
            match *verdict {
                Verdict::Tx(egress) => {
                    if egress != self.link && packet.number != WAITED {
                        let link = &LINKS[usize::from(egress.0)];
                        let left = (&packet.bytes[..], packet.offload);
                        checks::translated(&given[packet.number], left, link);
                    }
                    self.leave(at, egress, &packet.bytes, packet.offload, forged);
                }
                Verdict::HandOver(WorkerId(to)) => hand(to.into(), Stage::Arrived, packet),
                Verdict::HandOverHalf(WorkerId(to)) => hand(to.into(), Stage::Half, packet),
                Verdict::ToAll => (0..self.workers.len())
                    .filter(|&other| other != at)
                    .for_each(|other| hand(other, Stage::Arrived, packet)),
                Verdict::Service(_) => self.serve(at, packet),
                Verdict::Local | Verdict::Hold | Verdict::Cut | Verdict::Drop(_) => {}
            }
        }
        self.hand_over(at, legs);
        self.empty_outbox(at, forged);
    }

    /// What a worker has in its outbox for others.
    fn hand_over(&mut self, at: usize, legs: &mut VecDeque<Leg>) {
        for (to, arriving, packet) in self.workers[at].handed() {
            legs.push_back(Leg { to, arriving, packets: vec![packet] });
        }
    }

    /// A service of ours that sends back what it gets.
    fn serve(&mut self, at: usize, packet: &Travelling) {
        let mut answer = packet.bytes[HEADER_LEN..].to_vec();
        frames::turn_round(&mut answer);
        let worker = &mut self.workers[at];
        let sent = worker.engine.send_ip(self.now, &answer, Offload::NONE, &mut worker.outbox);
        self.outcome.log.extend(format!("{sent:?} ").bytes());
    }

    fn wait(&mut self, milliseconds: u64) {
        self.walk();
        self.now = Tick::from_millis(self.now.as_millis() + milliseconds);
    }

    /// From now on policy `number` decides.
    fn change_policy(&mut self, number: usize) {
        self.walk();
        for at in 0..self.workers.len() {
            self.workers[at].change_policy(&POLICIES[number], self.now);
            self.empty_outbox(at, false);
        }
        self.workers.iter_mut().for_each(Worker::all_follow);
        self.unswept |= self.sweeping;
        self.sweeping = true;
        self.check();
    }

    /// Polls until nothing more is due.
    fn poll(&mut self) {
        self.walk();
        for at in 0..self.workers.len() {
            let mut legs = VecDeque::new();
            let mut more = true;
            while more {
                more = self.workers[at].poll(self.now);
                self.hand_over(at, &mut legs);
                self.empty_outbox(at, false);
            }
            while let Some(leg) = legs.pop_front() {
                self.walk_leg(leg, &[], &mut legs);
            }
        }
        self.sweeping = false;
        self.check();
    }

    /// Transmits what is ready.
    fn empty_outbox(&mut self, at: usize, forged: bool) {
        for link in [INSIDE, OUTSIDE] {
            for (frame, offload) in self.workers[at].ready(link) {
                self.leave(at, link, &frame, offload, forged);
            }
        }
        self.workers[at].outbox.clear();
    }

    /// What must hold between two steps.
    fn check(&self) {
        self.workers.iter().for_each(Worker::check);
        let engines = self.workers.iter().map(|worker| &worker.engine);
        checks::tables(engines, self.now, self.sweeping || self.unswept);
    }

    fn leave(
        &mut self,
        at: usize,
        link: InterfaceId,
        frame: &[u8],
        offload: Offload,
        forged: bool,
    ) {
        let policy = self.workers[at].engine.policy().0;
        checks::left((policy, link), frame, offload, forged);
        self.outcome.left[usize::from(link.0)] += 1;
        self.outcome.log.extend((frame.len() as u32).to_be_bytes());
        self.outcome.log.extend(frame);
        self.memory.see(link, frame);
    }

    /// Lets all that lives come to its end: nothing is left behind.
    fn end(mut self) -> Outcome {
        self.poll();
        self.wait(LONGEST_TIMEOUT + 2_000);
        // A neighbour that somebody waits for is asked three times, a second apart; but announcements
        // of policies go first, and buffers are few.
        for _ in 0..20 {
            self.poll();
            self.wait(1_000);
        }
        for worker in &self.workers {
            checks::nothing_is_left(&worker.engine, &worker.outbox, (SMALL, LARGE));
            add(&mut self.outcome.counters, &worker.engine.counters);
        }
        self.outcome
    }
}

/// What another engine has counted, too. What interfaces count comes from ports; there are none here.
pub(crate) fn add(sum: &mut Counters, other: &Counters) {
    let Counters {
        interfaces: _,
        drops,
        local,
        handed_over,
        served,
        held,
        cut,
        translated,
        sessions_created,
        sessions_expired,
        sessions_ended,
        transitory_ended,
        originated,
        conflicts,
        work,
        events,
        events_lost,
    } = other;
    for (sum, counted) in sum.drops.iter_mut().zip(drops) {
        *sum += counted;
    }
    for (sum, counted) in sum.events.iter_mut().zip(events) {
        *sum += counted;
    }
    sum.events_lost += events_lost;
    sum.local += local;
    sum.handed_over += handed_over;
    sum.served += served;
    sum.held += held;
    sum.cut += cut;
    sum.translated += translated;
    sum.sessions_created += sessions_created;
    sum.sessions_expired += sessions_expired;
    sum.sessions_ended += sessions_ended;
    sum.transitory_ended += transitory_ended;
    sum.originated += originated;
    sum.conflicts += conflicts;
    for (sum, counted) in sum.work.batches.iter_mut().zip(work.batches) {
        *sum += counted;
    }
    sum.work.packets += work.packets;
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
/// As often as a packet of a batch may be walked: copies of it go to all, pieces are handed over twice.
const LEGS: usize = 5;
/// Of each family.
const SESSIONS: usize = 32;
const SESSIONS_PER_SOURCE: usize = 6;
/// Of an established TCP connection, in milliseconds.
const LONGEST_TIMEOUT: u64 = 7_440_000;

//! Whatever frames come in whatever order: what must always hold, holds, and the same program does
//! the same again.

mod corpus;
mod driver;

use mooring_engine::{Counters, DropReason};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::driver::program::{Program, Template};
use self::driver::{add, run};

/// Random programs reach every reason to drop, in both directions, and all that is counted.
#[test]
fn hold_for_random_programs() {
    let mut reached = Counters::new(2);
    let mut left = [0; 2];
    for seed in 0..PROGRAMS {
        let program = if seed % 2 == 0 { random_program(seed) } else { likely_program(seed) };
        let outcome = run(&program);
        add(&mut reached, &outcome.counters);
        left = [left[0] + outcome.left[0], left[1] + outcome.left[1]];
    }
    let never: Vec<_> =
        DropReason::ALL.into_iter().filter(|reason| reached.dropped(*reason) == 0).collect();
    assert_eq!(never, UNREACHABLE, "otherwise the programs prove little");
    let happened = [
        reached.held,
        reached.conflicts,
        reached.originated,
        reached.sessions_expired,
        reached.translated,
    ];
    assert!(happened.iter().all(|&times| times > 1_000), "{reached:?}");
    assert!(left.iter().all(|&frames| frames > 10_000), "{left:?}");
}

/// The same under every policy, with changes between them, by one worker and by two, in both families.
#[test]
fn hold_for_every_policy_and_two_workers() {
    let mut reached = Counters::new(2);
    for seed in 0..VARIED_PROGRAMS {
        add(&mut reached, &run(&varied_program(seed)).counters);
    }
    let happened = [
        reached.translated,
        reached.handed_over,
        reached.served,
        reached.sessions_ended,
        reached.dropped(DropReason::Filtered),
    ];
    assert!(happened.iter().all(|&times| times > 100), "{happened:?}");
    let refused = [
        DropReason::Denied,
        DropReason::HalfOpenLimit,
        DropReason::PoolLimit,
        DropReason::SessionRateLimit,
    ]
    .map(|reason| reached.dropped(reason));
    assert!(refused.iter().all(|&times| times > 20), "{refused:?}");
}

#[test]
fn the_same_program_does_the_same_again() {
    for seed in 0..20 {
        for program in [likely_program(seed), varied_program(seed)] {
            assert!(run(&program) == run(&program), "program {seed}");
        }
    }
}

/// A program of frames that could be: flows begin, are answered and end.
fn likely_program(seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Some under a policy that limits what the first one does not.
    let mut program = match seed / 2 % 10 {
        number @ 0..3 => Program::default().policy(number as u8 + 1),
        _ => Program::default(),
    };
    for _ in 0..400 {
        let [choice, hosts, port, flags] = (random.next_u32() & NOT_FORGED).to_be_bytes();
        let arguments = [hosts, port, flags & 3, 20];
        program = match choice & 31 {
            0..4 => program.inside(Template::Udp, arguments),
            4..6 => program.inside(Template::Piece, [hosts, port & 15, flags, 0]),
            6..9 => program.inside(Template::Tcp, [hosts, port, SYN | flags & 3, 0]),
            9..11 => program.inside(Template::Tcp, [hosts, port, flags, 0]),
            11..13 => program.inside(Template::Ping, arguments),
            13..17 => program.outside(Template::Answer, [hosts & 7, 0, SYN_ACK, 0]),
            17..19 => program.inside(Template::Answer, [hosts & 7, 0, flags, 0]),
            19 => program.outside(Template::Error, [hosts & 7, port & 3, flags, 9]),
            20 => program.inside(Template::Error, [hosts & 7, port & 3, flags, 9]),
            21..23 => program.outside(Template::ArpAnswer, [0; 4]),
            23..25 => program.inside(Template::ArpAnswer, [0; 4]),
            25 => program.outside(Template::PingUs, arguments),
            26 => program.outside(Template::Udp, arguments),
            27 => program.inside(Template::Long, [hosts, port, flags, 10]),
            28..30 => program.walk(),
            30 => program.wait_seconds(u16::from(port & 15)),
            _ => program.poll(),
        };
    }
    program.as_bytes().to_vec()
}

/// A program of frames that could be, under changing policies.
fn varied_program(seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let first = (seed >> 1 & 7) as u8;
    let mut program = match seed & 1 {
        0 => Program::default().policy(first),
        _ => Program::two_workers(first),
    };
    for _ in 0..300 {
        let [choice, hosts, port, flags] = (random.next_u32() & NOT_FORGED).to_be_bytes();
        let (arguments, answered) = ([hosts, port, flags & 3, 20], [hosts & 7, 0, SYN_ACK, 0]);
        // Of few datagrams, so that they meet.
        let pieces = [hosts & 1, 0, flags & 0x3c, 0];
        program = match choice & 63 {
            0..4 => program.inside(Template::Udp, arguments),
            4..8 => program.inside(Template::Tcp, [hosts, port, SYN | flags & 3, 0]),
            8..11 => program.inside(Template::UdpV6, arguments),
            11..14 => program.inside(Template::TcpV6, [hosts, port, SYN | flags & 3, 0]),
            14..16 => program.inside(Template::PingV6, arguments),
            16..20 => program.outside(Template::Answer, answered),
            20..24 => program.outside(Template::AnswerV6, answered),
            24..26 => program.inside(Template::Answer, [hosts & 7, 0, flags, 0]),
            26 => program.inside(Template::AnswerV6, [hosts & 7, 0, flags, 0]),
            27 => program.outside(Template::Error, [hosts & 7, port & 3, flags, 9]),
            28 => program.outside(Template::ErrorV6, [hosts & 7, port & 3, flags, 9]),
            29 => program.inside(Template::ErrorV6, [hosts & 7, port & 3, flags, 9]),
            30..34 => program.outside(Template::Forwarded, [hosts, port & 15, SYN | flags & 3, 0]),
            34..36 => program.inside(Template::Forwarded, [hosts, port & 15, SYN | flags & 3, 0]),
            36..38 => program.outside(Template::Static, arguments),
            38 => program.inside(Template::Static, arguments),
            39..44 => program.inside(Template::Hairpin, arguments),
            44..46 => program.outside(Template::Hairpin, arguments),
            46..48 => program.inside(Template::Piece, pieces),
            48 => program.outside(Template::UdpV6, arguments),
            49 => program.outside(Template::Udp, arguments),
            50..52 => program.inside(Template::ArpAnswer, [0; 4]),
            52 => program.outside(Template::ArpAnswer, [0; 4]),
            53 => program.outside(Template::Ndp, [0, port, flags, 0]),
            54 => program.policy(port & 7),
            55..57 => program.wait_seconds(u16::from(port & 15)),
            57..59 => program.poll(),
            59..61 => program.inside(Template::PieceV6, pieces),
            _ => program.walk(),
        };
    }
    program.as_bytes().to_vec()
}

fn random_program(seed: u64) -> Vec<u8> {
    let mut program = vec![0; 3_000];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut program);
    program
}

const PROGRAMS: u64 = 220;
const VARIED_PROGRAMS: u64 = 200;
const NOT_FORGED: u32 = 0xff7f_ffff;
const SYN: u8 = 2 << 2;
const SYN_ACK: u8 = 0x12 << 2;

/// The policy is of a file, hand-overs are the worker's, no kernel is beside us, and there are fewer
/// hosts than entries for neighbours.
const UNREACHABLE: [DropReason; 5] = [
    DropReason::AddressNotHeld,
    DropReason::HandOverFull,
    DropReason::KernelAddress,
    DropReason::NeighborTableFull,
    DropReason::OutOfWindow,
];

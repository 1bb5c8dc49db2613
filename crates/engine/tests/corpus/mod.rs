//! The programs that the fuzzer begins with (`tests/fuzz/corpus/engine`), and what each reaches.
//! `BLESS=1 cargo test -p mooring-engine --test invariants` writes the files.

use std::fs;
use std::path::PathBuf;

use mooring_engine::{Counters, DropReason};

use crate::driver::program::{Program, Template};
use crate::driver::run;

/// A program, and whether it did what its name says.
struct Seed {
    name: &'static str,
    program: Program,
    reached: &'static dyn Fn(&Counters) -> bool,
}

fn seeds() -> Vec<Seed> {
    let flows = [
        Seed {
            name: "udp-answered",
            program: begin(Template::Udp, 0).outside(Template::Answer, [0, 0, 0, 0]).walk(),
            reached: &|counters| counters.sessions_created == 1 && counters.translated == 2,
        },
        Seed {
            name: "tcp-opened-and-closed",
            program: tcp_opened().inside(Template::Answer, [0, 0, FIN_ACK, 0]).walk(),
            reached: &|counters| counters.sessions_created == 1 && counters.translated == 4,
        },
        Seed {
            name: "ping-answered",
            program: begin(Template::Ping, 0).outside(Template::Answer, [0, 0, 0, 0]).walk(),
            reached: &|counters| counters.sessions_created == 1 && counters.translated == 2,
        },
        Seed {
            name: "super-packets",
            program: tcp_opened()
                .offloaded(Template::Long, [0, 0, ACK, 90], 1)
                .offloaded(Template::Long, [0, 0, ACK, 200], 1)
                .walk(),
            reached: &|counters| {
                counters.translated == 4 && counters.dropped(DropReason::TooBig) == 1
            },
        },
        Seed {
            name: "pieces",
            program: pieces(Program::default(), Template::Piece, &SCATTERED)
                .walk()
                .wait_seconds(3)
                .poll(),
            reached: &|counters| {
                counters.translated == 5
                    && counters.dropped(DropReason::FragmentDuplicate) == 1
                    && counters.dropped(DropReason::FragmentUntranslated) == 1
            },
        },
        Seed {
            name: "again-and-too-late",
            program: begin(Template::Udp, 0)
                .inside(Template::Again, [0, 0, 0, 0])
                .wait_seconds(302)
                .poll()
                .outside(Template::Answer, [0, 0, 0, 0])
                .walk(),
            reached: &|counters| {
                counters.translated == 2 && counters.dropped(DropReason::NoSession) == 1
            },
        },
    ];
    flows.into_iter().chain(errors()).chain(neighbours()).chain(limits()).chain(kinds()).collect()
}

fn errors() -> [Seed; 3] {
    [
        Seed {
            name: "error-inward",
            program: begin(Template::Udp, 0).outside(Template::Error, [0, 3, 0, 12]).walk(),
            reached: &|counters| counters.translated == 2,
        },
        Seed {
            name: "error-outward",
            program: begin(Template::Udp, 0)
                .outside(Template::Answer, [0, 0, 0, 0])
                .inside(Template::Error, [0, 0, 0, 12])
                .walk(),
            reached: &|counters| counters.translated == 3,
        },
        Seed {
            name: "time-exceeded",
            program: Program::default().inside(Template::Udp, [0, TTL_1, 0, 4]).walk(),
            reached: &|counters| {
                counters.originated == 1 && counters.dropped(DropReason::TtlExpired) == 1
            },
        },
    ]
}

fn neighbours() -> [Seed; 5] {
    let to_near_host = [0x50, 0, 0, 4];
    [
        Seed {
            name: "held-and-released",
            program: Program::default()
                .inside(Template::Udp, [0x60, 0, 0, 4])
                .walk()
                .outside(Template::ArpAnswer, [0; 4])
                .walk(),
            reached: &|counters| counters.held == 1 && counters.local >= 7,
        },
        Seed {
            name: "held-in-vain",
            program: (0..4).fold(
                Program::default().inside(Template::Udp, [0x60, 0, 0, 4]).walk(),
                |program, _| program.wait_seconds(1).poll(),
            ),
            reached: &|counters| counters.dropped(DropReason::NeighborUnresolved) == 1,
        },
        Seed {
            name: "moved-and-probed",
            program: Program::default()
                .inside(Template::Udp, to_near_host)
                .walk()
                .wait_seconds(40)
                .poll()
                .outside(Template::ArpAnswer, [0x80, 0, 0, 0])
                .inside(Template::Udp, to_near_host)
                .walk(),
            reached: &|counters| counters.translated == 2,
        },
        Seed {
            name: "asked-and-contradicted",
            program: Program::default()
                .outside(Template::ArpQuestion, [0, 0, 3, 0])
                .outside(Template::ArpQuestion, [0, 10, 6, 0])
                .outside(Template::Ndp, [0, 0, 0, 0])
                .outside(Template::Ndp, [0, 0, 1, 0])
                .inside(Template::ArpQuestion, [0, 0, 3, 0])
                .walk(),
            reached: &|counters| {
                counters.conflicts == 2 && counters.dropped(DropReason::NotForUs) == 1
            },
        },
        Seed {
            name: "pings-to-us",
            program: (0..4)
                .fold(Program::default(), |program, ours| {
                    program.outside(Template::PingUs, [0, 0, ours, 0])
                })
                .outside(Template::PingUsV6, [0, 0, 0, 8])
                .walk(),
            reached: &|counters| {
                counters.originated == 4 && counters.dropped(DropReason::NoService) == 1
            },
        },
    ]
}

fn limits() -> [Seed; 3] {
    [
        Seed {
            name: "ports-and-sources-exhausted",
            program: (0..16).fold(Program::default(), |program, port| {
                let template = if port < 6 { Template::Udp } else { Template::Ping };
                program.inside(template, [0, port, 0, 4])
            }),
            reached: &|counters| {
                counters.dropped(DropReason::PortsExhausted) == 2
                    && counters.dropped(DropReason::SourceLimit) == 8
            },
        },
        Seed {
            name: "table-full",
            program: (0..48).fold(Program::default(), |program, n| {
                program.inside(Template::Ping, [n & 7, n >> 3, 0, 4])
            }),
            reached: &|counters| counters.dropped(DropReason::TableFull) == 16,
        },
        Seed {
            name: "damaged",
            program: begin(Template::Udp, 0)
                .damaged(Template::Udp, [0, 0, 0, 8], 16, 0xff)
                .damaged(Template::Udp, [0, 0, 0, 8], 0x8000 | 33, 0)
                .damaged(Template::Tcp, [0, 1, ACK, 8], 46, 0xf0)
                .inside(Template::Piece, [0, 0, 2, 9])
                .inside(Template::Other, [0, 0, 4, 0])
                .inside(Template::Martian, [0, 0, 1, 9])
                .inside(Template::Raw, [0, 0, 0, 0])
                .outside(Template::Udp, [7, 0, 0, 4])
                .raw(&[0xff])
                .walk(),
            reached: &|counters| {
                counters.dropped(DropReason::Malformed) == 5
                    && counters.dropped(DropReason::NoRule) == 1
                    && counters.dropped(DropReason::IpOption) == 1
            },
        },
    ]
}

/// What the other policies have: 1 is every kind of rule, 2 maps by endpoint, 3 filters by address.
fn kinds() -> [Seed; 8] {
    let under = |number| Program::default().policy(number);
    let by_host = |host, port| [host, port, 0, 4];
    [
        Seed {
            name: "v6-answered-and-in-error",
            program: under(1)
                .inside(Template::UdpV6, [0; 4])
                .outside(Template::AnswerV6, [0; 4])
                .outside(Template::ErrorV6, [0, 3, 0, 12])
                .walk(),
            reached: &|counters| counters.sessions_created == 1 && counters.translated == 3,
        },
        Seed {
            name: "pieces-v6",
            program: pieces(
                pieces(under(1), Template::PieceV6, &SCATTERED)
                    .walk()
                    .outside(Template::AnswerV6, [0; 4])
                    .walk()
                    .wait_seconds(3)
                    .poll(),
                Template::PieceV6,
                &IN_ORDER,
            ),
            reached: &|counters| {
                counters.translated == 9
                    && counters.dropped(DropReason::FragmentDuplicate) == 1
                    && counters.dropped(DropReason::FragmentUntranslated) == 1
            },
        },
        Seed {
            name: "forwarded-and-static",
            program: under(1)
                .outside(Template::Forwarded, [0, 0, SYN, 0])
                .outside(Template::Static, by_host(0, 0))
                .inside(Template::Answer, [0; 4])
                .walk(),
            reached: &|counters| counters.sessions_created == 2 && counters.translated == 3,
        },
        Seed {
            name: "service-answers",
            program: under(1).outside(Template::Forwarded, [0, 12, SYN, 0]).walk(),
            reached: &|counters| counters.served == 1,
        },
        Seed {
            name: "hairpin",
            program: under(1)
                .inside(Template::Udp, by_host(0, 0))
                .walk()
                .inside(Template::Hairpin, by_host(0, 1))
                .walk(),
            reached: &|counters| counters.sessions_created == 3 && counters.translated == 3,
        },
        Seed {
            name: "hairpin-between-workers",
            program: (0..4).fold(
                Program::two_workers(1).inside(Template::Udp, by_host(0, 0)).walk(),
                |program, host| program.inside(Template::Hairpin, by_host(0, host)).walk(),
            ),
            reached: &|counters| counters.handed_over > 0 && counters.translated > 5,
        },
        Seed {
            name: "filtered-by-address",
            program: under(3)
                .inside(Template::Udp, by_host(0, 0))
                .walk()
                .outside(Template::Hairpin, by_host(0, 0))
                .outside(Template::Hairpin, by_host(0, 1))
                .walk(),
            reached: &|counters| {
                counters.translated == 2 && counters.dropped(DropReason::Filtered) == 1
            },
        },
        Seed {
            name: "another-policy",
            program: [2, 0, 1, 3].into_iter().fold(under(1), |program, number| {
                program
                    .inside(Template::Udp, [0; 4])
                    .inside(Template::UdpV6, [0; 4])
                    .policy(number)
                    .inside(Template::Again, [0; 4])
                    .walk()
            }),
            reached: &|counters| counters.sessions_ended > 2,
        },
    ]
}

/// Pieces of the first host, by their `c`.
fn pieces(program: Program, template: Template, pieces: &[u8]) -> Program {
    pieces.iter().fold(program, |program, &piece| program.inside(template, [0, 0, piece, 0]))
}

/// A flow of the first host, whose first packet has left.
fn begin(template: Template, flags: u8) -> Program {
    Program::default().inside(template, [0, 0, flags, 8]).walk()
}

/// A connection whose first three segments have gone.
fn tcp_opened() -> Program {
    begin(Template::Tcp, SYN)
        .outside(Template::Answer, [0, 0, SYN_ACK, 0])
        .inside(Template::Answer, [0, 0, ACK, 0])
        .walk()
}

#[test]
fn each_seed_reaches_what_its_name_says() {
    for seed in seeds() {
        let outcome = run(seed.program.as_bytes());
        assert!((seed.reached)(&outcome.counters), "{}: {:?}", seed.name, outcome.counters);
    }
}

#[test]
fn the_committed_corpus_is_what_is_written_here() {
    let corpus =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/engine"));
    for seed in seeds() {
        let path = corpus.join(seed.name);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, seed.program.as_bytes()).expect("the corpus can be written");
        }
        let committed = fs::read(&path).unwrap_or_default();
        assert_eq!(committed, seed.program.as_bytes(), "{}: write it with BLESS=1", seed.name);
    }
}

const SYN: u8 = 0x02 << 2;
const SYN_ACK: u8 = 0x12 << 2;
const ACK: u8 = 0x10 << 2;
const FIN_ACK: u8 = 0x11 << 2;
const TTL_1: u8 = 0xf0;
/// A datagram in four pieces, the first one last; a piece twice; one whose first piece never comes.
const SCATTERED: [u8; 7] = [0x1c, 0x08, 0x04, 0x00, 0x20, 0x20, 0x44];
/// A datagram in three pieces.
const IN_ORDER: [u8; 3] = [0x60, 0x64, 0x78];

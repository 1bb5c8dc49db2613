//! Hairpins whose two hosts have different workers: whatever becomes of a packet, the sender cannot tell
//! how many workers there are.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use mooring_packet::offload::GsoKind;
use mooring_packet::{Batch, Offload, Packet};
use mooring_policy::InterfaceId;
use mooring_wire::ethernet::HEADER_LEN;

use super::v6;
use crate::test_bench::frames::inside;
use crate::test_bench::{Bench, HOST, HOST_MAC, INSIDE, POOL, SERVER, config_with};
use crate::{DropReason, HandOver, Share, Stage, Verdict, WorkerId};

/// The workers of one appliance, with what they hand over, and what has left.
struct Crew {
    benches: Vec<Bench>,
    words: VecDeque<(usize, Stage, Vec<u8>, Offload)>,
    left: Vec<(InterfaceId, Vec<u8>)>,
    /// Errors and refusals that went from worker to worker.
    across: [usize; 2],
}

impl Crew {
    fn new(of: u8, more: &str) -> Self {
        let config = config_with(&format!("{RULES}\n[limits]\nsessions = 1000\n{more}"));
        let ready = |worker| {
            let share = Share::new(worker, of).expect("one of them");
            let mut bench = Bench::ready_as(share, &config);
            v6::introduce_to_one_of_several(&mut bench);
            bench.learn(INSIDE, TARGET, HOST_MAC);
            bench.engine.counters = crate::Counters::new(2);
            bench
        };
        let benches = (0..of).map(ready).collect();
        Self { benches, words: VecDeque::new(), left: Vec::new(), across: [0; 2] }
    }

    /// Frames come from inside to a worker, in one batch; what becomes of each in the end. What workers
    /// have to say to each other waits.
    fn arrive(&mut self, at: usize, frames: &[Vec<u8>], offload: Offload) -> Vec<Verdict> {
        let mut all: Vec<_> =
            frames.iter().map(|frame| (at, None, frame.clone(), offload)).collect();
        let mut done = Vec::new();
        while !all.is_empty() {
            let mut later = Vec::new();
            for (at, stage, frame, offload) in all {
                let (verdict, frame, offload) = self.walk(at, stage, frame, offload);
                match verdict {
                    Verdict::HandOver(WorkerId(to)) => {
                        later.push((to.into(), Some(Stage::Arrived), frame, offload));
                    }
                    Verdict::HandOverHalf(WorkerId(to)) => {
                        later.push((to.into(), Some(Stage::Half), frame, offload));
                    }
                    _ => done.push(verdict),
                }
            }
            all = later;
        }
        done
    }

    /// One worker's part of the way of a packet.
    fn walk(
        &mut self,
        at: usize,
        stage: Option<Stage>,
        mut frame: Vec<u8>,
        offload: Offload,
    ) -> (Verdict, Vec<u8>, Offload) {
        let bench = &mut self.benches[at];
        let len = frame.len();
        let mut batch = Batch::new();
        batch.push(Packet::new(&mut frame, 0, len, offload)).expect("the batch is empty");
        let (engine, outbox, now) = (&mut bench.engine, &mut bench.outbox, bench.now);
        let verdicts = match stage {
            None => engine.process(now, INSIDE, &mut batch, outbox),
            Some(stage) => {
                engine.process_handed(now, (INSIDE, stage == Stage::Half), &mut batch, outbox)
            }
        };
        let (bytes, offload) = (batch.packets()[0].bytes().to_vec(), batch.packets()[0].offload);
        if let Verdict::Tx(egress) = verdicts[0] {
            self.left.push((egress, bytes.clone()));
        }
        self.collect(at);
        (verdicts[0], bytes, offload)
    }

    /// What a worker has in its outbox.
    fn collect(&mut self, at: usize) {
        let bench = &mut self.benches[at];
        for (HandOver { to, ingress, stage }, packet) in bench.outbox.handed() {
            assert_eq!(ingress, INSIDE);
            self.across[usize::from(stage == Stage::Refused)] += 1;
            let (bytes, offload) = (packet.bytes().to_vec(), packet.offload);
            self.words.push_back((to.0.into(), stage, bytes, offload));
        }
        self.left.extend(bench.sent());
    }

    /// The workers hear what they have to say to each other.
    fn listen(&mut self) {
        while let Some((at, stage, mut frame, offload)) = self.words.pop_front() {
            if stage != Stage::Refused {
                let (verdict, ..) = self.walk(at, Some(stage), frame, offload);
                assert_eq!(verdict, Verdict::Tx(INSIDE));
                continue;
            }
            let bench = &mut self.benches[at];
            let len = frame.len();
            let mut batch = Batch::new();
            batch.push(Packet::new(&mut frame, 0, len, offload)).expect("the batch is empty");
            bench.engine.take_halves_back(bench.now, &batch);
            assert_eq!(bench.sent(), []);
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        for at in 0..self.benches.len() {
            self.benches[at].pass(milliseconds);
            self.collect(at);
        }
        self.listen();
    }

    /// All that can be told of it from without, but the questions about neighbours.
    fn outcome(&mut self, verdicts: Vec<Verdict>) -> Outcome {
        self.listen();
        let left = std::mem::take(&mut self.left);
        let is_ip = |frame: &[u8]| match frame[12..14] {
            [8, 0] => true,
            [0x86, 0xdd] => frame[54] < 133 || frame[20] != 58,
            _ => false,
        };
        let engines = || self.benches.iter().map(|bench| &bench.engine);
        let drops = DropReason::ALL.into_iter().map(|reason| {
            (reason, engines().map(|engine| engine.counters.dropped(reason)).sum::<u64>())
        });
        Outcome {
            verdicts,
            left: left.into_iter().filter(|(_, frame)| is_ip(frame)).collect(),
            drops: drops.filter(|(_, times)| *times > 0).collect(),
            sessions: engines().map(|engine| engine.occupancy().sessions).sum(),
            leased: engines().map(|engine| engine.occupancy().leased_ports).sum(),
            ended: engines().map(|engine| engine.counters.sessions_ended).sum(),
            originated: engines().map(|engine| engine.counters.originated).sum(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdicts: Vec<Verdict>,
    left: Vec<(InterfaceId, Vec<u8>)>,
    drops: Vec<(DropReason, u64)>,
    sessions: usize,
    leased: usize,
    ended: u64,
    originated: u64,
}

/// Does the same with one worker and with several, whichever of them gets the packet. What comes of it
/// with one, and it comes to the same; the errors and the refusals that workers told each other of.
fn same_with_several(
    more: &str,
    mut case: impl FnMut(&mut Crew, usize) -> Vec<Verdict>,
) -> (Outcome, [usize; 2]) {
    let mut outcome = |of: u8, at| {
        let mut crew = Crew::new(of, more);
        let verdicts = case(&mut crew, at);
        (crew.outcome(verdicts), crew.across)
    };
    let (alone, across) = outcome(1, 0);
    assert_eq!(across, [0; 2], "one worker has nobody to tell");
    let mut told = Vec::new();
    for (of, at) in [(2, 0), (2, 1), (3, 0), (3, 2), (5, 1), (5, 4)] {
        let (several, across) = outcome(of, at);
        assert_eq!(several, alone, "of {of} workers {at}");
        told.push(across);
    }
    assert!(told.iter().all(|across| *across == told[0]), "all are the same: {told:?}");
    (alone, told[0])
}

/// The packet that an error of ours about it holds, sent to the host.
fn quote(outcome: &Outcome, headers: usize) -> &[u8] {
    let [(INSIDE, error)] = &outcome.left[..] else { panic!("one error: {outcome:02x?}") };
    &error[HEADER_LEN + headers..]
}

/// RFC 4787 REQ-13 and RFC 8200 §5.
#[test]
fn a_host_hears_how_long_its_packet_may_be_whichever_workers_its_hairpin_has() {
    let long = [7; 1_480];
    let frames = [
        inside(HOST, POOL).udp(5000, 8080, &long),
        inside(HOST, POOL).tcp(5000, 8080, "S", &long),
        inside(HOST, FIXED).udp(5000, 53, &long),
        inside(HOST, FIXED).icmp(8, 0, [[0, 7], [0, 1]], &long),
        v6::udp(v6::OUT, (v6::HOST, v6::POOL), 64, (5000, 8080), &long),
    ];
    let (outcome, told) = same_with_several("", |crew, at| {
        let verdicts = crew.arrive(at, &frames, Offload::NONE);
        crew.listen();
        crew.left.sort();
        verdicts
    });
    assert_eq!(outcome.verdicts, [Verdict::Drop(DropReason::TooBig); 5]);
    assert_eq!((outcome.sessions, outcome.originated, told), (10, 5, [5, 0]));
    for frame in frames {
        let (headers, most) = if frame[12] == 8 { (28, 548) } else { (48, 1232) };
        let quoted = &frame[HEADER_LEN..][..most];
        let is_about = |error: &&(InterfaceId, Vec<u8>)| error.1.ends_with(quoted);
        let errors: Vec<_> = outcome.left.iter().filter(is_about).collect();
        let [(INSIDE, error)] = errors[..] else { panic!("one error: {outcome:02x?}") };
        assert_eq!(error.len(), HEADER_LEN + headers + most);
    }
}

#[test]
fn a_host_hears_so_about_the_segments_of_a_super_packet_too() {
    let frame = inside(HOST, POOL).tcp(5000, 8080, "S", &[7; 4_000]);
    let offload = Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 1_470, 54);
    for of in 1..=3 {
        let mut crew = Crew::new(of, "");
        let verdicts = crew.arrive(0, std::slice::from_ref(&frame), offload);
        assert_eq!(verdicts, [Verdict::Drop(DropReason::TooBig)]);
        let outcome = crew.outcome(verdicts);
        let (quote, sent) = (quote(&outcome, 28), &frame[HEADER_LEN..]);
        assert_eq!((&quote[..36], &quote[38..]), (&sent[..36], &sent[38..548]));
        assert_eq!(crew.across[0], usize::from(of > 1));
    }
}

/// One that the device of the sender has left open is quoted as it would have completed it.
#[test]
fn the_quote_of_a_hairpin_over_two_workers_has_a_whole_checksum() {
    let whole = inside(HOST, POOL).udp(5000, 8080, &[7; 1_480]);
    let mut open = whole.clone();
    let pseudo = mooring_wire::checksum::pseudo_v4(HOST, POOL, mooring_wire::Protocol::UDP, 1_488);
    open[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let quoted = [1, 2, 3, 5].map(|of| {
        let mut crew = Crew::new(of, "");
        let frame = [open.clone()];
        let verdicts = crew.arrive(0, &frame, Offload::partial_checksum(34, 6));
        let outcome = crew.outcome(verdicts);
        (crew.across[0], quote(&outcome, 28)[..64].to_vec())
    });
    assert!(quoted.iter().any(|(errors, _)| *errors > 0));
    for (errors, quoted) in quoted {
        let sent = if errors > 0 { &whole } else { &open };
        assert_eq!(quoted, sent[HEADER_LEN..][..64]);
    }
}

#[test]
fn nothing_is_left_of_a_hairpin_that_nobody_wants_whichever_workers_it_has() {
    // To ports that are those of other workers than the host's.
    let unwanted = [
        inside(HOST, POOL).udp(5000, 9960, b"anyone?"),
        inside(HOST, POOL).tcp(5000, 9960, "S", b""),
        v6::udp(v6::OUT, (v6::HOST, v6::POOL), 64, (5000, 9962), b"anyone?"),
    ];
    let arrive = |crew: &mut Crew, at| crew.arrive(at, &unwanted, Offload::NONE);
    let (outcome, told) = same_with_several("", arrive);
    assert_eq!(outcome.verdicts, [Verdict::Drop(DropReason::NoSession); 3]);
    assert_eq!((outcome.sessions, outcome.leased, outcome.ended), (0, 0, 3));
    assert_eq!((outcome.left, told), (vec![], [0, 3]), "in silence");
}

/// However many are on their way before the first refusal comes back.
#[test]
fn nothing_is_left_of_many_packets_that_nobody_wants() {
    let frame = inside(HOST, POOL).udp(5000, 9960, b"anyone?");
    for of in 1..=4 {
        let mut crew = Crew::new(of, "");
        let verdicts = crew.arrive(0, &vec![frame.clone(); 10], Offload::NONE);
        let outcome = crew.outcome(verdicts);
        assert_eq!((outcome.sessions, outcome.leased), (0, 0));
        assert_eq!(outcome.drops, [(DropReason::NoSession, 10)]);
        assert_eq!(crew.across[1], if of > 1 { 10 } else { 0 });
    }
}

/// RFC 6888 REQ-11B.
#[test]
fn a_host_is_told_that_the_other_worker_has_no_room() {
    let limit = "half_open_per_source = 1";
    let third = [10, 0, 0, 4].into();
    let (outcome, [errors, refusals]) = same_with_several(limit, |crew, at| {
        let first = inside(third, POOL).tcp(5000, 8080, "S", b"");
        crew.arrive(at, &[first], Offload::NONE);
        crew.listen();
        crew.left.clear();
        crew.arrive(at, &[inside(HOST, POOL).tcp(5000, 8080, "S", b"")], Offload::NONE)
    });
    assert_eq!(outcome.verdicts, [Verdict::Drop(DropReason::HalfOpenLimit)]);
    let sent = inside(HOST, POOL).tcp(5000, 8080, "S", b"");
    assert_eq!(quote(&outcome, 28), &sent[HEADER_LEN..]);
    assert_eq!((outcome.sessions, outcome.ended), (2, 1));
    assert_eq!((errors, refusals), (1, 1));
}

/// RFC 1812 §5.2.7.1, RFC 4443 §3.1; the packet has been translated by both workers when it waits.
#[test]
fn a_host_is_told_that_the_target_of_another_worker_does_not_answer() {
    let frames = [
        inside(HOST, POOL).udp(5000, 8081, b"anyone?"),
        v6::udp(v6::OUT, (v6::HOST, v6::POOL), 64, (5000, 8081), b"anyone?"),
    ];
    let (outcome, told) = same_with_several("", |crew, at| {
        let verdicts = crew.arrive(at, &frames, Offload::NONE);
        (0..5).for_each(|_| crew.pass(1_000));
        crew.left.sort();
        verdicts
    });
    assert_eq!((outcome.verdicts, told), (vec![Verdict::Hold; 2], [2, 0]));
    for frame in frames {
        // One hop has been taken when it waits: of IPv4 that changes the checksum of the header, too.
        let known = if frame[12] == 8 { 12 } else { 8 };
        let quoted = &frame[HEADER_LEN + known..];
        let about = outcome.left.iter().filter(|error| error.1.ends_with(quoted));
        assert_eq!(about.count(), 1, "with the addresses and ports that it had");
    }
}

/// RFC 1812 §4.3.2.8: each worker has its part, also of what it says across.
#[test]
fn errors_of_hairpins_over_two_workers_are_limited_in_rate() {
    let long = inside(HOST, POOL).udp(5000, 8080, &[7; 1_480]);
    for of in [1, 2, 3, 5] {
        let mut crew = Crew::new(of, "");
        for _ in 0..1_100 {
            crew.arrive(0, std::slice::from_ref(&long), Offload::NONE);
            crew.listen();
        }
        let part = 1_000_usize.div_ceil(of.into());
        assert_eq!(crew.left.len(), part, "{of} workers");
        assert_eq!(crew.across[0], if of > 1 { part } else { 0 });
    }
}

/// A half that has passed another packet than the refused one goes on, and does not count that one.
#[test]
fn a_half_that_others_have_passed_outlives_a_refusal() {
    let datagram = inside(HOST, POOL).udp(5000, 8080, b"hello");
    for of in 2..=5 {
        let mut crew = Crew::new(of, "");
        crew.arrive(0, &[datagram.clone(), datagram.clone()], Offload::NONE);
        let arrived = std::mem::take(&mut crew.left);
        let (first, count) = halves(&crew);
        let at = first.expect("the halves have different workers");
        assert_eq!(count, (2, 94));
        // As it was between the workers.
        let mut refused = arrived[0].1.clone();
        refused[30..34].copy_from_slice(&POOL.octets());
        refused[36..38].copy_from_slice(&8080_u16.to_be_bytes());
        refused[24..26].fill(0);
        let sum = !mooring_wire::checksum::sum(&refused[14..34]);
        refused[24..26].copy_from_slice(&sum.to_be_bytes());
        for left in [Some((1, 47)), None, None] {
            crew.words.push_back((at, Stage::Refused, refused.clone(), Offload::NONE));
            crew.listen();
            let (first, count) = halves(&crew);
            assert_eq!(first.map(|_| count), left);
        }
        assert_eq!(crew.benches.iter().map(Bench::sessions).sum::<usize>(), 1);
    }
}

/// The worker of the host's half, where the other half has another one, and what it has counted.
fn halves(crew: &Crew) -> (Option<usize>, (u64, u64)) {
    let views = |at: usize| crew.benches[at].engine.sessions(crew.benches[at].now, 0).0;
    let has = |at: &usize| views(*at).iter().any(|view| view.inside.0 == HOST);
    let at = (0..crew.benches.len()).find(has);
    let at = at.filter(|at| !views(*at).iter().any(|view| view.inside.0 == TARGET));
    let of = at.map(views).unwrap_or_default();
    let count = of.first().map(|view| (view.forward.packets, view.forward.bytes));
    (at, count.unwrap_or_default())
}

/// Nobody but another worker can send such a word, and one about nothing is nothing.
#[test]
fn a_refusal_of_what_no_half_has_sent_changes_nothing() {
    let mut crew = Crew::new(2, "");
    for at in 0..2 {
        crew.arrive(at, &[inside(HOST, SERVER).udp(5000, 53, b"question")], Offload::NONE);
    }
    let sent = crew.left.remove(0).1;
    let error = inside(TARGET, POOL).error((3, 3), 0, &sent);
    let short = sent[..20].to_vec();
    let (arp, sessions) = (vec![0; 60], crew.benches.iter().map(Bench::sessions).sum::<usize>());
    for word in [sent, error, short, arp] {
        for at in 0..2 {
            crew.words.push_back((at, Stage::Refused, word.clone(), Offload::NONE));
        }
    }
    crew.listen();
    assert_eq!(crew.benches.iter().map(Bench::sessions).sum::<usize>(), sessions);
    assert_eq!(sessions, 1);
}

/// Of another worker than the host, however many there are, as all targets of the rules.
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 8);
/// Of the static host.
const FIXED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// Ports 8080 lead to the target, ports 8081 to one that is not there; a static host beside them.
const RULES: &str = r#"
    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.10"
    protocol = "udp"
    port = "8080"
    target = "10.0.0.8:80"
    [[rule]]
    name = "web-tcp"
    kind = "port-forward"
    address = "203.0.113.10"
    protocol = "tcp"
    port = "8080"
    target = "10.0.0.8:80"
    [[rule]]
    name = "silent"
    kind = "port-forward"
    address = "203.0.113.10"
    protocol = "udp"
    port = "8081"
    target = "10.0.0.13:80"
    [[rule]]
    name = "fixed"
    kind = "static"
    inside = "10.0.0.9/32"
    outside = "203.0.113.20/32"
    to = "outside"
    [[route]]
    destination = "::/0"
    via = "2001:db8:1::2"
    [[pool]]
    name = "egress6"
    addresses = ["2001:db8:f::10/128"]
    [[rule]]
    name = "egress6"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["fd00:10::/64"]
    pool = "egress6"
    [[rule]]
    name = "web6"
    kind = "port-forward"
    address = "2001:db8:f::10"
    protocol = "udp"
    port = "8080"
    target = "[fd00:10::4]:80"
    [[rule]]
    name = "silent6"
    kind = "port-forward"
    address = "2001:db8:f::10"
    protocol = "udp"
    port = "8081"
    target = "[fd00:10::5]:80"
"#;

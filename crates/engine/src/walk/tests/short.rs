//! The short way against the long one: two engines of one seed are given the same packets, and of the second
//! each packet goes the long way.

use mooring_packet::{Batch, Offload, Packet};
use mooring_policy::InterfaceId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::super::{GROUP, STRETCH, Scene};
use super::reloaded::reload;
use super::v6;
use crate::classify::{Classified, Plain};
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::{
    Bench, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OTHER_HOST, OTHER_HOST_MAC, OUR_INSIDE,
    OUR_OUTSIDE, OUTSIDE, POOL, SERVER, config_with,
};
use crate::{Engine, Outbox, Verdict, Verdicts};

impl Engine {
    /// As `Engine::walk`, none of the packets shortly.
    fn walk_at_length(
        &mut self,
        scene: Scene,
        batch: &mut Batch<'_>,
        outbox: &mut Outbox,
    ) -> Verdicts {
        let mut verdicts = Verdicts::new();
        let mut classified = std::mem::take(&mut self.classified);
        let size = batch.len();
        for packets in batch.packets_mut().chunks_mut(STRETCH) {
            let all = &mut classified[..packets.len()];
            self.classify(scene.arrived, packets, all);
            all.iter_mut().for_each(|one| one.plain = Plain::No);
            self.prefetch_buckets(all);
            // What is drawn ahead is drawn in the same order.
            let unknown = self.prefetch_sessions(scene.ingress, all);
            for (at, packet) in packets.iter_mut().enumerate() {
                if at.is_multiple_of(GROUP) {
                    self.draw_ahead(scene.ingress, all, (unknown, at));
                }
                verdicts.push(self.finish(scene, &all[at], packet, outbox));
            }
        }
        self.classified = classified;
        self.counters.work.batch(size);
        verdicts
    }
}

/// What has become of a batch: verdicts, frames, and what was said beside them.
type Outcome = (Vec<(Verdict, Vec<u8>)>, Vec<(InterfaceId, Vec<u8>)>);

fn walk(
    bench: &mut Bench,
    ingress: InterfaceId,
    frames: &[(Vec<u8>, Offload)],
    at_length: bool,
) -> Outcome {
    let mut buffers: Vec<Vec<u8>> = frames.iter().map(|(frame, _)| frame.clone()).collect();
    let mut batch = Batch::new();
    for (buffer, (_, offload)) in buffers.iter_mut().zip(frames) {
        let len = buffer.len();
        batch.push(Packet::new(buffer, 0, len, *offload)).expect("the batch has room");
    }
    let (engine, outbox) = (&mut bench.engine, &mut bench.outbox);
    let scene =
        Scene { now: bench.now, ingress, arrived: ingress, handed: false, in_pieces: false };
    let verdicts = match at_length {
        true => engine.walk_at_length(scene, &mut batch, outbox),
        false => engine.walk(scene, &mut batch, outbox),
    };
    let frames = batch.packets().iter().map(|packet| packet.bytes().to_vec());
    (verdicts.into_iter().zip(frames).collect(), bench.sent())
}

/// The sessions of all families, as `show` prints them.
fn sessions(bench: &Bench) -> String {
    let (mut at, mut all) = (Some(0), String::new());
    while let Some(start) = at {
        let (page, next) = bench.engine.sessions(bench.now, start);
        all.push_str(&format!("{page:?}"));
        at = next;
    }
    all
}

/// Packets out, and what may answer them: `ports` are those that were seen outside.
fn any_frame(
    random: &mut ChaCha8Rng,
    ports: &[(u16, u16)],
    ingress: InterfaceId,
) -> (Vec<u8>, Offload) {
    let mut below = |n: usize| random.next_u32() as usize % n;
    let ttl = [64, 64, 64, 64, 64, 64, 64, 2, 1, 0][below(10)];
    let payload = vec![0x61; [0, 1, 64, 700, 1340, 1440][below(6)]];
    let flags = ["A", "A", "A", "S", "SA", "FA", "R"][below(7)];
    let host = [HOST, OTHER_HOST][below(2)];
    let port = 5000 + below(6) as u16;
    let kind = below(8);
    let (outside_port, _) = ports.get(below(ports.len().max(1))).copied().unwrap_or((4000, 0));
    let bits = if flags.contains('S') { 2 } else { 16 };
    // Some come in by the wrong side.
    let from = if below(20) == 0 { InterfaceId(1 - ingress.0) } else { ingress };
    let mut frame = match (from, kind) {
        (INSIDE, 0..=2) => inside(host, SERVER).ttl(ttl).udp(port, 53, &payload),
        (INSIDE, 3..=5) => inside(host, SERVER).ttl(ttl).tcp(port, 80, flags, &payload),
        (INSIDE, 6) => v6::udp(v6::OUT, (v6::HOST, v6::SERVER), ttl, (port, 53), &payload),
        (INSIDE, _) => v6::tcp(v6::OUT, (v6::HOST, v6::SERVER), ttl, (port, 80), ((1, 2), bits)),
        (_, 0..=2) => outside(SERVER, POOL).ttl(ttl).udp(53, outside_port, &payload),
        (_, 3..=5) => outside(SERVER, POOL).ttl(ttl).tcp(80, outside_port, flags, &payload),
        (_, 6) => v6::udp(v6::BACK, (v6::SERVER, v6::POOL), ttl, (53, outside_port), &payload),
        (_, _) => {
            let ends = (v6::SERVER, v6::POOL);
            v6::tcp(v6::BACK, ends, ttl, (80, outside_port), ((1, 2), bits))
        }
    };
    frame[..6].copy_from_slice(&if ingress == INSIDE { OUR_INSIDE } else { OUR_OUTSIDE }.0);
    // Padding, a byte that lies, a checksum that is not there.
    match below(10) {
        0 => frame.extend([0xee; 9]),
        1 => {
            let at = below(frame.len());
            frame[at] ^= 1 << below(8);
        }
        2 if frame[12..14] == [8, 0] && frame[23] == 17 => frame[40..42].fill(0),
        _ => {}
    }
    let offload = match below(12) {
        0 => Offload::partial_checksum(34, 6),
        1 => Offload::verified(),
        _ => Offload::NONE,
    };
    (frame, offload)
}

/// The port that the outside knows of each that leaves, of either family.
fn note_ports(done: &[(Verdict, Vec<u8>)], ports: &mut Vec<(u16, u16)>) {
    for (verdict, frame) in done {
        if *verdict == Verdict::Tx(OUTSIDE) {
            let at = if frame[12..14] == [8, 0] { 34 } else { 54 };
            let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            ports.push((word(at), word(at + 2)));
        }
    }
    ports.sort_unstable();
    ports.dedup();
}

/// Nobody answers the questions of a test: the neighbours ask, lest they be forgotten.
fn meet_again(bench: &mut Bench) {
    for (link, address, mac) in [
        (INSIDE, HOST, HOST_MAC),
        (INSIDE, OTHER_HOST, OTHER_HOST_MAC),
        (OUTSIDE, GATEWAY, GATEWAY_MAC),
    ] {
        bench.learn(link, address, mac);
    }
    v6::introduce(bench);
}

#[test]
fn the_short_way_does_what_the_long_way_does() {
    for policy in POLICIES {
        let [mut short, mut long] = [0; 2].map(|_| v6::ready_with(&config_with(policy)));
        let mut random = ChaCha8Rng::seed_from_u64(0x6c6f_6e67);
        let (mut ports, mut passed) = (Vec::new(), 0);
        for step in 0..2_000 {
            let ingress = if random.next_u32() & 1 == 0 { INSIDE } else { OUTSIDE };
            let size = 1 + random.next_u32() as usize % (STRETCH + 6);
            let frames: Vec<_> =
                (0..size).map(|_| any_frame(&mut random, &ports, ingress)).collect();
            let done = walk(&mut short, ingress, &frames, false);
            assert_eq!(done, walk(&mut long, ingress, &frames, true), "step {step}: {policy}");
            note_ports(&done.0, &mut ports);
            passed += done.0.iter().filter(|(to, _)| matches!(to, Verdict::Tx(_))).count();
            assert_eq!(short.engine.counters, long.engine.counters, "step {step}: {policy}");
            if step % 300 == 299 {
                for bench in [&mut short, &mut long] {
                    reload(bench, &format!("{}{}", config_with(policy), v6::TRANSLATED));
                }
            }
            if step % 10 == 0 {
                assert_eq!(sessions(&short), sessions(&long), "step {step}: {policy}");
            }
            let millis = u64::from(random.next_u32() % 200);
            for bench in [&mut short, &mut long] {
                bench.pass(millis);
                if step % 50 == 0 {
                    meet_again(bench);
                }
            }
            assert_eq!(short.sent(), long.sent(), "step {step}: {policy}");
        }
        assert!(passed > 5_000, "otherwise this proves little: {passed}, {policy}");
    }
}

/// That what is compared is the short way at all.
#[test]
fn a_plain_packet_of_a_known_session_goes_the_short_way() {
    let mut bench = v6::ready_with(&config_with(""));
    let v6_ends = (v6::HOST, v6::SERVER);
    let frames = [
        inside(HOST, SERVER).udp(5000, 53, b"question"),
        v6::udp(v6::OUT, v6_ends, 64, (5000, 53), b"question"),
    ];
    for frame in frames {
        bench.forward(INSIDE, &frame);
        let (mut buffer, len) = (frame.clone(), frame.len());
        let mut packets = [Packet::new(&mut buffer, 0, len, Offload::NONE)];
        let mut classified = [Classified::NOTHING];
        let (engine, ingress) = (&mut bench.engine, INSIDE);
        engine.classify(ingress, &packets, &mut classified);
        engine.prefetch_buckets(&mut classified);
        assert_eq!(engine.prefetch_sessions(ingress, &mut classified), 0);
        let scene =
            Scene { now: bench.now, ingress, arrived: ingress, handed: false, in_pieces: false };
        let verdict = engine.finish_shortly(scene, &classified[0], &mut packets[0]);
        assert_eq!(verdict, Some(Verdict::Tx(OUTSIDE)));
        let shortly = packets[0].bytes().to_vec();
        assert_eq!(bench.forward(INSIDE, &frame), shortly);
    }
}

/// What makes packets go the long way, or not; sessions end while others of the batch are walked.
const POLICIES: [&str; 4] = [
    "",
    "[tcp]\nwindow_tracking = true\n",
    "[limits]\nhalf_open_per_source = 3\nsessions = 8\non_full = \"evict-transitory\"\n",
    "[[rule]]\nname = \"web\"\nkind = \"port-forward\"\naddress = \"203.0.113.10\"\nprotocol = \"udp\"\nport = \"8080\"\ntarget = \"10.0.0.3:80\"\n",
];

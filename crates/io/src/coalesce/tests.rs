//! What was joined is cut again by the seam, which shares no code with the coalescer.

use std::collections::BTreeMap;

use etherparse::PacketBuilder;
use mooring_packet::offload::GsoKind;
use mooring_packet::{Abilities, Offload, Packet, Transmit};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::{Protocol, checksum};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::{Coalescer, WINDOW};
use crate::memory::{Frame, pipe};
use crate::seam::Seam;

/// Who has looked at a checksum.
#[derive(Clone, Copy, Debug)]
enum Trust {
    /// It is still to be completed.
    Partial,
    Verified,
    Nobody,
}

/// One packet of a flow, as it differs from the one before.
#[derive(Clone, Debug)]
struct Step {
    flow: u8,
    payload: usize,
    push: bool,
    fin: bool,
    may_fragment: bool,
    identification: u16,
    ttl: u8,
    trust: Trust,
}

/// TCP or UDP, over IPv4 or IPv6, by the last two bits of a flow.
fn is_tcp(flow: u8) -> bool {
    flow & 1 == 1
}

fn is_ipv6(flow: u8) -> bool {
    flow & 2 == 2
}

fn frame(step: &Step, sequence: u32) -> Frame {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match is_ipv6(step.flow) {
        true => ethernet.ipv6([0xfd; 16], [0x20; 16], step.ttl),
        false => ethernet.ipv4([10, 0, 0, 2], [192, 0, 2, 2], step.ttl),
    };
    let port = 4_000 + u16::from(step.flow);
    // What a packet carries says where in its flow it was.
    let payload: Vec<u8> =
        (0..step.payload).map(|at| sequence.wrapping_add(at as u32) as u8).collect();
    let mut bytes = Vec::new();
    if is_tcp(step.flow) {
        let options = [etherparse::TcpOptionElement::Timestamp(7, 9)];
        let tcp = ip.tcp(port, 80, sequence, 500).ack(77).options(&options).expect("twelve bytes");
        let tcp = if step.push { tcp.psh() } else { tcp };
        let tcp = if step.fin { tcp.fin() } else { tcp };
        tcp.write(&mut bytes, &payload).expect("a vector takes it");
    } else {
        ip.udp(port, 53).write(&mut bytes, &payload).expect("a vector takes it");
    }
    if !is_ipv6(step.flow) {
        bytes[18..20].copy_from_slice(&step.identification.to_be_bytes());
        bytes[20] = if step.may_fragment { 0 } else { 0x40 };
        Ipv4::parse(&mut bytes[14..]).expect("a whole packet").fill_checksum();
    }
    let offload = match step.trust {
        Trust::Partial => leave_to_device(&mut bytes, step.flow),
        Trust::Verified => Offload::verified(),
        Trust::Nobody => Offload::NONE,
    };
    Frame { bytes, offload }
}

fn leave_to_device(bytes: &mut [u8], flow: u8) -> Offload {
    let start: usize = if is_ipv6(flow) { 54 } else { 34 };
    let (protocol, field) = if is_tcp(flow) { (Protocol::TCP, 16) } else { (Protocol::UDP, 6) };
    let len = (bytes.len() - start) as u16;
    let sum = match is_ipv6(flow) {
        true => checksum::pseudo_v6([0xfd; 16].into(), [0x20; 16].into(), protocol, len.into()),
        false => checksum::pseudo_v4([10, 0, 0, 2].into(), [192, 0, 2, 2].into(), protocol, len),
    };
    bytes[start + field..][..2].copy_from_slice(&sum.to_be_bytes());
    Offload::partial_checksum(start as u16, field as u16)
}

/// Frames of the flows that the steps say, each flow's bytes numbered from zero.
fn frames(steps: &[Step]) -> Vec<Frame> {
    let mut sent = BTreeMap::<u8, u32>::new();
    let frames = steps.iter().map(|step| {
        let sequence = sent.entry(step.flow).or_insert(u32::MAX - 150);
        let frame = frame(step, *sequence);
        *sequence = sequence.wrapping_add(step.payload as u32);
        frame
    });
    frames.collect()
}

/// The messages that the frames leave in, and how many packets are in each.
fn messages(frames: &[Frame]) -> Vec<(Frame, usize)> {
    let mut bytes: Vec<Vec<u8>> = frames.iter().map(|frame| frame.bytes.clone()).collect();
    let packets = bytes.iter_mut().zip(frames).map(|(bytes, frame)| {
        let len = bytes.len();
        Packet::new(bytes, 0, len, frame.offload)
    });
    let packets: Vec<Packet<'_>> = packets.collect();
    let packets: Vec<&Packet<'_>> = packets.iter().collect();
    let mut coalescer = Coalescer::new();
    let mut sent = Vec::new();
    for window in packets.chunks(WINDOW) {
        for message in coalescer.arrange(window) {
            let bytes = message.parts().collect::<Vec<_>>().concat();
            sent.push((Frame { bytes, offload: *message.offload() }, message.len()));
        }
    }
    sent
}

/// What a device without any ability gets.
fn cut(frames: impl IntoIterator<Item = Frame>) -> Vec<Vec<u8>> {
    let none = Abilities::default();
    let mut whole = Vec::new();
    for mut frame in frames {
        let (sender, receiver) = pipe(70_000);
        let len = frame.bytes.len();
        let packet = Packet::new(&mut frame.bytes, 0, len, frame.offload);
        let done = Seam::new(sender, none).transmit(std::iter::once(&packet));
        assert_eq!(done.refused, 0, "the seam believes what it is told");
        whole.extend(std::iter::from_fn(|| receiver.take()).map(|frame| frame.bytes));
    }
    whole
}

/// The packets of each flow, without what means nothing.
fn by_flow(packets: Vec<Vec<u8>>) -> BTreeMap<[u8; 2], Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<_, Vec<_>>::new();
    for mut packet in packets {
        let ports = if packet[12] == 0x08 { 34 } else { 54 };
        if packet[12] == 0x08 && packet[20] & 0x40 != 0 {
            // Identification and checksum of what must not be fragmented.
            assert!(Ipv4::parse(&packet[14..]).expect("a whole packet").checksum_is_valid());
            packet[18..20].fill(0);
            packet[24..26].fill(0);
        }
        flows.entry([packet[ports], packet[ports + 1]]).or_default().push(packet);
    }
    flows
}

fn step() -> impl Strategy<Value = Step> {
    let trust = prop_oneof![8 => Just(Trust::Partial), 4 => Just(Trust::Verified), 1 => Just(Trust::Nobody)];
    let payload = prop_oneof![12 => Just(100_usize), 2 => Just(60), 1 => Just(140), 1 => Just(0)];
    let rarely = || prop::bool::weighted(0.08);
    let shape = (0_u8..8, payload, rarely(), prop::bool::weighted(0.03), any::<bool>(), trust);
    (shape, rarely(), 0_u16..3).prop_map(|(shape, hop, identification)| {
        let (flow, payload, push, fin, may_fragment, trust) = shape;
        let ttl = if hop { 61 } else { 60 };
        Step { flow, payload, push, fin, may_fragment, identification, ttl, trust }
    })
}

proptest! {
    #[test]
    fn what_was_joined_is_cut_again_to_what_it_was(
        mut steps in prop::collection::vec(step(), 1..200),
        flows in 1_u8..8,
    ) {
        // Identifications that mostly count up, as a sender's do.
        let mut counts = BTreeMap::<u8, u16>::new();
        for step in &mut steps {
            step.flow %= flows;
            let count = counts.entry(step.flow).or_insert(u16::MAX - 2);
            *count = count.wrapping_add(1 + step.identification / 2);
            step.identification = *count;
        }
        let frames = frames(&steps);
        let sent = messages(&frames);
        prop_assert_eq!(sent.iter().map(|(_, packets)| packets).sum::<usize>(), frames.len());
        let sent = by_flow(cut(sent.into_iter().map(|(frame, _)| frame)));
        prop_assert_eq!(sent, by_flow(cut(frames)));
    }
}

/// Sixty packets of a flow, alike but for their place in it.
fn run(flow: u8) -> Vec<Step> {
    let step = Step {
        flow,
        payload: 100,
        push: false,
        fin: false,
        may_fragment: false,
        identification: 7,
        ttl: 60,
        trust: Trust::Partial,
    };
    vec![step; 60]
}

fn sizes(steps: &[Step]) -> Vec<usize> {
    messages(&frames(steps)).into_iter().map(|(_, packets)| packets).collect()
}

#[test]
fn a_run_of_a_flow_leaves_as_one() {
    let kinds = [GsoKind::UdpL4, GsoKind::TcpV4, GsoKind::UdpL4, GsoKind::TcpV6];
    for (flow, kind) in (0..).zip(kinds) {
        let sent = messages(&frames(&run(flow)));
        let [(whole, 60)] = &sent[..] else { panic!("{} messages", sent.len()) };
        assert_eq!(whole.offload.gso_kind(), Some(kind));
        assert_eq!(whole.offload.gso_size(), 100);
    }
}

#[test]
fn flows_that_take_turns_are_told_apart() {
    let steps: Vec<Step> = (0..4).flat_map(run).collect();
    let turns: Vec<Step> = (0..60).map(|at| steps[at % 4 * 60 + at / 4].clone()).collect();
    assert_eq!(sizes(&turns), [15; 4]);
}

#[test]
fn a_shorter_packet_and_a_push_are_the_last_of_theirs() {
    let mut steps = run(1);
    steps[9].push = true;
    steps[29].payload = 40;
    assert_eq!(sizes(&steps), [10, 20, 30]);
}

#[test]
fn a_longer_packet_begins_anew() {
    let mut steps = run(0);
    steps[10].payload = 101;
    assert_eq!(sizes(&steps), [10, 2, 48], "what follows the longer one is shorter than it");
}

#[test]
fn what_differs_in_more_than_its_place_is_not_joined() {
    let mut steps = run(0);
    steps[10].ttl = 61;
    assert_eq!(sizes(&steps), [10, 1, 49]);
}

#[test]
fn identifications_that_mean_something_count_up() {
    let mut steps = run(0);
    for (at, step) in (0..).zip(&mut steps) {
        step.may_fragment = true;
        step.identification = if at < 20 { 65_530_u16.wrapping_add(at) } else { 5_000 };
    }
    let mut expected = vec![20];
    expected.extend([1; 40]);
    assert_eq!(sizes(&steps), expected);
}

#[test]
fn what_nobody_has_verified_is_left_alone() {
    let mut steps = run(1);
    steps.iter_mut().for_each(|step| step.trust = Trust::Nobody);
    assert_eq!(sizes(&steps), [1; 60]);
    steps.iter_mut().for_each(|step| step.trust = Trust::Verified);
    assert_eq!(sizes(&steps), [60]);
}

#[test]
fn a_datagram_without_a_checksum_keeps_none() {
    let mut frames = frames(&run(0));
    for frame in &mut frames {
        frame.offload = Offload::verified();
        frame.bytes[40..42].fill(0);
    }
    assert!(messages(&frames).into_iter().all(|(_, packets)| packets == 1));
}

#[test]
fn no_super_packet_is_longer_than_an_ip_packet_may_be() {
    let mut steps = run(0);
    steps.iter_mut().for_each(|step| step.payload = 1_472);
    // 20 + 8 + 44 * 1,472 = 64,796.
    assert_eq!(sizes(&steps), [44, 16]);
    // 14 + 20 + 8 + 46 * 1,424 is more than 65,535, the IP packet of it is not.
    steps.iter_mut().for_each(|step| step.payload = 1_424);
    assert_eq!(sizes(&steps), [45, 15]);
}

#[test]
fn a_bit_of_a_header_that_differs_parts_two_packets() {
    for flow in 0..4 {
        let transport = if is_ipv6(flow) { 54 } else { 34 };
        let (len, sum) = if is_tcp(flow) { (32, 16) } else { (8, 6) };
        assert_eq!(messages(&frames(&run(flow)[..2])).len(), 1);
        for bit in 0..8 * (transport + len) {
            let (at, word) = (bit / 8, bit / 16 * 2);
            // Checksums; an identification that means nothing; a push may be the last one's.
            let is_free = word == transport + sum
                || !is_ipv6(flow) && (word == 18 || word == 24)
                || is_tcp(flow) && at == transport + 13 && bit % 8 == 3;
            if !is_free {
                let mut frames = frames(&run(flow)[..2]);
                frames[1].bytes[at] ^= 1 << (bit % 8);
                let sent = messages(&frames).len();
                assert_eq!(sent, 2, "flow {flow}, byte {at}, bit {}", bit % 8);
            }
        }
    }
}

#[test]
fn what_cannot_be_told_to_be_of_another_flow_is_not_overtaken() {
    let mut steps = run(0);
    steps[30].trust = Trust::Nobody;
    assert_eq!(sizes(&steps), [30, 1, 29]);
}

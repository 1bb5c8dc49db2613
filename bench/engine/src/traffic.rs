//! Sessions to fill the table with, and the packets that walk through them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use mooring_engine::{Engine, Link, Outbox, Verdict};
use mooring_packet::{BATCH_CAPACITY, Batch, BufferPool, Offload, Packet};
use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::Tick;
use mooring_wire::ethernet::{self, EtherType, HEADER_LEN};
use mooring_wire::{Mac, Protocol, arp, ipv4, udp};

/// Which packets walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The first packet of each session.
    New,
    /// From the inside host.
    Forward,
    /// To the inside host.
    Reverse,
}

/// An engine, the frames of all of its sessions, and buffers for one batch.
pub(crate) struct Bench {
    engine: Engine,
    outbox: Outbox,
    forward: Vec<[u8; FRAME_LEN]>,
    reverse: Vec<[u8; FRAME_LEN]>,
    buffers: Vec<[u8; BUFFER_LEN]>,
}

impl Bench {
    /// An engine with room for `sessions` sessions and resolved neighbours.
    pub(crate) fn new(sessions: u32) -> Self {
        let policy =
            load(&config(sessions)).expect("the bench's own configuration is valid").policy;
        let links = [Link { mac: OUR_INSIDE, mtu: 1500 }, Link { mac: OUR_OUTSIDE, mtu: 1500 }];
        let mut engine = Engine::new(Arc::new(policy), Generation(1), &links, [7; 32]);
        let mut outbox = Outbox::new(BufferPool::new(512, 8));
        learn(&mut engine, &mut outbox);
        let mut forward: Vec<_> = (0..sessions).map(frame).collect();
        shuffle(&mut forward);
        let buffers = vec![[0; BUFFER_LEN]; BATCH_CAPACITY];
        Self { engine, outbox, forward, reverse: Vec::new(), buffers }
    }

    /// One packet of each session, in batches; `timed` is given the work of each batch and times it.
    pub(crate) fn pass(&mut self, way: Way, mut timed: impl FnMut(&mut dyn FnMut() -> u64)) {
        let (frames, ingress) = match way {
            Way::New | Way::Forward => (&self.forward, InterfaceId(0)),
            Way::Reverse => (&self.reverse, InterfaceId(1)),
        };
        let mut answers = Vec::new();
        for frames in frames.chunks(BATCH_CAPACITY) {
            let mut batch = fill(&mut self.buffers, frames);
            let mut all_left = false;
            timed(&mut || {
                let verdicts = self.engine.process(
                    Tick::from_millis(1),
                    ingress,
                    &mut batch,
                    &mut self.outbox,
                );
                all_left = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Tx(_)));
                verdicts.len() as u64
            });
            assert!(all_left, "every packet of the bench is forwarded");
            if way == Way::New {
                answers.extend(batch.packets().iter().map(|packet| answer(packet.bytes())));
            }
        }
        if way == Way::New {
            shuffle(&mut answers);
            self.reverse = answers;
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        })
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::New, Self::Forward, Self::Reverse]
            .into_iter()
            .find(|way| way.to_string() == name)
            .ok_or_else(|| "one of new, forward, reverse".to_owned())
    }
}

/// Packets in the buffers, with these frames.
fn fill<'b>(buffers: &'b mut [[u8; BUFFER_LEN]], frames: &[[u8; FRAME_LEN]]) -> Batch<'b> {
    let mut batch = Batch::new();
    for (buffer, frame) in buffers.iter_mut().zip(frames) {
        buffer[BUFFER_LEN - FRAME_LEN..].copy_from_slice(frame);
        let packet = Packet::new(buffer, BUFFER_LEN - FRAME_LEN, FRAME_LEN, Offload::NONE);
        batch.push(packet).expect("there are as many buffers as a batch holds");
    }
    batch
}

/// A pool large enough for the ports of all sessions (one address for each 32,768).
fn config(sessions: u32) -> String {
    let addresses = sessions.div_ceil(32_768).next_power_of_two();
    let prefix = 32 - addresses.trailing_zeros();
    format!(
        r#"
        [[interface]]
        name = "inside"
        device = "in0"
        addresses = ["10.0.0.1/8"]

        [[interface]]
        name = "outside"
        device = "out0"
        addresses = ["192.0.2.1/24"]

        [[route]]
        destination = "0.0.0.0/0"
        via = "192.0.2.2"

        [[route]]
        destination = "10.128.0.0/9"
        via = "10.0.0.2"

        [[pool]]
        name = "egress"
        addresses = ["198.18.0.0/{prefix}"]

        [[rule]]
        name = "egress"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        pool = "egress"

        [limits]
        sessions = {sessions}
        "#
    )
}

/// Tells the engine who its two neighbours are.
fn learn(engine: &mut Engine, outbox: &mut Outbox) {
    let neighbours = [
        (InterfaceId(0), Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1)),
        (InterfaceId(1), Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 1)),
    ];
    for (ingress, sender_ip, target_ip) in neighbours {
        let mut request = [0; HEADER_LEN + arp::LEN];
        ethernet::emit(&mut request, Mac::BROADCAST, NEIGHBOUR, EtherType::ARP);
        let emit = arp::Emit {
            operation: arp::REQUEST,
            sender_mac: NEIGHBOUR,
            sender_ip,
            target_mac: Mac::ZERO,
            target_ip,
        };
        emit.emit(&mut request[HEADER_LEN..]);
        let mut batch = Batch::new();
        let len = request.len();
        batch.push(Packet::new(&mut request, 0, len, Offload::NONE)).expect("the batch is empty");
        engine.process(Tick::ZERO, ingress, &mut batch, outbox);
        outbox.clear();
    }
}

/// The frame of session `n`: 1,024 hosts with 63 ports each, then more hosts, as CSIT does.
fn frame(n: u32) -> [u8; FRAME_LEN] {
    let source = Ipv4Addr::from_bits(0x0a80_0000 + n / 63);
    let destination = Ipv4Addr::new(20, 0, 0, 1);
    let port = 1024 + (n % 63) as u16;
    build(OUR_INSIDE, (source, port), (destination, 53))
}

/// The answer to a translated frame.
fn answer(sent: &[u8]) -> [u8; FRAME_LEN] {
    let ip = ipv4::Ipv4::parse(&sent[HEADER_LEN..]).expect("the engine sends valid packets");
    let udp = udp::Udp::parse(ip.payload()).expect("the engine sends valid packets");
    let (from, to) = ((ip.destination(), udp.destination_port()), (ip.source(), udp.source_port()));
    build(OUR_OUTSIDE, from, to)
}

fn build(to_mac: Mac, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let payload_len = (FRAME_LEN - HEADER_LEN - ipv4::HEADER_LEN) as u16;
    ethernet::emit(&mut frame, to_mac, NEIGHBOUR, EtherType::IPV4);
    ipv4::Emit {
        source: from.0,
        destination: to.0,
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0,
        identification: 0,
        dont_fragment: true,
        payload_len,
    }
    .emit(&mut frame[HEADER_LEN..]);
    let pseudo = mooring_wire::checksum::pseudo_v4(from.0, to.0, Protocol::UDP, payload_len);
    udp::emit(&mut frame[HEADER_LEN + ipv4::HEADER_LEN..], from.1, to.1, pseudo);
    frame
}

/// A fixed shuffle, so that neighbouring packets are not neighbouring records.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for at in (1..items.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, ((u128::from(state) * (at as u128 + 1)) >> 64) as usize);
    }
}

/// Bytes of a frame: 64 on the wire, less the checksum of the link.
const FRAME_LEN: usize = 60;

/// Bytes of a buffer: the frame, and headroom to make it two cache lines.
const BUFFER_LEN: usize = 128;

const OUR_INSIDE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OUR_OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 2]);
const NEIGHBOUR: Mac = Mac([2, 0xff, 0, 0, 0, 1]);
